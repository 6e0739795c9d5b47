"""What a report says, in English and Chinese: the measures, what each means, and its notes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Words(NamedTuple):
    """The same said twice."""

    en: str
    zh: str


@dataclass(frozen=True)
class Measure:
    """A column of the report; `better` is "lower", "higher", or "" where neither end is."""

    key: str
    short: str
    label: Words
    better: str
    meaning: Words


MEASURES = (
    Measure(
        "strength",
        "strength",
        Words("strength", "改动强度"),
        "",
        Words(
            "How much was edited: mean difference to the source's frame. Read every other number "
            "beside it: a clip that was hardly edited is always steady.",
            "改动了多少：与原片同一帧的平均差。其他数字都要与它一起看：几乎没有改动的片子总是稳定的。",
        ),
    ),
    Measure(
        "sharpness",
        "sharp",
        Words("sharpness", "清晰度"),
        "",
        Words(
            "Energy of fine detail: mean square of luma minus its blur of 1.5 px. Steadiness that "
            "is bought by blurring shows here.",
            "细节的能量：亮度减去其 1.5 像素高斯模糊后的均方。靠变模糊换来的稳定会在这里显出来。",
        ),
    ),
    Measure(
        "warping",
        "E_warp",
        Words("E_warp", "E_warp"),
        "lower",
        Words(
            "Warping error: mean square of the frame minus the one before moved along the source's "
            "optical flow, where that can be followed (Lai et al. 2018).",
            "形变误差：当前帧与沿原片光流移过来的前一帧之差的均方，只计能跟踪到的像素"
            "（Lai 等 2018）。",
        ),
    ),
    Measure(
        "ratio",
        "x source",
        Words("×\u00a0source", "×\u00a0原片"),
        "lower",
        Words(
            "E_warp as a multiple of the unedited source's, in which noise and errors of the flow "
            "count too. About 1: as steady as the source. Below 1: calmer than it, because its "
            "grain and compression are held still as well.",
            "E_warp 是未编辑原片的几倍，原片中的噪声和光流误差也计入其中。约为 1：与原片一样稳定；"
            "小于 1：比原片更平静，因为连它的颗粒和压缩噪声也被稳住了。",
        ),
    ),
    Measure(
        "pair",
        "E_pair",
        Words("E_pair", "E_pair"),
        "lower",
        Words(
            "Mean absolute difference to the first frame plus that to the frame before, both moved "
            "along the flow (Lei et al. 2020, Deep Video Prior; there called E_warp).",
            "与第一帧的平均绝对差加上与前一帧的，两者都沿光流移动"
            "（Lei 等 2020，Deep Video Prior，文中称 E_warp）。",
        ),
    ),
    Measure(
        "temporal_1",
        "loss 1",
        Words("temporal loss, 1 frame", "时间损失，1 帧"),
        "lower",
        Words(
            "Mean absolute difference to the frame before, moved along the flow "
            "(Huang et al. 2023, Style-A-Video).",
            "与沿光流移过来的前一帧的平均绝对差（Huang 等 2023，Style-A-Video）。",
        ),
    ),
    Measure(
        "temporal_10",
        "loss 10",
        Words("temporal loss, 10 frames", "时间损失，10 帧"),
        "lower",
        Words(
            "The same to the frame ten before: slow drift of colours and strokes.",
            "与之前第十帧相比的同一量：颜色和笔触的缓慢漂移。",
        ),
    ),
    Measure(
        "agreement",
        "agree",
        Words("agreement of changes", "变化的一致性"),
        "higher",
        Words(
            "Correlation, over the picture, of how much the source changes since the frame before "
            "and how much the result does; 1 for the source. Needs no flow.",
            "原片与结果相对前一帧的变化量在画面上的相关系数；原片为 1。不需要光流。",
        ),
    ),
    Measure(
        "flicker",
        "flicker",
        Words("flicker where still", "静止处的闪烁"),
        "lower",
        Words(
            "Mean change of luma since the frame before where the source stands still (changes by "
            "less than 2/255).",
            "原片静止处（变化小于 2/255）亮度相对前一帧的平均变化。",
        ),
    ),
    Measure(
        "content",
        "content",
        Words("CLIP content", "CLIP 内容"),
        "higher",
        Words(
            "Mean cosine between the CLIP embeddings of the source's frame and the result's.",
            "原片帧与结果帧的 CLIP 向量的平均余弦。",
        ),
    ),
    Measure(
        "style",
        "style",
        Words("CLIP style", "CLIP 风格"),
        "higher",
        Words(
            "Mean cosine between the CLIP embeddings of the frame and of the prompt.",
            "画面与提示词的 CLIP 向量的平均余弦。",
        ),
    ),
    Measure(
        "consecutive",
        "CLIP t-1",
        Words("CLIP, consecutive", "CLIP 相邻帧"),
        "higher",
        Words(
            "Mean cosine between the CLIP embeddings of a frame and the one before.",
            "相邻两帧的 CLIP 向量的平均余弦。",
        ),
    ),
    Measure(
        "lpips_consecutive",
        "LPIPS t-1",
        Words("LPIPS, consecutive", "LPIPS 相邻帧"),
        "lower",
        Words(
            "Perceptual distance between a frame and the one before (Zhang et al. 2018); motion "
            "counts too, so compare with the source's.",
            "相邻两帧的感知距离（Zhang 等 2018）；运动也计入，因此请与原片的数值比较。",
        ),
    ),
    Measure(
        "lpips_source",
        "LPIPS src",
        Words("LPIPS to source", "LPIPS 与原片"),
        "",
        Words(
            "Perceptual distance to the source's frame (Zhang et al. 2018).",
            "与原片同一帧的感知距离（Zhang 等 2018）。",
        ),
    ),
    Measure(
        "sifid_source",
        "SIFID src",
        Words("SIFID to source", "SIFID 与原片"),
        "",
        Words(
            "How far the textures moved: distance between the distributions of the early Inception "
            "features of the source's frame and of the result's, wherever in the picture they are "
            "(Rott Shaham et al. 2019).",
            "纹理改变了多少：原片帧与结果帧的 Inception 浅层特征分布之间的距离，"
            "与特征在画面中的位置无关（Rott Shaham 等 2019）。",
        ),
    ),
    Measure(
        "sifid_style",
        "SIFID style",
        Words("SIFID to style", "SIFID 与风格图"),
        "lower",
        Words(
            "The same distance to the style image: how near its textures are. A style image of "
            "more pixels than a frame is brought to as many first.",
            "与风格图的同一距离：纹理与它有多接近。像素比一帧多的风格图会先缩小到同样多的像素。",
        ),
    ),
    Measure(
        "gap_gram",
        "style gap",
        Words("style gap", "风格差距"),
        "lower",
        Words(
            "How much is left of the way from the source to the style image. 1: as far from it as "
            "the source's frame; 0: its very colours and textures, wherever in the picture they "
            "are; above 1: farther off. Distance of Gram matrices (Gatys et al. 2016) of the "
            "features that ship with this package, at no more than 256 px.",
            "从原片到风格图的距离还剩多少。1：与原片同一帧离风格图一样远；"
            "0：颜色和纹理与风格图完全相同，与其在画面中的位置无关；大于 1：更远。"
            "用随本软件提供的特征的 Gram 矩阵（Gatys 等 2016）计算，边长不超过 256 像素。",
        ),
    ),
    Measure(
        "gap_frechet",
        "FD gap",
        Words("style gap, Fréchet", "风格差距（Fréchet）"),
        "lower",
        Words(
            "The same share by the Fréchet distance of these features' distributions: as SIFID, "
            "but always measured.",
            "同一比例，按这些特征分布的 Fréchet 距离计算：与 SIFID 类似，但总能测量。",
        ),
    ),
)

BETTER = {
    "": Words("neither end is better", "并非越高或越低越好"),
    "lower": Words("lower is better", "越低越好"),
    "higher": Words("higher is better", "越高越好"),
}

PAGE = {
    "title": Words("Video stylization report", "视频风格化报告"),
    "source": Words("source, unedited", "原片，未编辑"),
    "of": Words("Source", "原片"),
    "prompt": Words("Prompt", "提示词"),
    "style_image": Words("Style image", "风格图"),
    "frames": Words("frames", "帧"),
    "flow": Words("Optical flow", "光流"),
    "verdict": Words("In short", "简要"),
    "clips": Words("Side by side", "并排对比"),
    "clips_hint": Words(
        "Click a picture or press the space bar: play or pause. ← and →: one frame.",
        "点击画面或按空格键：播放或暂停。← 和 →：前后一帧。",
    ),
    "larger": Words("Larger", "放大"),
    "smaller": Words("Smaller", "缩小"),
    "speed": Words("Speed", "速度"),
    "play": Words("Play", "播放"),
    "pause": Words("Pause", "暂停"),
    "back": Words("One frame back", "后退一帧"),
    "on": Words("One frame on", "前进一帧"),
    "scrub": Words("Time", "时间"),
    "frame": Words("frame", "帧"),
    "table": Words("Means over the clip", "全片平均"),
    "measure": Words("measure", "度量"),
    "time": Words("Over time", "随时间变化"),
    "time_hint": Words(
        "Horizontal: seconds. Click a plot to go to that moment.",
        "横轴：秒。点击曲线可跳到该时刻。",
    ),
    "meaning": Words("What the numbers mean", "数字的含义"),
    "masks": Words(
        "Flow and occlusions always come from the source, never from a result. “–”: not defined or "
        "not measured.",
        "光流和遮挡总是取自原片，而不取自结果。“–”表示没有定义或没有测量。",
    ),
    "notes": Words("Notes", "说明"),
    "unplayable": Words("This browser cannot play this clip.", "此浏览器无法播放该片段。"),
}


def several_shots(count: int) -> Words:
    return Words(
        f"The source has {count} shots: frames of different shots are not compared.",
        f"原片有 {count} 个镜头：不同镜头的帧不作比较。",
    )


NO_PAIR = Words(
    "No shot has more than one frame: nothing is measured over time.",
    "没有超过一帧的镜头，因此没有随时间的测量。",
)
NOT_FOLLOWED = Words(
    "Nothing of the source can be followed over 10 frames: there is no temporal loss over them.",
    "原片中没有能跟踪 10 帧的内容，因此没有 10 帧的时间损失。",
)
NO_TEN = Words(
    "No shot has more than 10 frames: there is no temporal loss over 10 frames.",
    "没有超过 10 帧的镜头，因此没有 10 帧的时间损失。",
)
NOTHING_STILL = Words(
    "Nothing stands still in the source: flicker is not defined.",
    "原片中没有静止的地方，闪烁没有定义。",
)
OWN_CLIP = Words(
    "CLIP is the built-in model's own small one: its cosines rank the rows of this table and are "
    "not comparable with published ones. For those ask a published CLIP (a folder for --clip; in "
    "ComfyUI another CLIP_VISION).",
    "CLIP 是内置模型自带的小模型：其余弦值只能用于比较本表各行，不能与论文中的数值比较；"
    "如需后者，请改用公开发布的 CLIP（用 --clip 指定其文件夹；"
    "在 ComfyUI 中接另一个 CLIP_VISION）。",
)
NO_TEXT = Words(
    "This CLIP has no text encoder of the same space: no CLIP style.",
    "此 CLIP 没有同一空间的文本编码器，因此没有 CLIP 风格。",
)
CENTRE = Words(
    "CLIP sees the centre square of the picture only.",
    "CLIP 只看画面中央的正方形。",
)


def printable(name: str) -> str:
    """A file's name with nothing in it that a terminal would obey."""
    return "".join(c if c.isprintable() else "\ufffd" for c in name)


