"""Writes the example workflows, TITLE.json for the browser and api/NAME.api.json for scripts.

python workflows/build.py --server http://127.0.0.1:8188

Both forms come from one description, the functions under "The graphs", and a note in notes/NAME.md.
ComfyUI's list of templates shows the file's name, so that is the title. The running ComfyUI, with
this pack installed, tells which inputs, widgets and defaults its nodes have.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
EXAMPLE = "example clip"
"""What Load Video Frames calls the clip that comes with the pack."""
# As Bernini has learned it: the task, what is asked for; what is not wanted is Wan's own list
# without what means a style.
TASK = (
    "You are a helpful assistant for editing. You might need to adjust the video's style, "
    "lighting, colors, textures, and the subject's pose or action. "
)
OIL = (
    "Turn this video into an oil painting with thick, visible brush strokes and warm colours. Keep "
    "the composition, the subjects and their motion unchanged."
)
UNWANTED = (
    "overexposed, static, blurry details, subtitles, worst quality, low quality, JPEG compression "
    "artifacts, ugly, deformed, still frame"
)

# Layout, in px. A node's position is below its title.
WIDTH, NOTE = 320, (400, 420)
TITLE, ROW, WIDGET, GAP, MARGIN = 30, 20, 24, 40, 20
TEXT, CURVE = 100, 260  # taller than an ordinary widget
PREVIEWS = {
    "PreviewImage": 260,
    "MaskPreview": 240,
    "SaveVideo": 240,
    "PreviewAny": 100,
    "StyleAVideoLoadFrames": 220,
    "StyleAVideoStylePicture": 220,
    "StyleAVideoFrameCondition": 80,
    "StyleAVideoPresetGuider": 110,
    "StyleAVideoMultiConditionGuider": 110,
    "StyleAVideoAttentionMap": 220,
    "StyleAVideoCompare": 300,
    "StyleAVideoStylizeVideo": 240,
    "StyleAVideoConsistencyReport": 360,
}
COLOURS = ("#3f789e", "#8A8", "#b06634", "#88A", "#A88")
APP: dict[str, tuple[str, ...]] = {
    "StyleAVideoStylize": ("prompt",),
    "StyleAVideoTextCondition": ("text",),
    "CLIPTextEncode": ("text",),
    "StyleAVideoStylePicture": ("painting",),
    "StyleAVideoLearnedStyle": ("name",),
    "StyleAVideoLearnStyle": ("name",),
    "StyleAVideoLoadFrames": ("file", "max_frames"),
}
"""Block → the widgets that App mode shows, in this order, beside Run."""
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "CURVE", "COMFY_DYNAMICCOMBO_V3")


# One description, two forms


@dataclass
class Node:
    """A node of the graph; `node["name"]` is its output of that name."""

    id: int
    kind: str
    title: str
    definition: dict[str, Any]
    inputs: dict[str, Any]
    place: tuple[int, int] = (0, 0)
    size: tuple[int, int] = (WIDTH, 0)

    def __getitem__(self, output: str) -> Output:
        return Output(self, self.definition["output_name"].index(output))


@dataclass(frozen=True)
class Output:
    node: Node
    slot: int

    @property
    def type(self) -> str:
        return self.node.definition["output"][self.slot]


@dataclass
class Field:
    """An input of a node as ComfyUI declares it."""

    name: str
    type: str
    options: dict[str, Any]
    optional: bool

    @property
    def is_widget(self) -> bool:
        return self.type in WIDGETS and not self.options.get("forceInput")

    @property
    def default(self) -> Any:
        choices = self.options.get("options") or [None]
        first = choices[0]["key"] if isinstance(choices[0], dict) else choices[0]
        return self.options.get("default", first)


def fields(node: Node) -> Iterator[Field]:
    """All inputs in the browser's order, with those that a choice or a growing list brings."""
    declared, order = node.definition["input"], node.definition["input_order"]
    for section in ("required", "optional"):
        for name in order.get(section, []):
            yield from _expanded(node, name, declared[section][name], section == "optional")


def _expanded(node: Node, name: str, spec: list[Any], optional: bool) -> Iterator[Field]:
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    if isinstance(kind, list):
        kind, options = "COMBO", {**options, "options": kind}
    if kind == "COMFY_AUTOGROW_V3":
        template = options["template"]
        ((inner, *_),) = (list(s.values()) for s in template["input"].values() if s)
        given = sum(key.startswith(f"{name}.") for key in node.inputs)
        for i in range(min(max(given + 1, template["min"]), template["max"])):
            place = f"{name}.{template['prefix']}{i}"
            yield Field(place, inner[0], {}, i >= template["min"])
        return
    entry = Field(name, kind, options, optional)
    yield entry
    if kind == "COMFY_DYNAMICCOMBO_V3":
        chosen = node.inputs.get(name, entry.default)
        brought = next(o["inputs"] for o in options["options"] if o["key"] == chosen)
        for section, inner in brought.items():
            for key, child in inner.items():
                yield from _expanded(node, f"{name}.{key}", child, section == "optional")


