"""The pack inside a real ComfyUI: its schemas, its start, beside other copies, wrong prompts."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from server import ROOT, Server
from style_a_video.weights.paintings import PAINTINGS, PHOTOS

GOLDEN = Path(__file__).with_name("schemas.json")


def shown(info: dict) -> dict:
    """What saved workflows hold on to: ids, types, defaults, limits; not words, not file lists."""

    def plain(value):
        if isinstance(value, dict):
            words = ("tooltip", "display_name")
            return {k: plain(v) for k, v in value.items() if k not in words}
        return [plain(v) for v in value] if isinstance(value, list) else value

    inputs = plain(info["input"])
    for group in inputs.values():
        for name, (_, *options) in group.items():
            if name in ("file", "model") and options and "options" in options[0]:
                options[0]["options"] = []
            if name == "painting":  # and the pictures in the input folder
                options[0]["options"] = [one.name for one in (*PAINTINGS, *PHOTOS)]
            if name in ("sampler_name", "scheduler") and options:
                options[0]["options"] = []
    return {"input": inputs, "output": info["output"], "output_name": info["output_name"]}


def test_schemas_are_those_that_saved_workflows_know(server):
    """To change one on purpose: delete schemas.json, run this, and say why in the commit."""
    info = server.get("/object_info")
    ours = {name: shown(info[name]) for name in sorted(info) if name.startswith("StyleAVideo")}
    if not GOLDEN.exists():
        GOLDEN.write_text(json.dumps(ours, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        pytest.fail("schemas.json was missing and has been written: look at it and commit it.")
    assert ours == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_ids_carry_our_prefix_and_categories_our_name(server):
    info = server.get("/object_info")
    folder = [n for n in info.values() if n.get("python_module") == "custom_nodes.style-a-video"]
    assert len(folder) >= 16
    for node in folder:
        assert node["name"].startswith("StyleAVideo")
        assert node["category"].split("/")[0] == "Style-A-Video"
        assert node["description"]


def test_the_pack_starts_fast_and_loads_nothing_heavy(server, comfyui):
    log = server.log.read_text()
    seconds = float(re.search(r"([\d.]+) seconds: \S+style-a-video", log)[1])
    assert seconds <= 0.3
    assert "IMPORT FAILED" not in log
    code = (
        "import sys; sys.path.insert(0, '.'); sys.argv = ['x'];"
        "import comfy.options; from comfy.cli_args import args; args.cpu = True;"
        "import comfy.sd, latent_preview;"
        "before = set(sys.modules);"
        "import importlib.util as u;"
        f"s = u.spec_from_file_location('pack', {str(ROOT / '__init__.py')!r},"
        f" submodule_search_locations=[{str(ROOT)!r}]);"
        "m = u.module_from_spec(s); sys.modules['pack'] = m; s.loader.exec_module(m);"
        "import pack.nodes; new = {n.split('.')[0] for n in set(sys.modules) - before};"
        "heavy = new & {'diffusers', 'cv2', 'skimage', 'matplotlib', 'accelerate'};"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    assert subprocess.call([sys.executable, "-c", code], cwd=comfyui) == 0


def test_two_copies_under_awkward_names_beside_an_installed_one(comfyui, tmp_path):
    """A dash in the folder's name, a second copy, and ours importable as style_a_video besides."""
    (tmp_path / "custom_nodes").mkdir()
    (tmp_path / "custom_nodes" / "a_second-copy").symlink_to(ROOT)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "style_a_video").symlink_to(ROOT)
    (tmp_path / "custom_nodes" / "uses_it.py").write_text(
        f"import sys; sys.path.append({str(tmp_path / 'site')!r})\n"
        "import style_a_video.pipelines.core.guidance\nNODE_CLASS_MAPPINGS = {}\n"
    )
    running = Server(comfyui, tmp_path)
    try:
        assert "IMPORT FAILED" not in running.log.read_text()
        entry = running.run(
            {
                "a": {"class_type": "StyleAVideoLoadBuiltIn", "inputs": {}},
                "b": {
                    "class_type": "CLIPTextEncode",
                    "inputs": {"clip": ["a", 1], "text": "油画 oil"},
                },
                "c": {"class_type": "PreviewAny", "inputs": {"source": ["b", 0]}},
            }
        )
        assert entry["status"]["completed"]
    finally:
        running.stop()


def value_for(kind, options: dict, rng: random.Random, wrong: bool):
    """A value for a widget: at its limits, or past them."""
    if kind == "INT" or kind == "FLOAT":
        low, high = options.get("min", 0), options.get("max", 10)
        if wrong:
            return rng.choice([low - 1, high * 2 + 1, "many", None, float("1e400"), [1], {}])
        return rng.choice([low, high, options.get("default", low)])
    if kind == "BOOLEAN":
        return rng.choice([True, False])
    if kind == "STRING":
        texts = ["", "ink wash", '0: "oil", 2: "水墨"', '0: "a" b', "a" * 6000, "((("]
        return rng.choice([*texts, "middle"] if not wrong else [None, 3.5, ["x"], {}])
    if kind == "COMBO" or isinstance(kind, list):
        choices = kind if isinstance(kind, list) else options.get("options", [])
        return "../../etc/passwd" if wrong or not choices else rng.choice(choices)
    if kind == "CURVE":
        good = {"points": [[0, 1], [1, 0.2]], "interpolation": "linear"}
        return rng.choice([{"points": "x"}, 7, {"points": []}]) if wrong else good
    return None