def broken(name: str, count: int) -> Words:
    frames = "1 frame" if count == 1 else f"{count} frames"
    return Words(
        f"{frames} of {name} with values that are no numbers (NaN or infinity): what is measured "
        "of them is left out of the means.",
        f"{name} 有 {count} 帧含非数值（NaN 或无穷）：这些帧的测量值不计入平均。",
    )


def out_of_step(name: str) -> Words:
    return Words(
        f"{name} shows its frames at other times than the source: frame n was compared with frame "
        "n, and the page plays them out of step.",
        f"{name} 各帧的时间与原片不同：比较时第 n 帧对应第 n 帧，网页播放时则不同步。",
    )


def unedited(name: str) -> Words:
    return Words(
        f"{name} is the source itself, or was not edited at all.",
        f"{name} 就是原片，或完全没有改动。",
    )


def unlike(name: str) -> Words:
    return Words(
        f"{name} shows something else than the source in every frame: if it was made from another "
        "clip, its numbers mean nothing.",
        f"{name} 的每一帧都与原片的内容对不上：如果它是由另一个片段制作的，其数字没有意义。",
    )


def stretched(name: str) -> Words:
    return Words(
        f"{name} has another shape than the results and was stretched to theirs: where they were "
        "cropped, compare them with a source that is cropped alike.",
        f"{name} 的画面比例与结果不同，已拉伸到结果的比例："
        "如果结果经过裁剪，请与同样裁剪的原片比较。",
    )


NEEDED = {
    "LPIPS": "lpips 和 torchvision 两个包以及 AlexNet 的权重",
    "SIFID": "torchvision 包以及 Inception v3 的权重",
}


def not_measured(judge: str, reason: str) -> Words:
    return Words(
        f"{judge} was not measured. {reason}",
        f"未测量 {judge}：需要 {NEEDED[judge]}。（{reason}）",
    )


def copied(folder: str) -> Words:
    return Words(
        f"The clips are too large to be part of this page: keep the folder {folder} beside it.",
        f"片段太大，没有放进页面：请把文件夹 {folder} 与本页放在一起。",
    )


def converted(names: str) -> Words:
    return Words(
        f"Converted to H.264 for this page only, because browsers may not play them: {names}.",
        f"浏览器可能无法播放以下片段，仅为本页转换成 H.264：{names}。",
    )
