"""Random graphs over the edit models: frames divided must be frames undivided, or be refused.

    COMFYUI_PYTHON tests/comfyui/split_check.py COUNT [FIRST]

A seed is a graph: one of ComfyUI's classes, small and random; conditions for all frames or
one a frame, with weights, curves, regions, areas and times; caches, a LoRA, context windows; any
sampler without noise of its own. What is silently different is printed with its seed. ToMe is not
among them: it draws anew in every evaluation.
"""

from __future__ import annotations

import collections
import functools
import random
import re
import sys
from pathlib import Path
from typing import Any

import torch

ARGUMENTS = sys.argv[1:]  # before ComfyUI takes them for its own
sys.path.insert(0, str(Path(__file__).parent))
if __name__ == "__main__":
    import conftest  # noqa: F401 - ComfyUI's modules, and the pack

import comfy.samplers  # noqa: E402
import comfy.supported_models as kinds  # noqa: E402
from comfy_extras.nodes_context_windows import ContextWindowsManualNode  # noqa: E402
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode  # noqa: E402
from edit_models import UNET, error  # noqa: E402
from style_a_video.nodes import guidance  # noqa: E402
from style_a_video.nodes.presets import CurveInput, WeightedCondition  # noqa: E402
from style_a_video.pipelines.core.guidance import Projection  # noqa: E402
from style_a_video.pipelines.errors import StyleAVideoError  # noqa: E402
from test_guidance_split import CASES, FRAMES, build  # noqa: E402

WITHIN, SHAKE = 1e-5, 1e-6
"""What divided frames may differ by, or as much as undivided ones do whose noise is so much shaken:
where weights push apart, rounding grows from step to step."""
CLASSES = CASES | {
    "InstructPix2Pix": (
        kinds.SD15_instructpix2pix,
        UNET,
        (4, 8, 12),
        {"concat_latent_image": (FRAMES, 4, 8, 12)},
    ),
}
SAMPLERS = ("euler", "euler", "heun", "dpmpp_2m", "euler_cfg_pp", "res_multistep", "ddim")
POOLED = {kinds.SDXL: 1280, kinds.SDXL_instructpix2pix: 1280, kinds.Flux: 768}


@functools.cache
def model_of(name: str) -> Any:
    return build(*CLASSES[name][:2])


