"""Hostile files by a seed: videos and pictures, models, jobs and shots files.

`case(kind, seed, folder)` makes one in an empty folder and returns the command to try. What is
damaged is a small whole thing, made once a process (`Whole`); how, the seed decides.
"""

import copy
import json
import os
import random
import shutil
from pathlib import Path

KINDS = ("video", "model", "job", "shots")
SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts", ".gif", ".webp", ".flv", ".mpg")
VALUES = (
    *(None, True, False, 0, 1, -1, 2, 3.5, 1e30, -1e-30, 10**9, 10**30, float("nan"), float("inf")),
    *("", "x", "None", "../x", "/dev/zero", "\ud800", "a\0b", "9" * 500, [], [[]], {}, {"a": 1}),
    *([1] * 1000, [10**9] * 4, ["x"], [None], {"quant_method": "bitsandbytes"}),
)
NAMES = (
    *("quantization_config", "attn_implementation", "auto_map", "torch_dtype", "_class_name"),
    *("num_train_timesteps", "layers_per_block", "num_hidden_layers", "model_max_length"),
)


class Whole:
    """Small whole files to damage. Nothing here may be slow: it is made for every run."""

    def __init__(self, folder, clips, odd):
        self.folder = Path(folder)
        self.videos = [self._video(odd, suffix) for suffix in SUFFIXES]
        self.source = clips.encode(self.folder / "source.mp4", clips.pan(0, 6, 2, 64, 48))
        self.model = self._model()
        self.job = self._job()

    def _video(self, odd, suffix):
        codec, pixels = {
            ".gif": ("gif", "rgb8"),
            ".webm": ("libvpx-vp9", "yuv420p"),
            ".webp": ("libwebp_anim", "bgra"),
            ".avi": ("mjpeg", "yuvj420p"),
            ".ts": ("mpeg2video", "yuv420p"),
            ".mpg": ("mpeg2video", "yuv420p"),
            ".flv": ("flv1", "yuv420p"),
        }.get(suffix, ("libx264", "yuv420p"))
        return odd.make(self.folder / f"v{suffix}", frames=6, rate=25, codec=codec, pix_fmt=pixels)

    def _model(self):
        import torch
        from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
        from style_a_video.pipelines.style_a_video import StyleAVideoPipeline
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

        torch.manual_seed(0)
        words = {w: i for i, w in enumerate(("<|startoftext|>", "<|endoftext|>", "a", "a</w>"))}
        (self.folder / "vocab.json").write_text(json.dumps(words))
        (self.folder / "merges.txt").write_text("#version: 0.2\n")
        tokenizer = CLIPTokenizer(
            str(self.folder / "vocab.json"), str(self.folder / "merges.txt"), model_max_length=77
        )
        text = CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            projection_dim=8,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
        unet = UNet2DConditionModel(
            in_channels=8,
            out_channels=4,
            block_out_channels=(8,),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D",),
            up_block_types=("CrossAttnUpBlock2D",),
            norm_num_groups=2,
            attention_head_dim=2,
            cross_attention_dim=8,
        )
        vae = AutoencoderTiny(
            encoder_block_out_channels=(4, 4),
            decoder_block_out_channels=(4, 4),
            num_encoder_blocks=(0, 1),
            num_decoder_blocks=(1, 1),
            latent_channels=4,
        )
        pipeline = StyleAVideoPipeline(
            vae, CLIPTextModel(text), tokenizer, unet, DDIMScheduler(), defaults={}
        )
        pipeline.save_pretrained(self.folder / "model")
        return self.folder / "model"

    def _job(self):
        """One that was interrupted, of the command that `case` gives."""
        from style_a_video.pipelines.run.stylize import Kept, stylize_video

        def stopped(images, indices):
            if indices[0]:
                raise KeyboardInterrupt
            return images

        job = self.folder / "job"
        try:
            stylize_video(self.source, self.folder / "o.mkv", stopped, job=Kept(job), chunk_size=2)
        except KeyboardInterrupt:
            pass
        return job


def case(whole, kind, seed, folder):
    """Command lines (without the program's name) to be run in `folder`, and whether the job of a
    library call is to be gone on with: {"argv": [...]} or {"job": True}.
    """
    draw = random.Random(f"{kind} {seed}")
    return {"video": _video, "model": _model_case, "job": _job_case, "shots": _shots}[kind](
        draw, whole, Path(folder)
    )


# bytes


def damaged(draw, data):
    """A few of: bits turned, numbers written over, cut, doubled, parts moved, zeros."""
    data = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 5, 50))):
        at = (
            draw.randrange(len(data))
            if draw.random() < 0.5
            else draw.randrange(min(600, len(data)))
        )
        how = draw.randrange(7)
        if how == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif how == 1:
            size = draw.choice((1, 2, 4, 8))
            value = draw.choice((0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 62))
            order = draw.choice(("big", "little"))
            data[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, order)
        elif how == 2 and len(data) > 64:
            del data[draw.randrange(32, len(data)) :]
        elif how == 3:
            data[at:at] = data[at : at + draw.randrange(1, 400)]
        elif how == 4:
            del data[at : at + draw.randrange(1, 64)]
        elif how == 5:
            data[at : at + 32] = bytes(draw.randrange(256) for _ in range(32))
        else:
            data[at : at + draw.randrange(1, 64)] = b""
        if not data:
            data = bytearray(b"\0")
    return bytes(data)


def odd_file(draw, path):
    """Something in a file's place that is none."""
    how = draw.randrange(6)
    if path.is_symlink() or path.exists():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if how == 0:
        os.mkfifo(path)
    elif how == 1:
        path.symlink_to("/dev/zero")
    elif how == 2:
        path.symlink_to(path.name)
    elif how == 3:
        path.mkdir()
    elif how == 4:
        with path.open("wb") as file:
            file.truncate(20 << 30)
    else:
        path.write_bytes(b"")


