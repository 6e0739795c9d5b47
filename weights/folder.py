"""A diffusers folder: checked before anything of it is loaded, and built part by part."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..pipelines.errors import StyleAVideoError
from ..pipelines.files import kind_of_place, parse_json, read_bounded, shown, told
from .building import build, making
from .files import PICKLES, read_json, tensor_shapes
from .parts import OPTIONAL, PARTS, PIPELINES, Part, checked

MAX_FILES = 10_000  # in a model's folder
MAX_SHARDS = 100
MAX_WORDS = 16 << 20  # bytes of a tokenizer's file; CLIP's largest has 2 MB
WORDS = ("vocab.json", "merges.txt", "tokenizer.json", "added_tokens.json")


def check_folder(folder: Path) -> dict[str, Any]:
    """Refuse a diffusers folder that cannot be used; returns its model_index.json.

    Parts that StyleAVideoPipeline does not have (a safety checker) are not looked at.

    Raises:
        StyleAVideoError: incomplete, another architecture, parts of other classes than those of
            `parts`, weights that are pickled or truncated, a file of Python anywhere in it.
    """
    if kind_of_place(folder / "model_index.json") != "file":
        raise StyleAVideoError(
            f"{shown(folder)} has no model_index.json; give a folder in diffusers format or a "
            ".safetensors file."
        )
    index = read_json(folder / "model_index.json")
    kind = index.get("_class_name", "unknown")
    named = f"{kind:.80}" if isinstance(kind, str) else f"{kind!r:.80}"
    for name in ("transformer", "text_encoder_2"):
        if entry_of(folder, index, name):
            raise StyleAVideoError(
                f"{shown(folder)} is a {named} (it has a {name}); give an InstructPix2Pix or "
                "plain Stable Diffusion 1.5 folder."
            )
    if kind not in PIPELINES:
        raise StyleAVideoError(
            f"{shown(folder)} is a {named}, which is not known here; give an InstructPix2Pix "
            "or plain Stable Diffusion 1.5 folder."
        )
    for name, part in PARTS.items():
        if not entry_of(folder, index, name) or kind_of_place(folder / name) != "folder":
            raise StyleAVideoError(
                f"{shown(folder)} is incomplete: it has no {name}; give the whole diffusers folder."
            )
        _check_class(folder, index, name, part)
    for name, part in OPTIONAL.items():
        if entry_of(folder, index, name):
            _check_class(folder, index, name, part)
    check_no_code(folder)
    parts = ("unet", "vae", "text_encoder")
    unet, vae, text = (config_of(folder, index, part) for part in parts)
    channels, latent = unet.get("in_channels"), vae.get("latent_channels", 4)
    # A U-Net may take its latents in patches of 2x2, as the built-in one does.
    accepted = [latent, 2 * latent, 2 * 4 * latent]
    if channels not in accepted:
        raise StyleAVideoError(
            f"The U-Net of {shown(folder)} takes {channels} channels and its latents have "
            f"{latent}: {latent} or {2 * latent} are needed, so give InstructPix2Pix or a plain "
            "one."
        )
    if unet.get("cross_attention_dim") != text.get("hidden_size", 512):
        raise StyleAVideoError(
            f"The U-Net of {shown(folder)} reads text of width {unet.get('cross_attention_dim')} "
            f"and its text encoder gives {text.get('hidden_size', 512)}; give a folder whose parts "
            "belong together."
        )
    for name, part in (PARTS | OPTIONAL).items():
        if part.stem and entry_of(folder, index, name):
            for file in weight_files(folder / name, part.stem):
                tensor_shapes(file)
    return index


def entry_of(folder: Path, index: Mapping[str, Any], name: str) -> list[str] | None:
    """[library, class] of a part; None where the model has none.

    Raises:
        StyleAVideoError: it is neither.
    """
    entry = index.get(name)
    if entry is None or entry == [None, None]:
        return None
    if not isinstance(entry, list) or len(entry) != 2 or not all(type(e) is str for e in entry):
        raise StyleAVideoError(
            f"{shown(folder)} names its {name} as {entry!r:.80}, not by a library and a class; "
            "download the whole model again."
        )
    return entry


def _check_class(folder: Path, index: Mapping[str, Any], name: str, part: Part) -> None:
    library, found = index[name]
    if library != part.library:
        raise StyleAVideoError(
            f"The {name} of {shown(folder)} is of the library {library!r:.80}, not {part.library}; "
            "give an InstructPix2Pix or plain Stable Diffusion 1.5 folder."
        )
    if found not in part.classes:
        raise StyleAVideoError(
            f"The {name} of {shown(folder)} is a {found:.80}, not {' or '.join(part.classes)}; "
            "give an InstructPix2Pix or plain Stable Diffusion 1.5 folder."
        )


def check_no_code(folder: Path) -> None:
    """diffusers would run it; here nothing does, but who brings it means something by it."""
    count = 0
    for where, _, names in os.walk(folder):
        count += len(names)
        if count > MAX_FILES:
            raise StyleAVideoError(
                f"{shown(folder)} holds more than {MAX_FILES:,} files: give the folder of one "
                "model."
            )
        for name in sorted(names):
            if name.lower().endswith((".py", ".pyc", ".pyw")):
                raise StyleAVideoError(
                    f"{shown(Path(where, name))} is code, which a model must not bring; get a "
                    "folder without it."
                )


def config_of(folder: Path, index: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the config of a part says, of what it may."""
    part = (PARTS | OPTIONAL)[name]
    path = folder / name / part.configs[0]
    return checked(path, read_json(path), part.rules[index[name][1]])


