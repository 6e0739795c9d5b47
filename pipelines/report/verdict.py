"""What the measures of a result come to, in plain words: how much style, how calm, what to change.

docs/measures.md explains the thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

from .measures import ClipMeasures, Measures
from .words import Words

NOTHING, LITTLE, MUCH = 0.015, 0.04, 0.08  # of `strength`; compression alone changes 0.01
PART, MOST = 0.2, 0.5  # of the way to a style's picture
STEADY, RESTLESS = 1.5, 3.0  # E_warp, times the source's
SEEN, PLAIN = 1 / 255, 3 / 255  # what `temporal_1` has beyond the source's
DRIFT, DRIFT_BEYOND = 2.0, 0.02  # `temporal_10`: times the source's, and beyond it
SOFT = 0.3  # sharpness, as a share of the source's


@dataclass(frozen=True)
class Verdict:
    """Of the result `name`; `good`: there is nothing to change."""

    name: str
    style: Words
    calm: Words
    change: Words
    good: bool

    @property
    def sentences(self) -> tuple[Words, Words, Words]:
        return self.style, self.calm, self.change


def verdicts(measures: Measures) -> list[Verdict]:
    """One a result, in order."""
    source, *results = measures.clips
    return [_verdict(result, source, measures) for result in results]


def _verdict(result: ClipMeasures, source: ClipMeasures, measures: Measures) -> Verdict:
    styled, style = _style(result, source, measures)
    calm, steady = _calm(result, source)
    by_picture = result.means["gap_gram"] is not None
    changes = [] if styled else [MORE_OF_PICTURE if by_picture else MORE]
    if not calm:
        changes.append(CALMER)
    elif styled and _share(result, source, "sharpness") < SOFT:
        changes.append(SHARPER)
    return Verdict(result.name, style, steady, _together(changes or [GOOD]), not changes)


def _style(result: ClipMeasures, source: ClipMeasures, measures: Measures) -> tuple[bool, Words]:
    """Whether enough of it came, and how much."""
    changed = result.means["strength"] or 0.0
    if changed < NOTHING:
        return False, UNCHANGED
    gap = result.means["gap_gram"]
    if gap is not None:
        came = 1 - gap
        kind = MOST_CAME if came >= MOST else PART_CAME if came >= PART else LITTLE_CAME
        percent = f"{100 * max(0.0, came):.0f}"
        return came >= PART, Words(*(text.format(percent) for text in kind))
    kind = STRONG if changed >= MUCH else CLEAR if changed >= LITTLE else SLIGHT
    percent = f"{100 * changed:.0f}"
    said = Words(*(text.format(percent) for text in kind))
    there, before = result.means["style"], source.means["style"]
    if measures.prompt is None or there is None or before is None:
        return changed >= LITTLE, said
    nearer = there > before
    return nearer and changed >= LITTLE, _together([said, NEARER if nearer else NO_NEARER])


def _calm(result: ClipMeasures, source: ClipMeasures) -> tuple[bool, Words]:
    """Whether it is calm enough, and how calm."""
    beyond = _beyond(result, source, "temporal_1")
    if beyond is None:
        return True, NOT_KNOWN
    ratio = result.means["ratio"]
    times = float("inf") if ratio is None else ratio  # a source in which nothing changes at all
    drift = _beyond(result, source, "temporal_10")
    if beyond > PLAIN and times > RESTLESS:
        return False, FLICKERS
    if beyond > SEEN and times > STEADY:
        return False, FLICKERS_A_LITTLE
    share = _share(result, source, "temporal_10")
    if drift is not None and drift > DRIFT_BEYOND and share > DRIFT:
        return False, DRIFTS
    percent = f"{100 * times:.0f}"
    return True, Words(*(w.format(percent) for w in CALMER_STILL)) if times < 1 else CALM


def _beyond(result: ClipMeasures, source: ClipMeasures, key: str) -> float | None:
    mine, given = result.means[key], source.means[key]
    return None if mine is None or given is None else mine - given


def _share(result: ClipMeasures, source: ClipMeasures, key: str) -> float:
    """Of the source's; infinite where that has none."""
    mine, given = result.means[key] or 0.0, source.means[key] or 0.0
    return mine / given if given else float("inf")