def _video(draw, whole, folder):
    original = draw.choice(whole.videos)
    suffix = original.suffix if draw.random() < 0.8 else draw.choice(SUFFIXES)
    path = folder / f"a{suffix}"
    roll = draw.random()
    if roll < 0.05:
        odd_file(draw, path)
    elif roll < 0.15:
        path.write_text(playlist(draw, path.name))
    else:
        path.write_bytes(damaged(draw, original.read_bytes()))
    more = ["--partial"] if draw.random() < 0.4 else []
    if draw.random() < 0.7:
        return {"argv": ["shots", path.name, *more]}
    if draw.random() < 0.5:
        return {"argv": ["refine", path.name, path.name, f"o{draw.choice(SUFFIXES[:4])}", *more]}
    return {"argv": ["report", path.name, path.name, "--clip", "none", "--json", "o.json", *more]}


def playlist(draw, name):
    other = draw.choice((name, "/dev/zero", "/etc/passwd", "http://127.0.0.1:9/a", "none.ts", "%d"))
    return draw.choice(
        (
            f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n",
            f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{other}\n",
            f"ffconcat version 1.0\nfile {other}\n",
            f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns={other}\nm=video 5004 RTP/AVP 96\n",
            f'<?xml version="1.0"?><MPD type="dynamic"><BaseURL>{other}</BaseURL></MPD>',
            f"WEBVTT\n\n00:00.000 --> 00:01.000\n{other}\n",
        )
    )


# JSON


def any_value(draw):
    return copy.deepcopy(draw.choice(VALUES))  # cases must not change each other's


def changed(draw, value):
    """The same JSON with some of its values others."""
    for _ in range(draw.choice((1, 1, 2, 4))):
        at, way = value, []
        while isinstance(at, dict | list) and at and (not way or draw.random() < 0.8):
            key = draw.choice(list(at)) if isinstance(at, dict) else draw.randrange(len(at))
            way.append((at, key))
            at = at[key]
        if not way:
            return any_value(draw)
        inside, key = way[-1]
        how = draw.random()
        if how < 0.2:
            del inside[key]
        elif how < 0.3 and isinstance(inside, dict):
            inside[draw.choice(NAMES)] = any_value(draw)
        elif how < 0.4 and isinstance(at, int):
            inside[key] = at * draw.choice((2, 1000, -1)) + draw.choice((0, 1))
        else:
            inside[key] = any_value(draw)
    return value


def change_json(draw, path):
    roll = draw.random()
    if roll < 0.15:
        path.write_bytes(damaged(draw, path.read_bytes()))
        return
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError):  # what an earlier damage left
        value = {}
    text = json.dumps(changed(draw, value))
    if roll < 0.2:
        text = draw.choice(("[" * 100_000, '{"a": ' * 50_000, "9" * 10_000, text + "}"))
    path.write_text(text, encoding="utf-8", errors="surrogatepass")


# what holds several files


def small_files(folder):
    """Without what `odd_file` put there."""
    found = (p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    return sorted(p for p in found if p.stat().st_size < 1 << 24)


def _model_case(draw, whole, folder):
    model = folder / "model"
    shutil.copytree(whole.model, model)
    for _ in range(draw.choice((1, 1, 2))):
        files = small_files(model)
        path = draw.choice(files)
        roll = draw.random()
        if roll < 0.08:
            odd_file(draw, path)
        elif roll < 0.12:
            (path.parent / draw.choice(("None.py", "pipeline.py", f"{path.stem}.py"))).write_text(
                "import os; os._exit(77)"
            )
        elif path.suffix == ".json":
            change_json(draw, path)
        else:
            path.write_bytes(damaged(draw, path.read_bytes()))
    name = "model"
    if draw.random() < 0.15:  # one of its files alone
        name = str(draw.choice(sorted(model.rglob("*.safetensors"))).relative_to(folder))
    argv = ["stylize", str(whole.source), "o.mkv", "--prompt", "a", "--model", name, "--steps", "1"]
    return {"argv": [*argv, "--no-refine", "--frames", "1", "--dtype", "fp32"]}


def _job_case(draw, whole, folder):
    from hashlib import sha256

    job = folder / "job"
    shutil.copytree(whole.job, job)
    for _ in range(draw.choice((1, 1, 3))):
        files = small_files(job)
        path = draw.choice(files)
        roll = draw.random()
        if roll < 0.1:
            odd_file(draw, path)
        elif path.suffix == ".json":
            change_json(draw, path)
        elif path.stat().st_size:
            data = damaged(draw, path.read_bytes())
            path.write_bytes(data)
            listed = path.with_suffix(".json")
            if roll < 0.7 and path.suffix in (".mkv", ".past") and listed.is_file():
                held = json.loads(listed.read_text())  # whoever changes one can change the other
                if isinstance(held, dict) and isinstance(held.get("sha256"), dict):
                    held["sha256"][path.suffix[1:]] = sha256(data).hexdigest()
                    listed.write_text(json.dumps(held))
        else:
            path.write_bytes(os.urandom(8))
    return {"job": True}


def _shots(draw, whole, folder):
    path = folder / "s.json"
    path.write_text(json.dumps({"shots": [{"start": 0, "prompt": "a"}, {"start": 3}]}))
    if draw.random() < 0.1:
        odd_file(draw, path)
    else:
        change_json(draw, path)
    argv = ["stylize", str(whole.source), "o.mkv", "--shots", path.name, "--prompt", "oil"]
    model = ["--model", str(whole.model), "--steps", "1", "--frames", "4", "--dtype", "fp32"]
    return {"argv": [*argv, *model, "--no-refine"]}