@dataclass
class Graph:
    """Nodes in columns, columns in stages, stages from left to right."""

    name: str
    definitions: dict[str, Any]
    nodes: list[Node] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    wide: int = WIDTH  # px of a node, where nothing else is said
    all_slots: bool = False  # of widgets too; else of those alone that are connected
    _x: int = 0
    _y: int = 0
    _wide: int = 0

    def __post_init__(self) -> None:
        self._x = NOTE[0] + GAP - WIDTH - MARGIN

    def stage(self, title: str) -> None:
        """A titled group, to the right of the last one."""
        self._x += 2 * MARGIN
        self.groups.append({"title": title, "nodes": []})
        self.column()

    def column(self) -> None:
        """Nodes from here on stand to the right."""
        self._x += (self._wide or WIDTH) + GAP
        self._y = self._wide = 0

    def add(
        self, kind: str, title: str = "", wide: int = 0, taller: int = 0, **inputs: Any
    ) -> Node:
        """A node below the last one. A dot in an input's name is written `__`; a Node as a value is
        its first output."""
        if kind not in self.definitions:
            sys.exit(f"{self.name}: the server has no node {kind}; is the pack installed there?")
        definition = self.definitions[kind]
        given = {
            key.replace("__", "."): Output(value, 0) if isinstance(value, Node) else value
            for key, value in inputs.items()
        }
        title = title or definition["display_name"] or kind
        node = Node(len(self.nodes) + 1, kind, title, definition, given, (self._x, self._y))
        known = {f.name: f for f in fields(node)}
        if unknown := set(given) - set(known):
            sys.exit(f"{self.name}: {kind} has no input {', '.join(sorted(unknown))}.")
        node.size = (wide or self.wide, _height(node) + taller)
        self._y += node.size[1] + TITLE + GAP
        self._wide = max(self._wide, node.size[0])
        self.nodes.append(node)
        self.groups[-1]["nodes"].append(node)
        return node

    def api(self) -> dict[str, Any]:
        """The form for POST /prompt; scripts call its nodes by their English titles."""
        form = {}
        for node in self.nodes:
            inputs = {}
            for entry in fields(node):
                value = node.inputs.get(entry.name, entry.default if entry.is_widget else None)
                if isinstance(value, Output):
                    value = [str(value.node.id), value.slot]
                if value is not None:
                    inputs[entry.name] = value
            form[str(node.id)] = {
                "class_type": node.kind,
                "inputs": inputs,
                "_meta": {"title": node.title.split(" · ")[0]},
            }
        return form

    def ui(self) -> dict[str, Any]:
        """The form that the browser opens."""
        nodes, links = self.ui_nodes()
        nodes.append(self._ui_note(len(nodes) + 1))
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"style-a-video/{self.name}")),
            "revision": 0,
            "last_node_id": len(nodes),
            "last_link_id": len(links),
            "nodes": nodes,
            "links": links,
            "groups": [ui_group(i, group) for i, group in enumerate(self.groups)],
            "config": {},
            "extra": {"ds": {"scale": 0.6, "offset": [130, 160]}, "linearData": self.app()},
            "version": 0.4,
        }

    def ui_nodes(self) -> tuple[list[dict[str, Any]], list[list[Any]]]:
        links: list[list[Any]] = []
        nodes = [self._ui_node(node, links) for node in self.nodes]
        for link, source, slot, *_ in links:
            if source > 0:
                nodes[source - 1]["outputs"][slot]["links"].append(link)
        return nodes, links

    def app(self) -> dict[str, Any]:
        """What App mode shows: some widgets, and the video that is made; pictures if none is."""
        shown = [n for kind in APP for n in self.nodes if n.kind == kind]
        made = {kind: [n.id for n in self.nodes if n.kind == kind] for kind in PREVIEWS}
        return {
            "inputs": [[n.id, name] for n in shown for name in _app_widgets(n)],
            "outputs": made["SaveVideo"] or made["PreviewImage"],
        }

    def _ui_node(self, node: Node, links: list[list[Any]]) -> dict[str, Any]:
        slots, values = [], []
        # A connected widget keeps its value, and has its place after the other inputs.
        for entry in sorted(fields(node), key=lambda f: f.is_widget):
            value = node.inputs.get(entry.name)
            slot = {"name": entry.name, "type": entry.type, "link": None}
            if entry.is_widget:
                unset = value is None or isinstance(value, Output)
                values += _widget_values(entry, entry.default if unset else value)
                slot["widget"] = {"name": entry.name}
            elif entry.optional:
                slot["shape"] = 7
            if isinstance(value, Output):
                slot["link"] = len(links) + 1
                ends = [value.node.id, value.slot, node.id, len(slots)]
                links.append([slot["link"], *ends, value.type])
            own_title = node.title != node.definition["display_name"]
            named = own_title and _app_widgets(node) == [entry.name]
            if named:
                slot["label"] = node.title
            if slot["link"] or named or self.all_slots or not entry.is_widget:
                slots.append(slot)
        if any(map(_uploads, fields(node))):
            values.append("image")  # the upload button, last of all
        given = node.definition
        outputs = [
            {"name": name, "type": kind, "links": []}
            for name, kind in zip(given["output_name"], given["output"], strict=True)
        ]
        form = {"id": node.id, "type": node.kind, "pos": list(node.place), "size": list(node.size)}
        form |= {"flags": {}, "order": node.id - 1, "mode": 0, "inputs": slots, "outputs": outputs}
        if node.title != (given["display_name"] or node.kind):
            form["title"] = node.title
        return form | {
            "properties": {"Node name for S&R": node.kind},
            "widgets_values": values,
        }

    def _ui_note(self, number: int) -> dict[str, Any]:
        return {
            "id": number,
            "type": "MarkdownNote",
            "pos": [0, 0],
            "size": list(NOTE),
            "flags": {},
            "order": number - 1,
            "mode": 0,
            "inputs": [],
            "outputs": [],
            "title": "About · 说明",
            "properties": {},
            "widgets_values": [(FOLDER / "notes" / f"{self.name}.md").read_text("utf-8")],
            "color": "#432",
            "bgcolor": "#653",
        }


