"""A style learned from one picture: its filters alone are trained (Chen et al. 2017, section 3.4).

Encoder and decoder stay as they are, and with them every style that is there already. What the
encoder makes of the photos is computed once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from ..core.gram import gram
from ..core.stylebank import BANK, CONTENT, LOOKS, WEIGHTS, losses, through_bank
from ..engines.style import StylePicture
from ..errors import StyleAVideoError
from ..files import shown, told

SIDE = 160  # px of a photo's crop
BATCH = 4
RATE = 2e-3
STEPS = 600
"""Enough for most pictures (docs/figures.md)."""
LONGER_SIDE = 448  # px that the picture is seen at, as those of the styles that ship
PROGRESS = {"step": [1], **dict.fromkeys(("filters", "exp_avg", "exp_avg_sq"), list(BANK))}
"""Tensors of a file of progress, with their shapes."""


class Learner:
    """Steps towards the filters of a picture's style; the same on every run of one machine.

    Attributes:
        filters: so far, (128,128,3,3).
        step: how many are done.
        loss: the style's, of the last step: 1 where nothing of it is there.

    Args:
        picture: (3,H,W) in [0,1].
        photos: (3,H,W) each, at least `SIDE` px a side; see `weights.stylebank.photos`.
        starts: filters of other styles: that which comes nearest is begun with.
        steps: of all, for the learning rate, which falls to zero.
    """

    def __init__(
        self,
        picture: Tensor,
        photos: Sequence[Tensor],
        starts: Sequence[Tensor],
        device: torch.device,
        steps: int = STEPS,
    ) -> None:
        from ...weights.perceptual_encoder import load_encoder
        from ...weights.stylebank import load_network

        self.device, self.steps, self.step, self.loss = device, steps, 0, 1.0
        with torch.inference_mode(False), torch.no_grad(), self._fast():
            self.network = load_network().to(device)
            self.encoder = load_encoder().to(device)
            crops = torch.stack([_middle(photo) for photo in photos]).to(device)
            seen = self.encoder(_at_size(picture).to(device), LOOKS)
            self.grams = {layer: gram(x.float()) for layer, x in seen.items()}
            self.features = torch.cat([self.network.encode(x) for x in crops.split(BATCH)])
            self.contents = torch.cat(
                [self.encoder(x, (CONTENT,))[CONTENT] for x in crops.split(BATCH)]
            )
            self.filters = torch.nn.Parameter(self._nearest(starts))
        self.optimizer = torch.optim.Adam([self.filters], RATE)

    def _fast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16)

    def _nearest(self, starts: Sequence[Tensor]) -> Tensor:
        every = [start.to(self.device) for start in starts]
        some = torch.arange(min(BATCH, len(self.features)))
        lost = [float(self._losses(start, some)["style"]) for start in every]
        return every[lost.index(min(lost))].clone()

    def _losses(self, filters: Tensor, photos: Tensor) -> dict[str, Tensor]:
        with self._fast():
            results = self.network.decode(through_bank(self.features[photos], filters))
            found = self.encoder(results, LOOKS)
        return losses(results.float(), found, self.contents[photos], self.grams)

    def learn(self) -> None:
        """One step."""
        with torch.inference_mode(False), torch.enable_grad():
            order = torch.Generator().manual_seed(self.step)
            photos = torch.randperm(len(self.features), generator=order)[:BATCH]
            for group in self.optimizer.param_groups:
                group["lr"] = RATE * (1 - self.step / self.steps)
            found = self._losses(self.filters, photos)
            self.optimizer.zero_grad()
            torch.stack([WEIGHTS[name] * part for name, part in found.items()]).sum().backward()
            self.optimizer.step()
        self.step += 1
        self.loss = float(found["style"].detach())

    @torch.no_grad()
    def preview(self) -> Tensor:
        """The first photo in the style so far, (3,160,160) in [0,1]."""
        result = self.network.decode(through_bank(self.features[:1].float(), self.filters))
        return result[0].clamp(0, 1).cpu()

    def state(self) -> Mapping[str, Tensor]:
        """What `restore` goes on from."""
        kept = self.optimizer.state[self.filters]
        moments = {name: kept[name] for name in ("exp_avg", "exp_avg_sq")} if kept else {}
        step = torch.tensor([float(self.step)])
        return {"filters": self.filters.detach(), "step": step, **moments}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        with torch.inference_mode(False), torch.no_grad():
            self.filters.copy_(state["filters"])
            self.step = int(state["step"])
            self.optimizer.state[self.filters] = {
                "step": torch.tensor(float(self.step)),
                **{k: state[k].to(self.device, copy=True) for k in ("exp_avg", "exp_avg_sq")},
            }


def _at_size(picture: Tensor) -> Tensor:
    """(3,H,W) → (1,3,H',W') of `LONGER_SIDE`."""
    height, width = picture.shape[-2:]
    scale = LONGER_SIDE / max(height, width)
    size = [max(16, round(side * scale)) for side in (height, width)]
    sized = F.interpolate(picture[None].float(), size, mode="bicubic", antialias=True)
    return sized.clamp(0, 1)


def _middle(photo: Tensor) -> Tensor:
    top, left = ((side - SIDE) // 2 for side in photo.shape[-2:])
    return photo[:, top : top + SIDE, left : left + SIDE]


def learner_of(picture: Tensor, device: torch.device, steps: int = STEPS) -> Learner:
    """One for a picture (3,H,W) in [0,1], with the photos and the styles that ship."""
    from ...weights.stylebank import SHIPPED, SUFFIX, photos, read_style
    from ..media import read_still

    crops = [read_still(path, (SIDE, 1024), 1024) for path in photos()]
    starts = [read_style(path) for path in sorted(SHIPPED.glob(f"*{SUFFIX}"))]
    return Learner(picture, crops, starts, device, steps)


def check_name(of: str, name: str) -> str:
    """A style's name; `of`: how a refusal calls it."""
    from ...weights.stylebank import STYLE_NAME

    if not re.fullmatch(STYLE_NAME, name):
        raise StyleAVideoError(f"{of} must be 1 to 64 letters, digits, _ or -, not {name!r:.100}.")
    return name


