"""The measures of clips over time, drawn by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import StyleAVideoError
from .measures import Measures
from .sheet import GAP, INK, PAPER, written
from .words import MEASURES, Measure

# The source in grey, then results in colours that the colour-blind tell apart (Okabe and Ito).
SOURCE = "#8a8a8a"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("solid", "dashed", "dotted")  # of matplotlib and of CSS: when colours come again
AXES = (0.155, 0.15, 0.795, 0.79)  # left, bottom, width, height, as shares of a chart
TEXT, FRAME, GRID = "#555555", "#bbbbbb", "#e4e4e4"
DARK = f"""@media (prefers-color-scheme: dark) {{
  text[style*="{TEXT}"] {{ fill: #b4bcc5 !important }}
  use[style*="{TEXT}"], [style*="{FRAME}"] {{ stroke: #59626d !important }}
  [style*="{GRID}"] {{ stroke: #2e353d !important }}
}}"""
CELL = (420, 200)  # px of one chart
COLUMNS = 3


def colour(k: int) -> str:
    """Of clip k; the source is 0."""
    return SOURCE if k == 0 else COLOURS[(k - 1) % len(COLOURS)]


def dash(k: int) -> str:
    """Of clip k's line."""
    return DASHES[0 if k == 0 else (k - 1) // len(COLOURS) % len(DASHES)]


def drawn(measures: Measures) -> list[Measure]:
    """The measures that there is a curve of."""
    return [
        m
        for m in MEASURES
        if any(x is not None for clip in measures.clips for x in clip.series.get(m.key, ()))
    ]


def span(times: Sequence[float]) -> tuple[float, float]:
    """Where the time axis begins and ends, s."""
    return times[0], max(times[-1], times[0] + 0.04)


def svg(measures: Measures, key: str) -> str:
    """The curves of one measure, without words, as an SVG picture; its axes lie at `AXES`.

    Raises:
        StyleAVideoError: no matplotlib here.
    """
    rc_context, figure = _matplotlib()
    # Text stays text: the page's reader has fonts of his own.
    with rc_context({"svg.fonttype": "none"}):
        chart = figure(figsize=(CELL[0] / 100, CELL[1] / 100), dpi=100)
        _draw(chart.add_axes(AXES), measures, key)
        buffer = io.StringIO()
        chart.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return buffer.getvalue().replace("</svg>", f"<style>{DARK}</style></svg>")


def plot(measures: Measures) -> Tensor:
    """All curves as one picture (1,3,H,W) in [0,1], with the clips' names above.

    Raises:
        StyleAVideoError: no matplotlib here.
    """
    _, figure = _matplotlib()
    shown = drawn(measures)
    rows = -(-len(shown) // COLUMNS)
    width, height = COLUMNS * CELL[0], rows * (CELL[1] + 24)
    chart = figure(figsize=(width / 100, height / 100), dpi=100, layout="constrained")
    chart.get_layout_engine().set(w_pad=0.12, h_pad=0.06)
    for i, measure in enumerate(shown):
        axes = chart.add_subplot(rows, COLUMNS, i + 1)
        _draw(axes, measures, measure.key)
        better = f" ({measure.better} is better)" if measure.better else ""
        axes.set_title(measure.label.en + better, fontsize=9, loc="left")
    buffer = io.BytesIO()
    chart.savefig(buffer, format="png")
    curves = Image.open(buffer).convert("RGB")
    legend = _legend([clip.name for clip in measures.clips], curves.width)
    picture = np.concatenate([np.array(legend), np.array(curves)])
    return torch.from_numpy(picture).permute(2, 0, 1)[None] / 255


def check_matplotlib() -> None:
    """Raises StyleAVideoError where it is missing, before anything long."""
    _matplotlib()


def _matplotlib() -> tuple[Any, Any]:
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise StyleAVideoError(
            "Plots need matplotlib, which is not installed: pip install matplotlib"
        ) from None
    return rc_context, Figure


def _draw(axes: Any, measures: Measures, key: str) -> None:
    for k, clip in enumerate(measures.clips):
        numbers = [np.nan if x is None else x for x in clip.series[key]]
        # The source is drawn first, beneath.
        (line,) = axes.plot(measures.times, numbers, color=colour(k), linewidth=1.3)
        line.set(linestyle=dash(k), marker=".", markevery=_alone(numbers))
    axes.set_xlim(*span(measures.times))
    axes.tick_params(labelsize=8, length=2, colors=TEXT)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.locator_params(axis="y", nbins=5)
    # Each number whole: matplotlib's "1e-5" above was cut off.
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_label)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FRAME)


def _alone(numbers: Sequence[float]) -> list[int]:
    """Where a number has none beside it: there is no line to it, so it gets a dot."""
    there = [False, *np.isfinite(numbers), False]
    triples = zip(there, there[1:], there[2:], strict=False)
    return [n for n, (before, here, after) in enumerate(triples) if here and not before | after]


def _label(x: float, _: object = None) -> str:
    """Of an axis, in few characters: 0.25, 1.5e-5."""
    return f"{x:.6g}".replace("e-0", "e-").replace("e+0", "e")


def _legend(names: Sequence[str], width: int, size: int = 15) -> Image.Image:
    """A line a clip: its colour and its name, in whatever script. Matplotlib's fonts have Latin."""
    line = size + 8
    legend = Image.new("RGB", (width, len(names) * line + 2 * GAP), PAPER)
    for k, name in enumerate(names):
        top = GAP + k * line
        length = {"solid": 22, "dashed": 9, "dotted": 4}[dash(k)]
        for x in range(0, 22, length + 4):
            piece = Image.new("RGB", (min(length, 22 - x), 4), colour(k))
            legend.paste(piece, (2 * GAP + x, top + line // 2 - 2))
        text, pen = written(name, k, size)
        pen.write(legend, (2 * GAP + 30, top + 2), text, INK)
    return legend