def _app_widgets(node: Node) -> list[str]:
    """Without an empty prompt, which is there to be empty, and a limit that is none."""
    return [name for name in APP.get(node.kind, ()) if node.inputs.get(name) not in ("", 0)]


def _uploads(entry: Field) -> bool:
    """Whether it has a button to upload a file."""
    return any(entry.options.get(f"{kind}_upload") for kind in ("video", "image"))


def _widget_values(entry: Field, value: Any) -> list[Any]:
    """A seed has a second widget: what to do with it after a run."""
    seeds = entry.type == "INT" and entry.name in ("seed", "noise_seed")
    return [value, "fixed"] if entry.options.get("control_after_generate", seeds) else [value]


def _height(node: Node) -> int:
    rows, height = 0, PREVIEWS.get(node.kind, 0)
    for entry in fields(node):
        rows += not entry.is_widget
        if entry.is_widget:
            value = node.inputs.get(entry.name, entry.default)
            tall = TEXT if entry.options.get("multiline") else WIDGET
            height += CURVE if entry.type == "CURVE" else tall
            height += WIDGET * (len(_widget_values(entry, value)) - 1)
            height += WIDGET * _uploads(entry)
    return height + ROW * max(rows, len(node.definition["output"])) + ROW


def ui_group(number: int, group: dict[str, Any]) -> dict[str, Any]:
    """The frame around a stage's nodes, with room for their titles and its own."""
    nodes = group["nodes"]
    left, top = (min(n.place[i] for n in nodes) for i in (0, 1))
    right, bottom = (max(n.place[i] + n.size[i] for n in nodes) for i in (0, 1))
    left, top, right, bottom = left - MARGIN, top - 2 * TITLE - MARGIN, right + MARGIN, bottom
    return {
        "id": number + 1,
        "title": group["title"],
        "bounding": [left, top, right - left, bottom + MARGIN - top],
        "color": COLOURS[number % len(COLOURS)],
        "flags": {},
    }


# Parts that several graphs share


def load_clip(g: Graph, frames: int = 48, **inputs: Any) -> Node:
    given = {"file": EXAMPLE, "max_frames": frames, "resize": "max side"} | inputs
    return g.add("StyleAVideoLoadFrames", **given)


def null_condition(g: Graph, clip: Output) -> Node:
    return g.add("StyleAVideoTextCondition", "Empty prompt ∅", clip=clip, text="")


def sample(g: Graph, model: Any, guider: Node, frames: Node, latent: Any, **steps: Any) -> Output:
    """The stock sampler with noise that belongs to the frames; gives the finished latents."""
    noise = g.add("StyleAVideoFrameNoise", frame_info=frames["frame_info"])
    sampler = g.add("KSamplerSelect", sampler_name="euler")
    sigmas = g.add("BasicScheduler", model=model, **({"scheduler": "simple"} | steps))
    sampled = g.add(
        "SamplerCustomAdvanced",
        noise=noise,
        guider=guider["GUIDER"],
        sampler=sampler,
        sigmas=sigmas,
        latent_image=latent,
    )
    return sampled["output"]


def save(g: Graph, images: Any, frames: Node, name: str = "") -> None:
    video = g.add(
        "StyleAVideoFramesToVideo",
        images=images,
        frame_info=frames["frame_info"],
        audio=frames["audio"],
    )
    g.add("SaveVideo", video=video, filename_prefix=f"style_a_video/{name or g.name}")


def halves(g: Graph) -> tuple[Node, Node]:
    """Masks of the left and the right of the picture, with a soft border."""
    whole = g.add("SolidMask", "Whole picture, empty", value=0.0)
    part = g.add("SolidMask", "Left part", value=1.0, width=288)
    soft = g.add("FeatherMask", mask=part, right=64)
    left = g.add("MaskComposite", "Left", destination=whole, source=soft, operation="add")
    right = g.add("InvertMask", "Right", mask=left)
    g.add("MaskPreview", mask=left)
    return left, right


def any_length_by_words(g: Graph, model: Node, frames: Node, text: Any, **inputs: Any) -> Node:
    """Stylize Video by the built-in model and words."""
    g.stage("2 · Conditions · 条件")
    words = g.add("StyleAVideoTextCondition", clip=model["CLIP"], text=text)
    return any_length_guided(g, model, frames, words, **inputs)