def _together(some: list[Words]) -> Words:
    return Words(" ".join(words.en for words in some), "".join(words.zh for words in some))


UNCHANGED = Words(
    "Next to nothing was changed: no style is to be seen.", "几乎没有改动：看不到风格。"
)
MOST_CAME = Words(
    "Much of the picture's style came: {} % of the way from the source to the picture.",
    "风格图的风格大多已呈现：从原片到风格图的距离走了 {}%。",
)
PART_CAME = Words(
    "A part of the picture's style came: {} % of the way from the source to the picture.",
    "风格图的风格呈现了一部分：从原片到风格图的距离走了 {}%。",
)
LITTLE_CAME = Words(
    "Little of the picture's style came: {} % of the way from the source to the picture.",
    "风格图的风格呈现得很少：从原片到风格图的距离只走了 {}%。",
)
STRONG = Words(
    "The video was changed strongly: by {} % of the way from black to white on average.",
    "视频改动很大：平均为从黑到白的 {}%。",
)
CLEAR = Words(
    "The video was changed clearly: by {} % of the way from black to white on average.",
    "视频改动明显：平均为从黑到白的 {}%。",
)
SLIGHT = Words(
    "The video was changed a little: by {} % of the way from black to white on average.",
    "视频改动很小：平均为从黑到白的 {}%。",
)
NEARER = Words(
    "CLIP sees the prompt in it better than in the source.", "CLIP 认为它比原片更符合提示词。"
)
NO_NEARER = Words(
    "But CLIP does not see the prompt in it any better than in the source.",
    "但 CLIP 认为它并不比原片更符合提示词。",
)
NOT_KNOWN = Words(
    "How calm it is cannot be said: there are no two frames to compare.",
    "无法判断是否平静：没有可以比较的相邻两帧。",
)
CALMER_STILL = Words(
    "It is calmer than the source: its flicker (E_warp) is {} % of the source's.",
    "它比原片更平静：闪烁（E_warp）为原片的 {}%。",
)
CALM = Words(
    "It is calm: beyond the source's own there is no flicker to be seen.",
    "它很平静：除原片自身的变化外看不到闪烁。",
)
FLICKERS_A_LITTLE = Words("It flickers a little.", "它有些闪烁。")
FLICKERS = Words("It flickers.", "它闪烁明显。")
DRIFTS = Words(
    "It does not flicker, but colours or strokes drift within ten frames.",
    "它不闪烁，但颜色或笔触在十帧之内漂移。",
)
GOOD = Words("Nothing needs to be changed.", "无需改动。")
MORE = Words(
    "For more style: raise the scale of the words, use plainer words, or another engine.",
    "想要更强的风格：提高文本强度，用更直白的提示词，或换一个引擎。",
)
MORE_OF_PICTURE = Words(
    "For more style: raise the strength of the style or the picture's share, or use another "
    "picture or another engine.",
    "想要更强的风格：提高风格强度或图片占比，或换一张风格图、另一个引擎。",
)
CALMER = Words(
    "To make it calmer: let it be refined (strength 1), or take a calmer way to stylize: a learned "
    "style, or a picture's colours alone.",
    "想要更平静：用强度 1 的时序稳定，或换用更平静的方式：已学风格，或只取风格图的颜色。",
)
SHARPER = Words(
    "Its fine detail is mostly gone. If the style is not meant so: work at a larger size, or "
    "where it was refined refine it less.",
    "细节大多消失了。如果这不是风格本身的效果：请用更大的尺寸处理；若用过时序稳定，请减弱它。",
)