def about_learning(picture: StylePicture, steps: int) -> dict[str, str]:
    """What is kept beside the filters: the picture, the steps, the networks it is for."""
    from ...weights.stylebank import network_identity

    return {
        "picture": picture.identity["picture"],
        "steps": str(steps),
        "network": network_identity(),
    }


def progress_beside(style: Path) -> Path:
    """Where what is learned so far is kept, until the style's file is there."""
    return style.with_name(f".{style.stem}.progress")


def write_progress(path: Path, learner: Learner, about: Mapping[str, str]) -> None:
    """What is learned so far, to go on from; `about` says of what.

    Raises:
        StyleAVideoError: the system refuses.
    """
    part = path.with_name(f"{path.name}.part")
    with told(path, "be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {k: v.cpu().contiguous() for k, v in learner.state().items()}
        save_file(state, part, _whatever_steps(about))
        os.replace(part, path)


def read_progress(path: Path, about: Mapping[str, str]) -> Mapping[str, Tensor] | None:
    """What `write_progress` kept; None where there is nothing, or it is damaged.

    Raises:
        StyleAVideoError: it is of something else.
    """
    from ...weights.files import finite, safetensors_of, tensor_shapes

    if not path.is_file():
        return None
    try:
        if tensor_shapes(path) != PROGRESS:
            return None
        with safetensors_of(path) as file:
            of = file.metadata()
            state = {name: finite(path, name, file.get_tensor(name)) for name in PROGRESS}
    except StyleAVideoError:  # damaged: begun anew
        return None
    if of != _whatever_steps(about):
        raise StyleAVideoError(
            f"A style of this name was begun from another picture: choose another name, or delete "
            f"{shown(path)}."
        )
    return state


def _whatever_steps(about: Mapping[str, str]) -> dict[str, str]:
    """It may go on for longer."""
    return {name: value for name, value in about.items() if name != "steps"}