def any_length_guided(g: Graph, model: Node, frames: Node, prompt: Node, **inputs: Any) -> Node:
    """Stylize Video by the built-in model; its other conditions are made of one frame."""
    null = null_condition(g, model["CLIP"])
    frame = g.add(
        "StyleAVideoFrameCondition", conditioning=null, vae=model["VAE"], frames=frames["frames"]
    )
    g.stage("3 · Guide · 引导")
    guider = g.add(
        "StyleAVideoPresetGuider",
        model=model["MODEL"],
        prompt=prompt,
        negative=null,
        frame=frame["CONDITIONING"],
    )
    noise = g.add("StyleAVideoFrameNoise")
    sampler = g.add("KSamplerSelect", sampler_name="euler")
    sigmas = g.add("BasicScheduler", model=model["MODEL"], scheduler="simple", steps=1)
    g.stage("4 · Stylize, save · 风格化、保存")
    return g.add(
        "StyleAVideoStylizeVideo",
        video=frames["video"],
        guider=guider["GUIDER"],
        noise=noise,
        sampler=sampler,
        sigmas=sigmas,
        vae=model["VAE"],
        **inputs,
    )


def stylize_video(g: Graph, frames: Node, engine: Node) -> None:
    video = g.add("StyleAVideoStylizeVideo", video=frames["video"], engine=engine)
    g.add("SaveVideo", video=video, filename_prefix=f"style_a_video/{g.name}")


def compare(g: Graph, frames: Node, images: Any, **inputs: Any) -> None:
    given = {"wide": 480, "source": frames["frames"], "stylized": images} | inputs
    g.add("StyleAVideoCompare", **given)


# The graphs


def style_a_video_by_words(g: Graph) -> None:
    g.stage("1 · Load · 载入")
    model = g.add("StyleAVideoLoadBuiltIn")
    frames = load_clip(g)
    # Few columns: ComfyUI writes no text on the nodes of a graph much wider than the screen.
    g.stage("2 · Stylize and compare · 风格化与对比")
    stylized = g.add(
        "StyleAVideoStylize",
        wide=400,
        model=model["MODEL"],
        clip=model["CLIP"],
        vae=model["VAE"],
        frames=frames["frames"],
        frame_info=frames["frame_info"],
        prompt="watercolour",
    )
    compare(g, frames, stylized, wide=400)
    g.stage("3 · Save · 保存")
    save(g, stylized, frames)


def the_paper_block_by_block(g: Graph) -> None:
    g.stage("1 · Load · 载入")
    built_in = g.add("StyleAVideoLoadBuiltIn")
    frames = load_clip(g, 16, resize__max_side=384)
    model, vae = built_in["MODEL"], built_in["VAE"]
    g.stage("2 · Conditions · 条件")
    text = g.add(
        "StyleAVideoTextCondition",
        "Text Condition c_T",
        clip=built_in["CLIP"],
        text="Munch",
    )
    null = null_condition(g, built_in["CLIP"])
    frame = g.add(
        "StyleAVideoFrameCondition",
        "Frame Condition c_I",
        conditioning=null,
        vae=vae,
        frames=frames["frames"],
    )
    g.column()
    attention = g.add("StyleAVideoAttentionMap", model=model, frame=frame["CONDITIONING"])
    kept = g.add(
        "StyleAVideoAttentionCondition",
        "Attention Condition c_M",
        frame=frame["CONDITIONING"],
        mask=attention["mask"],
    )
    g.stage("3 · Guidance, correction · 引导、修正")
    corrected = g.add(
        "StyleAVideoClipCorrection",
        model=model,
        clip_vision=built_in["CLIP_VISION"],
        vae=vae,
        frames=frames["frames"],
        decoder="full",
    )
    guider = g.add(
        "StyleAVideoPresetGuider",
        model=corrected,
        prompt=text,
        negative=null,
        frame=frame["CONDITIONING"],
        attention=kept,
        preset="paper",
        frame_scale=2.0,
        text_scale=2.0,
        attention_scale=0.3,
    )
    g.add("PreviewAny", "Weights of the conditions", source=guider["weights"])
    g.stage("4 · Sample · 采样")
    start = g.add("VAEEncode", "Frames to start from", pixels=frames["frames"], vae=vae)
    latents = sample(g, corrected, guider, frames, start, steps=10, denoise=0.5)
    g.stage("5 · Save · 保存")
    images = g.add("VAEDecode", samples=latents, vae=vae)
    save(g, images, frames)


