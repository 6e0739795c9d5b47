"""docs/models.md and models.zh-CN.md: which edit models see a frame, how, and how exactly.

    COMFYUI_PATH=... COMFYUI_PYTHON docs/models.py

Run it with ComfyUI's Python (tests/comfyui/run.py sets one up as .venv-comfyui). Every model is
ComfyUI's own class, small, with random weights; nothing is loaded.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

TESTS = Path(__file__).parents[1] / "tests" / "comfyui"
sys.path.insert(0, str(TESTS))
import conftest  # noqa: E402, F401 - ComfyUI's modules, and the pack

HEAD = """# Edit models, frame by frame

[中文](models.zh-CN.md) · [README](../README.md)

Frame Condition, with the model connected to it, puts each frame where that model takes it. The
models of one class look alike: of a class, those named here have learned what to do with the frame.

*Error* is the greatest relative difference between {frames} frames by Frame Condition and Style
Guider, all at once or one or two at a time, and each frame alone by ComfyUI's own blocks and
CFGGuider, after {steps} steps. The classes are ComfyUI {version}'s, small, with random weights: it
says that the frames arrive; how well a model paints, its weights decide.

| Model | Weights | Licence | Size | Class | Frame goes to | as | Error |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
TAIL = """
Not supported, and refused by name by Frame Condition where they are connected to it: models that
take no frame (Stable Diffusion 1.5, SDXL, SD 3, Chroma) or were not tried (Z-Image, LongCat-Image,
Boogu); those that fill in or follow a map (Flux Fill, Canny, Depth), which have blocks of their
own; video models but Bernini (VACE, image to video, HunyuanVideo, LTX); HiDream-O1, which sees one
picture for all frames. ControlNet works with any model that has one.

Bernini as a video model: Bernini Conditioning with Style Guider's presets (see its help); at any
length by Stylize Video; the pair of 14 B by Two-model Guider (the template *Stylize a film with
Bernini*).

Outside ComfyUI the engine `edit` takes SDXL InstructPix2Pix, CosXL Edit, Flux Kontext, Flux 2 klein
and Qwen-Image-Edit in diffusers' format ([engines](engines.md)).

Size: parameters of the network that is sampled, as its authors tell them.

This page is written by `docs/models.py`.
"""

HEAD_ZH = """# 编辑模型,逐帧使用

[English](models.md) · [README](../README.zh-CN.md)

*画面条件*接上模型后,把每一帧放到该模型接受它的地方。同一类的模型看起来一样;\
表中所列的是其中学过怎样使用画面的。

*误差*是最大的相对差:{frames} 帧经*画面条件*和*风格引导器*(一次全部、一次一帧或两帧),\
与每一帧单独经 ComfyUI 自己的节点和 CFGGuider 相比,\
{steps} 步之后。各类取自 ComfyUI {version},缩小,权重随机:它说明画面确实送到了;画得好不好,\
由模型的权重决定。

| 模型 | 权重 | 许可证 | 参数量 | 类 | 画面放在 | 作为 | 误差 |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
TAIL_ZH = """
不支持,接到*画面条件*时会点名拒绝:不接受画面的模型(Stable Diffusion 1.5、SDXL、SD 3、Chroma)\
或没有试过的(Z-Image、LongCat-Image、Boogu);\
补画或跟随一张图的(Flux Fill、Canny、Depth),它们有自己的节点;\
除 Bernini 以外的视频模型(VACE、图生视频、HunyuanVideo、LTX);\
HiDream-O1,它对所有帧只看一张图片。ControlNet 可用于任何有 ControlNet 的模型。

把 Bernini 作为视频模型:Bernini Conditioning 加上*风格引导器*的预设(见它的帮助);\
任意长度用*视频风格化*;\
14B 的一对模型用*双模型引导器*(模板 *Stylize a film with Bernini*)。

在 ComfyUI 之外,引擎 `edit` 接受 diffusers 格式的 SDXL InstructPix2Pix、CosXL Edit、Flux Kontext、\
Flux 2 klein 和 Qwen-Image-Edit([引擎](engines.zh-CN.md))。

参数量:被采样的网络的参数,按作者所说。

本页由 `docs/models.py` 写成。
"""
TOLD_ZH = {
    "channels beside the noise": "噪声旁的通道",
    "tokens beside the noise": "噪声旁的词元",
    "tokens after those of the picture": "画面词元之后的词元",
    "tokens before those of the picture": "画面词元之前的词元",
}


def main() -> None:
    import comfyui_version
    from edit_models import FRAMES, MODELS, STEPS, error, ours, stock

    torch.set_num_threads(1)
    rows, rows_zh = [], []
    for one in MODELS:
        model = one.build()
        known = stock(one, model)
        worst = max(error(ours(one, model, chunk), known) for chunk in (0, 1, 2))
        name = type(model.model).__name__
        cells = (one.name, one.weights, one.licence, one.size, f"`{name}`", f"`{one.place}`")
        for listed, told in ((rows, one.told), (rows_zh, TOLD_ZH[one.told])):
            listed.append("| " + " | ".join([*cells, told, f"{worst:.0e}"]) + " |")
        print(rows[-1], flush=True)
    said = {"frames": FRAMES, "steps": STEPS, "version": comfyui_version.__version__}
    for language, head, listed, tail in (
        ("", HEAD, rows, TAIL),
        (".zh-CN", HEAD_ZH, rows_zh, TAIL_ZH),
    ):
        page = head.format(**said) + "\n".join(listed) + "\n" + tail
        (Path(__file__).parent / f"models{language}.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
