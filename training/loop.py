"""What the training stages share: a run of so many minutes that resumes after a kill."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn


class Crops:
    """Random crops of the stage-1 arrays, aligned to the latent grid."""

    def __init__(self, folder: Path, seed: int = 0):
        self.arrays = [np.load(file, mmap_mode="r") for file in sorted(folder.glob("*.npy"))]
        if not self.arrays:
            raise SystemExit(f"No images in {folder}: run `python -m training.data` first.")
        self.rng = np.random.default_rng(seed)

    def sample(self, height: int, width: int, align: int = 8) -> tuple[int, int, int]:
        """(index of an array large enough for the crop, top, left)."""
        while True:
            index = int(self.rng.integers(len(self.arrays)))
            h, w = self.arrays[index].shape[1:3]
            if h >= height and w >= width:
                top = int(self.rng.integers((h - height) // align + 1)) * align
                left = int(self.rng.integers((w - width) // align + 1)) * align
                return index, top, left


def length_of(parameters: Sequence[nn.Parameter]) -> float:
    """Of their gradient, all together."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))


class Run:
    """Counts minutes over restarts, or steps where `most` is given, so that runs can be compared.

    The learning rate warms up, then falls as a cosine to zero.
    """

    def __init__(
        self,
        name: str,
        work: Path,
        minutes: float,
        rate: float,
        modules: dict[str, nn.Module],
        most: int | None = None,
    ):
        self.folder = work / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.minutes, self.most, self.rate, self.modules = minutes, most, rate, modules
        parameters = [p for m in modules.values() for p in m.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            parameters, lr=rate, betas=(0.9, 0.99), weight_decay=1e-3
        )
        self.averages = {
            k: [p.detach().clone() for p in m.parameters()] for k, m in modules.items()
        }
        self.parameters = parameters
        self.step, self.seconds = 0, 0.0
        self.rows: list[dict[str, float]] = []
        self._resume()

    def _resume(self) -> None:
        file = self.folder / "checkpoint.pt"
        if file.exists():
            state = torch.load(file, weights_only=True)
            for name, module in self.modules.items():
                module.load_state_dict(state["modules"][name])
            self.averages = state["averages"]
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds, self.rows = state["step"], state["seconds"], state["rows"]

    def save(self) -> None:
        state = {
            "modules": {k: m.state_dict() for k, m in self.modules.items()},
            "averages": self.averages,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "rows": self.rows,
        }
        partial = self.folder / "checkpoint.partial"
        torch.save(state, partial)
        partial.rename(self.folder / "checkpoint.pt")

    @property
    def progress(self) -> float:
        if self.most is not None:
            return min(self.step / self.most, 1.0)
        return min(self.seconds / (60 * self.minutes), 1.0)

    def steps(self) -> Iterator[int]:
        """One item a step until the minutes or steps are over; a checkpoint every two minutes."""
        saved = self.seconds
        while self.progress < 1:
            began = time.monotonic()
            warm = min(1.0, (self.step + 1) / 200)
            rate = self.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress)))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            yield self.step
            self.step += 1
            self.seconds += time.monotonic() - began
            if self.seconds - saved > 120:
                saved = self.seconds
                self.save()
        self.save()
        self.draw()

    def descend(
        self,
        loss: torch.Tensor,
        shared: Sequence[nn.Parameter] | None = None,
        length: float | None = None,
    ) -> float:
        """A step. The gradient is brought to `length` in the parameters `shared`, where it is
        given; else it is cut to a length of 1. Its length in `shared`, of all where None.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if length is not None:
            own = length_of(shared or self.parameters)
            torch._foreach_mul_(
                [p.grad for p in self.parameters if p.grad is not None], length / own
            )
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        length = length_of(shared or self.parameters)
        self.optimizer.step()
        decay = min(0.999, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for name, module in self.modules.items():
                torch._foreach_lerp_(self.averages[name], list(module.parameters()), 1 - decay)
        return length

    def log(self, every: int = 50, **values: torch.Tensor | float) -> None:
        if self.step % every == 0:
            row = {"step": self.step, "minutes": round(self.seconds / 60, 2)}
            row |= {k: round(float(v), 5) for k, v in values.items()}
            self.rows.append(row)
            print("  ".join(f"{k} {v}" for k, v in row.items()), flush=True)

    def averaged(self, name: str) -> nn.Module:
        """The module with its moving-average weights put in."""
        module = self.modules[name]
        with torch.no_grad():
            for p, average in zip(module.parameters(), self.averages[name], strict=True):
                p.copy_(average)
        return module.eval()

    def draw(self) -> None:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot

        columns = list(dict.fromkeys(k for row in self.rows for k in row))  # not all log the same
        keys = [k for k in columns if k not in ("step", "minutes")]
        figure, axes = pyplot.subplots(1, len(keys), figsize=(4 * len(keys), 3), squeeze=False)
        for axis, key in zip(axes[0], keys, strict=True):
            axis.plot([r["minutes"] for r in self.rows], [r.get(key, math.nan) for r in self.rows])
            axis.set_title(key)
            axis.set_xlabel("minutes")
        figure.tight_layout()
        figure.savefig(self.folder / "curves.png")
        with open(self.folder / "curves.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)