def stable_diffusion_with_controlnet(g: Graph) -> None:
    g.stage("1 · Load · 载入")
    checkpoint = g.add("CheckpointLoaderSimple", ckpt_name="v1-5-pruned-emaonly-fp16.safetensors")
    net = g.add("ControlNetLoader", control_net_name="control_v11p_sd15_canny_fp16.safetensors")
    frames = load_clip(g, 16)
    clip, vae = checkpoint["CLIP"], checkpoint["VAE"]
    g.stage("2 · Conditions · 条件")
    style = g.add("CLIPTextEncode", "Style · 风格", clip=clip, text="ukiyo-e woodblock print")
    mood = g.add(
        "CLIPTextEncode", "Second style · 第二种风格", clip=clip, text="warm evening light"
    )
    negative = g.add("CLIPTextEncode", "Negative · 负面提示词", clip=clip, text="photo, blurry")
    g.column()
    edges = g.add("Canny", "Contours of every frame", image=frames["frames"])
    held = g.add(
        "ControlNetApplyAdvanced",
        positive=style,
        negative=negative,
        control_net=net,
        image=edges,
        vae=vae,
    )
    also = g.add(
        "ControlNetApplyAdvanced",
        "Apply ControlNet to the second",
        positive=mood,
        negative=negative,
        control_net=net,
        image=edges,
        vae=vae,
    )
    g.stage("3 · Guidance · 引导")
    first = g.add("StyleAVideoWeightedCondition", conditioning=held["positive"], weight=6.0)
    second = g.add(
        "StyleAVideoWeightedCondition",
        "Weighted Condition, growing",
        conditioning=also["positive"],
        weight=2.0,
        schedule={"points": [[0.0, 0.0], [1.0, 1.0]], "interpolation": "linear"},
    )
    g.column()
    guider = g.add(
        "StyleAVideoMultiConditionGuider",
        model=checkpoint["MODEL"],
        base=held["negative"],
        conditions__condition_0=first,
        conditions__condition_1=second,
    )
    g.add("PreviewAny", "Weights of the conditions", source=guider["weights"])
    latent = g.add("VAEEncode", pixels=frames["frames"], vae=vae)
    g.stage("4 · Sample · 采样")
    model = checkpoint["MODEL"]
    latents = sample(g, model, guider, frames, latent, steps=20, denoise=0.75)
    g.stage("5 · Save · 保存")
    images = g.add("VAEDecode", samples=latents, vae=vae)
    save(g, images, frames)
    g.stage("6 · Compare · 对比")
    compare(g, frames, images)


def stylize_a_film_with_bernini(g: Graph) -> None:
    g.wide = 270  # four columns that show their words
    g.stage("1 · Load · 载入")
    pair = [
        g.add("UNETLoader", name, unet_name=f"wan2.2_bernini_r_{file}_noise_fp8_scaled.safetensors")
        for name, file in (("High noise", "high"), ("Low noise", "low"))
    ]
    clip = g.add("CLIPLoader", clip_name="umt5_xxl_fp8_e4m3fn_scaled.safetensors", type="wan")
    vae = g.add("VAELoader", vae_name="Wan2_1_VAE_bf16.safetensors")
    frames = load_clip(g, 5, resize__max_side=832)
    g.stage("2 · Words and video · 文字与视频")
    style = g.add("CLIPTextEncode", "Style · 风格", wide=340, clip=clip, text=f"{TASK}{OIL}")
    negative = g.add("CLIPTextEncode", "Negative · 负面提示词", wide=340, clip=clip, text=UNWANTED)
    told = g.add(
        "BerniniConditioning",
        positive=style,
        negative=negative,
        vae=vae,
        source_video=frames["frames"],
        length=5,
    )
    shifted = [
        g.add("ModelSamplingSD3", f"Shift, {name}", model=model, shift=5.0)
        for name, model in zip(("high noise", "low noise"), pair, strict=True)
    ]
    noise = g.add("RandomNoise")
    sampler = g.add("KSamplerSelect", sampler_name="res_multistep")
    sigmas = g.add("BasicScheduler", model=shifted[0], scheduler="simple", steps=40)
    g.stage("3 · Guide · 引导")
    high, low = (
        g.add(
            "StyleAVideoPresetGuider",
            f"Style Guider, {name}",
            model=model,
            prompt=told["positive"],
            negative=told["negative"],
            preset="Bernini v2v",
            frame_scale=1.25,
            text_scale=text_scale,
            eta=0.5,
            norm_threshold=50.0,
        )
        for name, model, text_scale in zip(
            ("high noise", "low noise"), shifted, (4.0, 3.2), strict=True
        )
    )
    g.stage("4 · Stylize, save · 风格化、保存")
    both = g.add("StyleAVideoTwoModelGuider", high_noise=high["GUIDER"], low_noise=low["GUIDER"])
    video = g.add(
        "StyleAVideoStylizeVideo",
        video=frames["video"],
        guider=both,
        noise=noise,
        sampler=sampler,
        sigmas=sigmas,
        vae=vae,
        max_side=832,
    )
    g.add("SaveVideo", video=video, filename_prefix=f"style_a_video/{g.name}")
    g.add("PreviewAny", "Report", source=video["report"])