STOCK = ["EmptyImage", "SolidMask", "CLIPTextEncode", "KSamplerSelect", "BasicScheduler",
         "SamplerCustomAdvanced", "VAEDecode", "EmptyLatentImage", "InvertMask"]  # fmt: skip


def sources(prompt: dict, info: dict, kind: str) -> list[list]:
    """Outputs of that type in the graph so far."""
    return [
        [i, slot]
        for i, node in prompt.items()
        for slot, given in enumerate(info[node["class_type"]]["output"])
        if given == kind
    ]


def random_inputs(prompt: dict, info: dict, wanted: dict, rng: random.Random) -> dict | None:
    """Values and links for these inputs; None where the graph has nothing to connect."""
    inputs: dict = {}
    for name, (kind, *rest) in wanted.items():
        options = rest[0] if rest else {}
        if kind == "COMFY_DYNAMICCOMBO_V3":
            option = rng.choice(options["options"])
            inputs[name] = option["key"] if rng.random() > 0.03 else "nothing"
            given = random_inputs(prompt, info, option["inputs"].get("required", {}), rng)
            inputs |= {f"{name}.{key}": value for key, value in (given or {}).items()}
        elif kind == "COMFY_AUTOGROW_V3":
            template = next(v for v in options["template"]["input"].values() if v)
            ((type_, *_),) = template.values()
            for k in range(rng.randint(0, 3)):
                if found := sources(prompt, info, type_):
                    inputs[f"{name}.{options['template']['prefix']}{k}"] = rng.choice(found)
        elif found := sources(prompt, info, kind):
            inputs[name] = rng.choice(found)
        elif isinstance(kind, list) or kind in WIDGETS:
            value = value_for(kind, options, rng, wrong=rng.random() < 0.02)
            if value is not None:
                inputs[name] = SMALL.get(name, value)
        elif rng.random() < 0.95:
            return None
    return inputs


WIDGETS = ("INT", "FLOAT", "BOOLEAN", "STRING", "COMBO", "CURVE")
SMALL = {"width": 64, "height": 64, "batch_size": 1, "steps": 1, "frame_count": 2}
SMALL |= {"max_side": 64, "area": 4096}  # as large as they may be, one frame takes minutes


def random_prompt(info: dict, rng: random.Random) -> dict:
    """A graph of our blocks and a few stock ones: types right, some values at or past limits."""
    long = {"StyleAVideoLoadEditModel", "StyleAVideoDeepImageAnalogy"}  # minutes on a CPU
    ours = [n for n in info if n.startswith("StyleAVideo") and n not in long]
    prompt: dict = {"0": {"class_type": "StyleAVideoLoadBuiltIn", "inputs": {}}}
    for frames in rng.sample([1, 2, 2], 2):
        size = {"width": 64, "height": 64, "batch_size": frames, "color": 0xC08040}
        prompt[str(len(prompt))] = {"class_type": "EmptyImage", "inputs": size}
    while len(prompt) < 18:
        kind = rng.choice(ours + STOCK)
        wanted = dict(info[kind]["input"].get("required", {}))
        extra = info[kind]["input"].get("optional", {})
        wanted |= {k: v for k, v in extra.items() if rng.random() < 0.5}
        inputs = random_inputs(prompt, info, wanted, rng)
        if inputs is not None:
            prompt[str(len(prompt))] = {"class_type": kind, "inputs": inputs}
    shown = [i for i, n in prompt.items() if info[n["class_type"]]["output"]][-4:]
    for i in shown:
        show = {"class_type": "PreviewAny", "inputs": {"source": [i, 0]}}
        prompt[f"show {i}"] = show
    return prompt


def test_200_random_prompts_leave_the_server_answering(server):
    """Each is run, or refused or ended with a reason that is not a traceback of ours."""
    info, rng, reasons, done = server.get("/object_info"), random.Random(5), [], 0
    for _ in range(200):
        try:
            server.run(random_prompt(info, rng), 120)
            done += 1
        except RuntimeError as error:
            reasons.append(str(error))
            assert "took more than" not in str(error)
    assert server.get("/system_stats")
    assert done > 10 and len(reasons) > 20
    assert all(len(reason) > 20 for reason in reasons)
    ours = r"(StyleAVideo\w+|SamplerCustomAdvanced): "
    unclear = [r for r in reasons if re.match(ours, r) and _is_accident(r)]
    assert not unclear, "\n".join(sorted(set(unclear)))


def _is_accident(reason: str) -> bool:
    """An error that Python raised, not one that we worded."""
    return bool(
        re.search(
            r"object has no attribute|not subscriptable|missing \d+ required|unsupported operand|"
            r"must match the size|index .* out of|list index|KeyError|shape '|NoneType|"
            r"unexpected keyword|not iterable|expected .* but got|size mismatch|einops|"
            r"Inference tensors|differentiated Tensors",
            reason,
        )
    )