class Graph:
    """What one seed draws; `sample(chunk)` runs it."""

    def __init__(self, seed: int) -> None:
        self.draw = draw = random.Random(seed)
        self.made = torch.Generator().manual_seed(seed)
        self.name = draw.choice(list(CLASSES))
        kind, _, self.latent, self.shapes = CLASSES[self.name]
        self.pooled = POOLED.get(kind, 64)
        self.count = draw.randint(2, 5)
        self.chunk = draw.randint(1, self.count - 1)
        self.words: list[str] = []
        self.model = self._patched(model_of(self.name))
        self.base = self._conditioning()
        self.conditions = [self._condition(k) for k in range(draw.choice((1, 1, 2, 3)))]
        off = Projection()
        self.projection = draw.choice((off, off, Projection(0.5, 3.0, -0.3), Projection(0.0)))
        self.sampler, self.steps = draw.choice(SAMPLERS), draw.randint(2, 4)
        self.start = self._drawn(self.count, *self.latent) if draw.random() < 0.3 else None
        self.held = None
        if draw.random() < 0.15:
            rows = draw.choice((1, self.count))
            self.held = self._drawn(rows, 1, *self.latent[1:]).round()

    def told(self) -> str:
        more = " ".join(self.words)
        return f"{self.name}, {self.count} frames by {self.chunk}, {self.sampler} {more}"

    def sample(self, chunk: int, shake: float = 0.0) -> torch.Tensor:
        guider = guidance.MultiConditionGuider(
            self.model, self.base, self.conditions, chunk, self.projection
        )
        sampling = self.model.get_model_object("model_sampling")
        sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", self.steps)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(self.count, *self.latent, generator=generator)
        noise = noise + shake * torch.randn(noise.shape, generator=generator)
        start = torch.zeros_like(noise) if self.start is None else self.start.clone()
        with torch.inference_mode():
            return guider.sample(
                noise,
                start,
                comfy.samplers.sampler_object(self.sampler),
                sigmas,
                denoise_mask=self.held,
                disable_pbar=True,
                seed=0,
            )

    def _drawn(self, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=self.made)

    def _some(self, what: str, chance: float) -> bool:
        hit = self.draw.random() < chance
        if hit:
            self.words.append(what)
        return hit

    def _patched(self, model: Any) -> Any:
        if self._some("LoRA", 0.2):
            model = model.clone()
            keys = [k for k, v in model.model_state_dict().items() if v.ndim == 2]
            key = self.draw.choice(sorted(keys))
            shape = model.model_state_dict()[key].shape
            model.add_patches({key: ("diff", (0.05 * self._drawn(*shape),))})
        cache = self.draw.choice((None,) * 4 + (EasyCacheNode, LazyCacheNode))
        if cache is not None:
            self.words.append(cache.__name__)
            model = cache.execute(model, self.draw.uniform(0.1, 0.8), 0.1, 0.95, False).args[0]
        if len(self.latent) == 3 and self._some("windows", 0.15):
            model = ContextWindowsManualNode.execute(
                model, 2, 1, "standard_static", 1, False, "flat", 0, False
            ).args[0]
        return model

    def _conditioning(self) -> list[Any]:
        return [self._entry() for _ in range(self.draw.choice((1, 1, 1, 2)))]

    def _value(self, shape: Any, rows: int) -> Any:
        """What a condition holds; where it may be one a frame, `rows` of them."""
        if isinstance(shape, list):
            return [self._value(s, rows) for s in shape]
        return 2 * self._drawn(rows if shape[0] == FRAMES else shape[0], *shape[1:])

    def _entry(self) -> list[Any]:
        draw = self.draw
        rows = self.count if self._some("prompts", 0.25) else 1
        values: dict[str, Any] = {
            "pooled_output": self._drawn(draw.choice((1, rows)), self.pooled),
            "attention_mask": torch.ones(1, 77, dtype=torch.long),
        }
        # For all frames, one a frame, now and then one too many.
        known = draw.choices((self.count, 1, self.count + 1), (60, 38, 2))[0]
        values |= {what: self._value(shape, known) for what, shape in self.shapes.items()}
        h, w = self.latent[-2:]
        if len(self.latent) == 3 and self._some("area", 0.15):
            values |= {"area": (h, w // 2, 0, draw.choice((0, w // 2)))}
            values["strength"] = draw.choice((0.5, 1.0))
        if self._some("mask", 0.2):
            # Of a video model's latents ComfyUI takes several masks for those of one video.
            rows = draw.choice((1, self.count)) if len(self.latent) == 3 else 1
            values["mask"] = self._drawn(rows, 8 * h, 8 * w)
            values["mask_strength"] = draw.choice((0.5, 1.0))
        if self._some("times", 0.2):
            values["start_percent"] = draw.choice((0.0, 0.3))
            values["end_percent"] = draw.choice((0.6, 1.0))
        return [self._drawn(rows, 77, 64) - 0.5, values]

    def _condition(self, number: int) -> WeightedCondition:
        draw, h, w = self.draw, *self.latent[-2:]
        schedule = mask = None
        if self._some("curve", 0.3):
            points = [(x, draw.choice((0.0, 0.5, 1.0))) for x in (0.0, 0.4, 0.7, 1.0)]
            schedule = CurveInput.from_raw({"points": points})
        if self._some("region", 0.25):
            mask = self._drawn(draw.choice((1, self.count)), 8 * h, 8 * w)
        weight = draw.choice((0.0, 1.0, draw.uniform(-1, 4)))
        before = draw.choice((None, *(f"condition {k}" for k in range(number))))
        name = f"condition {number}"
        return WeightedCondition(self._conditioning(), weight, schedule, mask, name, before)


def result(graph: Graph, chunk: int) -> torch.Tensor | str:
    """The latents, or why there are none."""
    try:
        return graph.sample(chunk)
    except StyleAVideoError as refused:
        return f"refused: {refused}"
    except Exception as failed:  # ComfyUI's own, of what does not go together
        return f"failed: {type(failed).__name__}: {failed}"[:160]


def checked(seed: int) -> tuple[str, str]:
    """same | refused | failed (whole and divided alike) | wrong, and about what."""
    graph = Graph(seed)
    whole, parts = (result(graph, chunk) for chunk in (graph.count, graph.chunk))
    if isinstance(whole, torch.Tensor) and isinstance(parts, torch.Tensor):
        if not whole.isfinite().all():
            return "failed", f"not finite: {graph.told()}"
        apart = error(parts, whole)
        same = (
            torch.equal(parts, whole)
            or apart < WITHIN
            or apart < error(graph.sample(graph.count, SHAKE), whole)
        )
        verdict = "same" if same else "wrong"
        return verdict, f"{apart:.0e} {graph.told()}"
    if isinstance(parts, str) and parts.startswith("refused"):
        return "refused", f"{parts} | {graph.told()}"
    if isinstance(whole, str) and isinstance(parts, str):
        return "failed", f"{whole} | {graph.told()}"
    return "wrong", f"{whole if isinstance(whole, str) else parts} | {graph.told()}"


def main() -> int:
    torch.set_num_threads(1)
    count, first = int(ARGUMENTS[0]), int((ARGUMENTS[1:] or [0])[0])
    found: collections.Counter[str] = collections.Counter()
    why: collections.Counter[str] = collections.Counter()
    for seed in range(first, first + count):
        verdict, about = checked(seed)
        found[verdict] += 1
        if verdict == "refused":
            why[re.sub(r"\d+", "N", about.split(" | ")[0])[:150]] += 1
        if sum(found.values()) % 20 == 0:
            print(dict(found), flush=True)
        if verdict in ("wrong", "failed"):
            print(f"{verdict}, seed {seed}: {about}", flush=True)
    for sentence, times in why.most_common():
        print(f"{times} x {sentence}")
    print(", ".join(f"{n} {verdict}" for verdict, n in found.items()), flush=True)
    return int(found["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