def two_styles_in_two_regions(g: Graph) -> None:
    g.stage("1 · Load · 载入")
    model = g.add("StyleAVideoLoadBuiltIn")
    frames = load_clip(g)
    g.stage("2 · Regions · 区域")
    left, right = halves(g)
    g.stage("3 · Conditions · 条件")
    texts = {
        "left": g.add(
            "StyleAVideoTextCondition",
            "Left style · 左边的风格",
            clip=model["CLIP"],
            text="pencil sketch",
        ),
        "right": g.add(
            "StyleAVideoTextCondition",
            "Right style · 右边的风格",
            clip=model["CLIP"],
            text="Van Gogh",
        ),
        "base": null_condition(g, model["CLIP"]),
    }
    g.column()
    seen = {
        key: g.add(
            "StyleAVideoFrameCondition",
            f"Frame with {text.title}",
            conditioning=text,
            vae=model["VAE"],
            frames=frames["frames"],
        )
        for key, text in texts.items()
    }
    g.stage("4 · Guidance · 引导")
    weighted = [
        g.add("StyleAVideoWeightedCondition", name, conditioning=seen[key], mask=mask)
        for name, key, mask in (("Left", "left", left), ("Right", "right", right))
    ]
    g.column()
    guider = g.add(
        "StyleAVideoMultiConditionGuider",
        model=model["MODEL"],
        base=seen["base"],
        conditions__condition_0=weighted[0],
        conditions__condition_1=weighted[1],
    )
    latents = sample(g, model["MODEL"], guider, frames, seen["base"]["empty latent"], steps=1)
    g.stage("5 · Save · 保存")
    images = g.add("VAEDecode", samples=latents, vae=model["VAE"])
    save(g, images, frames)
    g.stage("6 · Compare · 对比")
    compare(g, frames, images)


def words_that_change_over_time(g: Graph) -> None:
    g.stage("1 · Load · 载入")
    model = g.add("StyleAVideoLoadBuiltIn")
    frames = load_clip(g)
    g.stage("2 · Conditions · 条件")
    text = g.add(
        "StyleAVideoTextCondition",
        "Prompts by frame · 按帧的提示词",
        wide=400,
        clip=model["CLIP"],
        frame_info=frames["frame_info"],
        text='0: "pencil sketch",\n12: "watercolour",\n24: "oil painting"',
    )
    null = null_condition(g, model["CLIP"])
    frame = g.add(
        "StyleAVideoFrameCondition", conditioning=null, vae=model["VAE"], frames=frames["frames"]
    )
    g.stage("3 · Guide and sample · 引导与采样")
    guider = g.add(
        "StyleAVideoPresetGuider",
        model=model["MODEL"],
        prompt=text,
        negative=null,
        frame=frame["CONDITIONING"],
    )
    g.column()
    latents = sample(g, model["MODEL"], guider, frames, frame["empty latent"], steps=1)
    g.stage("4 · Save · 保存")
    images = g.add("VAEDecode", samples=latents, vae=model["VAE"])
    save(g, images, frames)
    g.stage("5 · Compare · 对比")
    compare(g, frames, images)


def see_where_the_model_looks(g: Graph) -> None:
    g.stage("1 · Load · 载入")
    model = g.add("StyleAVideoLoadBuiltIn")
    frames = load_clip(g, 16, every_nth=9)
    g.stage("2 · Frame condition · 帧条件")
    null = null_condition(g, model["CLIP"])
    frame = g.add(
        "StyleAVideoFrameCondition", conditioning=null, vae=model["VAE"], frames=frames["frames"]
    )
    looks = (
        ("Middle", {"layer": "middle", "level": 0.3}),
        ("Later layer", {"layer": "output 0", "level": 0.3}),
        ("Noisier", {"layer": "middle", "level": 0.7}),
    )
    g.stage("3 · Look, overlay, preview · 查看、叠加、预览")
    for number, (name, settings) in enumerate(looks):
        if number:
            g.column()
        attention = g.add(
            "StyleAVideoAttentionMap",
            f"{name}: mask",
            wide=400,
            model=model["MODEL"],
            frame=frame["CONDITIONING"],
            **settings,
        )
        shown = g.add(
            "StyleAVideoAttentionOverlay",
            f"{name}: overlay",
            wide=400,
            frames=frames["frames"],
            attention=attention["attention"],
        )
        g.add("PreviewImage", f"{name}: heat map", wide=400, images=shown)


def clip_correction_off_and_on(g: Graph) -> None:
    g.stage("1 · Load · 载入")
    model = g.add("StyleAVideoLoadBuiltIn")
    frames = load_clip(g, 8, every_nth=6, resize__max_side=256)
    g.stage("2 · Conditions · 条件")
    text = g.add("StyleAVideoTextCondition", clip=model["CLIP"], text="Kandinsky")
    null = null_condition(g, model["CLIP"])
    frame = g.add(
        "StyleAVideoFrameCondition", conditioning=null, vae=model["VAE"], frames=frames["frames"]
    )
    corrected = g.add(
        "StyleAVideoClipCorrection",
        model=model["MODEL"],
        clip_vision=model["CLIP_VISION"],
        vae=model["VAE"],
        frames=frames["frames"],
        strength=0.5,
        decoder="full",
    )
    images = []
    for number, (name, base) in enumerate((("off", model["MODEL"]), ("on", corrected)), 3):
        g.stage(f"{number} · Correction {name} · 修正{'关' if name == 'off' else '开'}")
        guider = g.add(
            "StyleAVideoPresetGuider",
            model=base,
            prompt=text,
            negative=null,
            frame=frame["CONDITIONING"],
            text_scale=1.5,
        )
        g.column()
        latents = sample(g, base, guider, frames, frame["empty latent"], steps=4)
        images.append(g.add("VAEDecode", samples=latents, vae=model["VAE"]))
    g.stage("5 · Save · 保存")
    save(g, images[1], frames)
    g.stage("6 · Compare · 对比")
    compare(g, frames, images[0], others__other_0=images[1])


