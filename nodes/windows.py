"""A video model along a stream: windows of frames that go over into each other.

A latent of such a model is a picture, and every later one four frames: a window has 4 k + 1 frames.

    window      the picture it begins with | what it gives | what it sees ahead
    the next                               |       picture | ahead, blended | what it gives | ...

To what a window has seen ahead the next one is held, wholly at its beginning, then less and less,
in every step of the sampler. The picture that it begins with is the last one that was given.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..pipelines.core.noise import frame_noise
from ..pipelines.errors import StyleAVideoError
from ..pipelines.run.shots import Plan, Together
from . import correction, frame_place
from .noise import FrameNoise
from .sampling import Sampling
from .two_models import TwoModelGuider, guiders_in

STEP = 4  # frames of a latent, but for the first
CONTEXT = frame_place.CONTEXT
KNOWN = "WAN21"  # ComfyUI's class, tried
HELD = 10
"""Windows of frames in memory at once, at the most: read ahead, worked on, refined behind
(benchmarks/windows_memory.py)."""
PLACED = (
    *("concat_latent_image", "concat_mask", "reference_latents", "time_dim_concat", "control"),
    *("vace_frames", "vace_mask", "camera_conditions", "audio_embed", "control_video"),
)
"""What a CONDITIONING can hold for certain frames, which a window of others has no use for."""


def is_for(guider: Any, vae: Any) -> bool:
    """Whether this guider makes a video of all its frames, not each frame as a picture."""
    return frame_place.is_of_video(vae) and all(map(_of_video, guiders_in(guider)))


def _of_video(guider: Any) -> bool:
    if not isinstance(guider, comfy.samplers.CFGGuider):
        return False
    placed = any(frame_place.PLACE in entry for entry in _entries(guider))
    return type(guider.model_patcher.model).__name__ == KNOWN and not placed


def _entries(guider: Any) -> list[dict[str, Any]]:
    return [entry for conds in guider.original_conds.values() for entry in conds]


def check_lengths(length: int, overlap: int) -> None:
    """Refuse what is no window.

    Raises:
        StyleAVideoError: lengths that the model's latents do not have; more overlap than half.
    """
    if length % STEP != 1 or length < 1 + 2 * STEP:
        raise StyleAVideoError(
            f"context_length must be 4 k + 1 frames, such as 81, and 9 or more; {length} is not."
        )
    if overlap % STEP or not STEP <= overlap <= (length - 1) // 2:
        raise StyleAVideoError(
            f"context_overlap must be a multiple of 4 frames, from 4 to half of context_length "
            f"({(length - 1) // 8 * STEP}); {overlap} is not."
        )


def check_memory(length: int, size: tuple[int, int], memory: int) -> None:
    """Refuse windows whose frames this machine cannot hold.

    Args:
        size: of a frame (width, height).
        memory: of the machine, bytes.

    Raises:
        StyleAVideoError: they would not fit; which would is said.
    """
    width, height = size
    frame = HELD * 12 * width * height  # three colours in float32
    if length * frame <= memory:
        return
    shorter = (memory // frame - 1) // STEP * STEP + 1
    side = int(max(size) * (memory / (length * frame)) ** 0.5) // 16 * 16
    lengths = f"context_length {shorter} or less, or " if shorter >= 1 + 2 * STEP else ""
    raise StyleAVideoError(
        f"Windows of {length} frames of {width}x{height} take {length * frame / 2**30:.0f} GiB of "
        f"memory, and this machine has {memory / 2**30:.0f}: choose {lengths}max_side {side} or "
        "less."
    )


def with_window(guider: Any, latents: Tensor) -> Any:
    """The guider for a window: the first stream of Bernini Conditioning, where it is a video, is
    these latents (1,C,T,h,w) instead. The given one stays as it is.
    """
    if isinstance(guider, TwoModelGuider):
        return guider.changed(lambda one: with_window(one, latents))
    changed = copy.copy(guider)
    changed.original_conds = {
        name: [_entry_for(entry, latents) for entry in entries]
        for name, entries in guider.original_conds.items()
    }
    return changed


def _entry_for(entry: dict[str, Any], latents: Tensor) -> dict[str, Any]:
    if not _has_source(entry):
        return entry
    return {**entry, CONTEXT: [latents, *entry[CONTEXT][1:]]}


def _has_source(entry: dict[str, Any]) -> bool:
    streams = entry.get(CONTEXT) or []
    return len(streams) > 0 and streams[0].shape[2] > 1


def check_guider(guider: Any, from_frames: bool) -> None:
    """Refuse a guider that cannot be given other frames, or does not see them.

    Raises:
        StyleAVideoError: what belongs to certain frames; no way for the video into the model.
    """
    for one in guiders_in(guider):
        _check_one(one, from_frames)


def _check_one(guider: Any, from_frames: bool) -> None:
    entries = _entries(guider)
    for entry in entries:
        for key in PLACED:
            if entry.get(key) is not None:
                raise StyleAVideoError(
                    f"A condition has {key}, which was made for certain frames: windows of a video "
                    "take theirs from Bernini Conditioning's source_video, or start from frames."
                )
        if isinstance(entry.get("mask"), Tensor) and len(entry["mask"]) > 1:
            raise StyleAVideoError(
                "A condition has masks of single frames: give one for all frames."
            )
    if guider.model_patcher.get_wrappers(WrappersMP.PREDICT_NOISE, correction.KEY):
        raise StyleAVideoError(
            "CLIP Correction works on models of single images: take it out before a video model."
        )
    named = [c for c in getattr(guider, "conditions", []) if c.name.startswith("V")]
    still = any(not _has_source(extra) for c in named for _, extra in c.conditioning)
    if still or (not from_frames and not any(map(_has_source, entries))):
        raise StyleAVideoError(
            "Nothing of the video reaches the model: connect 5 or more of its frames (Load Video "
            "Frames, max_frames) to source_video of Bernini Conditioning, or choose start_from "
            "frames with sigmas of less than full denoise."
        )


class Windowed:
    """The engine (pipelines.engines.kinds.CarryingEngine) that a guider of a video model makes.

    Args:
        length, overlap: frames of a window, and those that it sees ahead.

    Attributes:
        ahead: (frame numbers, (width, height)) → frames (T,3,H,W) of the source; to be set where
            there is more than one window.
        together: frames that a window gives; the first of a shot gives one more, the last all.
    """

    def __init__(self, sampling: Sampling, length: int = 81, overlap: int = 16) -> None:
        check_lengths(length, overlap)
        check_guider(sampling.guider, sampling.from_frames)
        self.sampling, self.length, self.overlap = sampling, length, overlap
        self.together = Together(length - 1 - overlap, first=1, last=overlap)
        self.ahead: Callable[[Sequence[int], tuple[int, int]], Tensor] | None = None
        self.last: Tensor | None = None
        self._ends: dict[int, tuple[int, int]] = {}

    def plan(self, plan: Plan) -> None:
        """Told where segments and shots end: nothing is seen beyond a cut."""
        self._ends = {s.start: (s.end, plan.shots[s.shot].end) for s in plan.segments}

    def carry(
        self, frames: Tensor, frame_indices: Sequence[int], carried: Mapping[str, Tensor] | None
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The frames (T,3,H,W) of one segment."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        count, first, size = len(frames), frame_indices[0], (frames.shape[3], frames.shape[2])
        end, shot_end = self._ends[first]
        if end - first != count:  # divided, for want of memory
            raise StyleAVideoError(
                f"There is too little memory for a window of {self.length} frames of "
                f"{size[0]}x{size[1]}: use a smaller max_side or context_length."
            )
        following = range(end, min(end + self.overlap, shot_end))
        encoded = self._encoded(self._seen(frames, following, size, carried))
        begin = first if carried is None else first - 1
        samples = self._sampled(encoded, begin, carried)
        given = end - begin  # frames of the window up to the segment's last
        latents = 1 + -(-(given - 1) // STEP)
        stylized = self.sampling.decode(samples[:, :, :latents])[:given]
        out = stylized.movedim(-1, 1) if carried is None else stylized[1:].movedim(-1, 1)
        # Copies: a part of a tensor holds all of it.
        self.last = stylized[-1].clone()
        after = {
            "source": frames[-1:].clone(),
            "picture": out[-1:].contiguous(),
            "latents": samples[:, :, latents : latents + self.overlap // STEP].clone(),
        }
        return out, after

    def _seen(
        self,
        frames: Tensor,
        following: range,
        size: tuple[int, int],
        carried: Mapping[str, Tensor] | None,
    ) -> Tensor:
        """The frames (4 k + 1,3,H,W) of a window."""
        window = [frames] if carried is None else [carried["source"], frames]
        if following:
            assert self.ahead is not None
            window.append(self.ahead(following, size))
        return _whole(torch.cat(window))

    def _sampled(self, latents: Tensor, begin: int, carried: Mapping[str, Tensor] | None) -> Tensor:
        """Latents (1,C,k + 1,h,w) of a window, its first frame number `begin` → those made."""
        start = self.sampling.start(latents)
        mask = None
        if carried is not None:
            known = torch.cat([self._encoded(carried["picture"]), carried["latents"]], 2)
            known = known[:, :, : latents.shape[2]].to(latents)
            start = torch.cat([known, start[:, :, known.shape[2] :]], 2)
            mask = ramp(known.shape[2], latents)
        guider = with_window(self.sampling.guider, latents)
        return self.sampling.run(guider, self._noise(start, begin), start, mask)

    def _encoded(self, frames: Tensor) -> Tensor:
        return self.sampling.vae.encode(frames.movedim(1, -1))

    def _noise(self, latents: Tensor, begin: int) -> Tensor:
        given = self.sampling.noise
        if not isinstance(given, FrameNoise):
            return given.generate_noise({"samples": latents})
        _, channels, count, h, w = latents.shape
        last = [begin + STEP * k for k in range(count)]  # the number of a latent's last frame
        made = frame_noise((channels, h, w), given.frame_seed, last, given.mode, given.blend)
        return made.movedim(0, 1)[None]


def ramp(known: int, latents: Tensor) -> Tensor:
    """How free each latent is (1,1,T,h,w): 0 the first, less and less held as far as `known`."""
    free = latents.new_ones(latents.shape[2])
    free[:known] = torch.arange(known) / known
    return free[None, None, :, None, None].expand(1, 1, -1, *latents.shape[-2:])


def _whole(frames: Tensor) -> Tensor:
    """Frames (T,3,H,W) with the last repeated until they are 4 k + 1."""
    if len(frames) % STEP == 1:
        return frames
    return torch.cat([frames, frames[-1:].expand(-(len(frames) - 1) % STEP, -1, -1, -1)])