def load_parts(
    folder: Path, index: Mapping[str, Any], dtype: torch.dtype, skip: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The parts of a checked folder, by name.

    Raises:
        StyleAVideoError: a config that describes another network than the weights are of, values
            out of range, NaN or infinity.
    """
    names = [
        name for name in PARTS | OPTIONAL if entry_of(folder, index, name) and name not in skip
    ]
    configs = {}
    for name in names:
        optional = name == "feature_extractor" and not entry_of(folder, index, "image_encoder")
        if name == "tokenizer" or (optional and kind_of_place(folder / name) != "folder"):
            continue
        configs[name] = config_of(folder, index, name)
    found = {name: _load(folder, index, name, config, dtype) for name, config in configs.items()}
    if "tokenizer" in names:
        found["tokenizer"] = read_tokenizer(folder / "tokenizer")
        _check_words(folder, found)
    return found


def _load(
    folder: Path, index: Mapping[str, Any], name: str, config: dict[str, Any], dtype: torch.dtype
) -> Any:
    import diffusers
    import transformers

    part, found = (PARTS | OPTIONAL)[name], index[name][1]
    if part.library == "diffusers":
        kind = getattr(diffusers, found)
        if part.stem:
            files = weight_files(folder / name, part.stem)
            return build(folder / name, lambda: kind.from_config(config), files, dtype)
        make = lambda: kind.from_config(config)  # noqa: E731
    elif part.stem:
        kind = getattr(transformers, found)
        files = weight_files(folder / name, part.stem)
        return build(folder / name, lambda: kind(kind.config_class(**config)), files, dtype)
    else:
        make = lambda: transformers.CLIPImageProcessor(**config)  # noqa: E731
    with making(folder / name):
        return make()


def read_tokenizer(folder: Path, **given: Any) -> Any:
    """CLIP's tokenizer, from copies of those of its files that are checked.

    Raises:
        StyleAVideoError: its files are missing, too large, or no tokenizer.
    """
    from transformers import CLIPTokenizer

    rules = PARTS["tokenizer"].rules["CLIPTokenizer"]
    config = folder / "tokenizer_config.json"
    if not given and kind_of_place(config):
        given = checked(config, read_json(config), rules)
    with copies_of(folder / name for name in WORDS if kind_of_place(folder / name)) as copies:
        with making(folder):
            return CLIPTokenizer.from_pretrained(copies, local_files_only=True, **given)


@contextmanager
def copies_of(files: Iterable[Path]) -> Iterator[Path]:
    """A folder, for a while, with copies of a tokenizer's files.

    Raises:
        StyleAVideoError: one is missing, no file, too large, or .json that is no object.
    """
    with tempfile.TemporaryDirectory(prefix="style-a-video-") as copies:
        for path in files:
            if not kind_of_place(path):
                raise StyleAVideoError(f"{shown(path)} is missing; download the model again.")
            data = read_bounded(path, MAX_WORDS)
            if path.suffix == ".json":
                _check_json(path, data)
            Path(copies, path.name).write_bytes(data)
        yield Path(copies)


def _check_json(path: Path, data: bytes) -> None:
    try:
        found = parse_json(data)
    except ValueError as error:
        raise StyleAVideoError(f"{shown(path)} is not JSON; download the model again.") from error
    if not isinstance(found, dict):
        raise StyleAVideoError(f"{shown(path)} is not a JSON object; download the model again.")


def _check_words(folder: Path, parts: Mapping[str, Any]) -> None:
    """Refuse words that the text encoder has no place for."""
    words, encoder = parts["tokenizer"], parts["text_encoder"].config
    if len(words) > encoder.vocab_size or words.model_max_length > encoder.max_position_embeddings:
        raise StyleAVideoError(
            f"The tokenizer of {shown(folder)} has {len(words):,} words and texts of "
            f"{words.model_max_length:,}, and its text encoder takes {encoder.vocab_size:,} and "
            f"{encoder.max_position_embeddings:,}; download the whole model again."
        )


def weight_files(folder: Path, stem: str) -> list[Path]:
    """A part's safetensors: shards, one file, or the fp16 variant."""
    plain, half = folder / f"{stem}.safetensors", folder / f"{stem}.fp16.safetensors"
    shards = folder / f"{stem}.safetensors.index.json"
    if kind_of_place(shards):
        return [folder / name for name in _shard_names(shards)]
    for file in (plain, half):
        if kind_of_place(file) == "file":
            return [file]
    with told(folder):
        pickles = sorted(file for file in folder.glob("*") if file.suffix in PICKLES)
    if pickles:
        raise StyleAVideoError(
            f"{shown(pickles[0])} is a pickle, which may run code; get the model's safetensors."
        )
    raise StyleAVideoError(f"{shown(plain)} is missing; download the model again.")


def _shard_names(index: Path) -> list[str]:
    """The files that an index of shards names, all of its own folder."""
    weight_map = read_json(index).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise StyleAVideoError(
            f"{shown(index)} does not name weight files of its own folder; download the model "
            "again."
        )
    found = sorted(set(names))
    if len(found) > MAX_SHARDS:
        raise StyleAVideoError(
            f"{shown(index)} names {len(found):,} files; no model here has more than {MAX_SHARDS}."
        )
    return found