def less_flicker_and_how_much_less(g: Graph) -> None:
    g.wide = 270  # beside a table of 80 letters, no wider than the text allows
    g.stage("1 · Load · 载入")
    model = g.add("StyleAVideoLoadBuiltIn")
    frames = load_clip(g)
    g.stage("2 · Stylize, refine · 风格化、稳定")
    stylized = g.add(
        "StyleAVideoStylize",
        model=model["MODEL"],
        clip=model["CLIP"],
        vae=model["VAE"],
        frames=frames["frames"],
        frame_info=frames["frame_info"],
        prompt="pencil sketch",
    )
    refined = g.add("StyleAVideoTemporalRefiner", source=frames["frames"], stylized=stylized)
    g.stage("3 · Measure, save, compare · 测量、保存、对比")
    report = g.add(
        "StyleAVideoConsistencyReport",
        "Source, frame by frame (1), refined (2)",
        wide=520,
        source=frames["frames"],
        results__result_0=stylized,
        results__result_1=refined,
        clip_vision=model["CLIP_VISION"],
        fps=frames["fps"],
    )
    g.add("PreviewAny", "Table", wide=520, taller=130, source=report["table"])
    g.column()
    save(g, refined, frames)
    compare(g, frames, stylized, wide=g.wide, others__other_0=refined)


def style_a_long_video_by_words(g: Graph) -> None:
    g.wide = 270  # four columns that show their words
    g.stage("1 · Load · 载入")
    model = g.add("StyleAVideoLoadBuiltIn")
    frames = load_clip(g, 0, first_frame_only=True)
    stylized = any_length_by_words(g, model, frames, "oil painting")
    g.add("SaveVideo", video=stylized, filename_prefix=f"style_a_video/{g.name}")
    g.add("PreviewAny", "Report", source=stylized["report"])


def words_and_a_picture_together(g: Graph) -> None:
    g.wide = 270  # columns that show their words
    g.stage("1 · Load · 载入")
    model = g.add("StyleAVideoLoadBuiltIn")
    frames = load_clip(g, 0, first_frame_only=True)
    picture = g.add("StyleAVideoStylePicture", painting="The Scream, Munch")
    g.stage("2 · Conditions · 条件")
    words = g.add("StyleAVideoTextCondition", clip=model["CLIP"], text="pencil sketch")
    both = g.add(
        "StyleAVideoPictureCondition", clip=model["CLIP"], style=picture["STYLE"], words=words
    )
    stylized = any_length_guided(g, model, frames, both)
    g.add("SaveVideo", video=stylized, filename_prefix=f"style_a_video/{g.name}")


def by_picture(g: Graph, painting: str, **engine: Any) -> None:
    g.stage("1 · Load · 载入")
    frames = load_clip(g, 0, first_frame_only=True)
    g.stage("2 · Picture and engine · 图片与引擎")
    picture = g.add("StyleAVideoStylePicture", painting=painting)
    loaded = g.add("StyleAVideoLoadEngine", style=picture["STYLE"], **engine)
    g.stage("3 · Stylize, save · 风格化、保存")
    stylize_video(g, frames, loaded)


def style_a_video_by_a_picture(g: Graph) -> None:
    by_picture(g, "The Great Wave, Hokusai")


def take_the_colours_of_a_picture(g: Graph) -> None:
    by_picture(g, "Starry Night, Van Gogh", engine="sctnet", engine__mode="photo")


def fade_from_one_style_to_another(g: Graph) -> None:
    g.stage("1 · Load · 载入")
    frames = load_clip(g, 0, first_frame_only=True)
    g.stage("2 · Two styles · 两种风格")
    first = g.add("StyleAVideoLearnedStyle", "At the beginning · 开头", name="scream")
    last = g.add(
        "StyleAVideoLearnedStyle", "At the end · 结尾", name="great_wave", previous=first["STYLE"]
    )
    engine = g.add(
        "StyleAVideoLoadEngine", style=last["STYLE"], engine="stylebank", engine__fade_frames=36
    )
    g.stage("3 · Stylize, save · 风格化、保存")
    stylize_video(g, frames, engine)


def learn_a_style_of_your_own(g: Graph) -> None:
    g.stage("1 · Load · 载入")
    frames = load_clip(g, 0, first_frame_only=True)
    g.stage("2 · A picture of your own · 自己的图片")
    picture = g.add("StyleAVideoStylePicture", painting="Shipwreck, Turner")
    g.stage("3 · Learn · 学习")
    learned = g.add("StyleAVideoLearnStyle", image=picture["IMAGE"], name="my_style")
    engine = g.add("StyleAVideoLoadEngine", style=learned["STYLE"], engine="stylebank")
    g.stage("4 · Stylize, save · 风格化、保存")
    stylize_video(g, frames, engine)


def two_pictures_swap_their_looks(g: Graph) -> None:
    g.stage("1 · Two pictures · 两张图片")
    photo = g.add("StyleAVideoStylePicture", "A: a photo · 照片", painting="Orange Hallway, photo")
    painting = g.add("StyleAVideoStylePicture", "B: a painting · 画", painting="The Scream, Munch")
    g.stage("2 · Each in the other's look · 各自换成对方的样子")
    found = g.add(
        "StyleAVideoDeepImageAnalogy",
        taller=90,  # for its text
        image_a=photo["IMAGE"],
        image_b=painting["IMAGE"],
        reconstruct="lbfgs",
    )
    g.add("MaskPreview", "Confidence · 置信度", mask=found["confidence"])
    g.column()
    g.add("PreviewImage", "A like B · A 像 B", images=found["A like B"])
    g.add("PreviewImage", "B like A · B 像 A", images=found["B like A"])
    g.add("PreviewImage", "Field · 对应场", images=found["field"])


def two_pictures_in_two_regions(g: Graph) -> None:
    g.wide = 270  # columns that show their words
    g.stage("1 · Load · 载入")
    frames = load_clip(g, 0, first_frame_only=True)
    g.stage("2 · Regions · 区域")
    masks = halves(g)
    g.stage("3 · Pictures, engine · 图片、引擎")
    style = None
    for name, painting, mask in zip(
        ("Left picture · 左边的图片", "Right picture · 右边的图片"),
        ("Starry Night, Van Gogh", "The Scream, Munch"),
        masks,
        strict=True,
    ):
        before = {} if style is None else {"previous": style["STYLE"]}
        style = g.add("StyleAVideoStylePicture", name, painting=painting, mask=mask, **before)
    engine = g.add("StyleAVideoLoadEngine", style=style)
    g.stage("4 · Stylize, save · 风格化、保存")
    stylize_video(g, frames, engine)


GRAPHS: dict[str, Callable[[Graph], None]] = {
    "Style a video by words": style_a_video_by_words,
    "Style a video by a picture": style_a_video_by_a_picture,
    "Words and a picture together": words_and_a_picture_together,
    "Style a long video by words": style_a_long_video_by_words,
    "Take the colours of a picture": take_the_colours_of_a_picture,
    "Two styles in two regions": two_styles_in_two_regions,
    "Two pictures in two regions": two_pictures_in_two_regions,
    "Words that change over time": words_that_change_over_time,
    "Fade from one style to another": fade_from_one_style_to_another,
    "Learn a style of your own": learn_a_style_of_your_own,
    "Two pictures swap their looks": two_pictures_swap_their_looks,
    "Less flicker, and how much less": less_flicker_and_how_much_less,
    "CLIP correction off and on": clip_correction_off_and_on,
    "See where the model looks": see_where_the_model_looks,
    "The paper, block by block": the_paper_block_by_block,
    "Stable Diffusion with ControlNet": stable_diffusion_with_controlnet,
    "Stylize a film with Bernini": stylize_a_film_with_bernini,
}
"""Title → graph; the function's name is the one for scripts."""


def build(definitions: dict[str, Any]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Title → UI form and API form, for the nodes of GET /object_info."""
    built = {}
    for title, describe in GRAPHS.items():
        graph = Graph(describe.__name__, definitions)
        describe(graph)
        built[title] = (graph.ui(), graph.api())
    return built


def definitions_of(server: str) -> dict[str, Any]:
    """The nodes of a running ComfyUI."""
    try:
        with urllib.request.urlopen(f"{server}/object_info", timeout=60) as answer:
            return of_any_version(json.load(answer))
    except OSError as error:
        sys.exit(f"There is no ComfyUI at {server} ({error}): start it first.")


def of_any_version(definitions: dict[str, Any]) -> dict[str, Any]:
    """Nodes as ComfyUI declared them before 0.33, which later ones still take: Save Video's codec
    beside its format, not in it; no output of Mask Preview.
    """
    save, preview = definitions["SaveVideo"], definitions["MaskPreview"]
    required, optional = save["input"]["required"], save["input"].get("optional", {})
    if "codec" in optional:
        for name, spec in (("format", required["format"]), ("codec", optional["codec"])):
            keys = [choice["key"] for choice in spec[1]["options"]]
            required[name] = ["COMBO", {"default": keys[0], "options": keys}]
        save["input"] = {"required": required}
        save["input_order"] = {"required": list(required)}
    preview["output"] = preview["output_name"] = []
    return definitions


def write(path: Path, form: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(form, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(path.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="http://127.0.0.1:8188", metavar="URL")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="FOLDER")
    arguments = parser.parse_args()
    for title, (ui, api) in build(definitions_of(arguments.server)).items():
        write(arguments.out / f"{title}.json", ui)
        write(arguments.out / "api" / f"{GRAPHS[title].__name__}.api.json", api)


if __name__ == "__main__":
    main()
