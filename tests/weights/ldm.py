"""Diffusers' names → the original LDM names of Stable Diffusion 1.x, the other way than loading.

Written from the layout of CompVis' `openaimodel.py` and `model.py`, so that it checks diffusers'
conversion rather than repeating it.
"""

import json
import re

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
EDGES = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def unet_name(key, layers, attention_levels):
    """`attention_levels`: indices of the up blocks that have attention."""
    for ours, theirs in EDGES.items():
        if key.startswith(ours + "."):
            return theirs + key.removeprefix(ours)
    where, kind, index, rest = re.fullmatch(
        r"(down_blocks\.\d+|up_blocks\.\d+|mid_block)\.(\w+)\.(\d+)\.(.+)", key
    ).groups()
    index = int(index)
    side, _, level = where.partition(".")
    if kind == "resnets":
        part, _, leaf = rest.rpartition(".")
        rest = f"{RESNET[part]}.{leaf}"
    if side == "mid_block":
        return f"middle_block.{1 if kind == 'attentions' else 2 * index}.{rest}"
    first = int(level) * (layers + 1)
    if kind == "downsamplers":
        return f"input_blocks.{first + layers + 1}.0.{rest.replace('conv', 'op')}"
    if kind == "upsamplers":
        slot = 2 if int(level) in attention_levels else 1
        return f"output_blocks.{first + layers}.{slot}.{rest}"
    slot = 1 if kind == "attentions" else 0
    if side == "down_blocks":
        return f"input_blocks.{1 + first + index}.{slot}.{rest}"
    return f"output_blocks.{first + index}.{slot}.{rest}"


def vae_name(key, levels):
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", key)
    key = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(r"up_blocks\.(\d+)", lambda m: f"up.{levels - 1 - int(m[1])}", key)
    key = key.replace("upsamplers.0", "upsample").replace(".resnets.", ".block.")
    key = re.sub(r"mid_block\.block\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    match = re.fullmatch(r"(\w+)\.mid_block\.attentions\.0\.(.+)\.(weight|bias)", key)
    return f"{match[1]}.mid.attn_1.{ATTENTION[match[2]]}.{match[3]}" if match else key


def checkpoint_names(unet, vae, text_encoder):
    """{LDM name: (component, diffusers name, LDM shape)} of a whole checkpoint."""
    ups = unet.config.up_block_types
    with_attention = {i for i, kind in enumerate(ups) if kind.startswith("CrossAttn")}
    names = {}
    for key, value in unet.state_dict().items():
        name = unet_name(key, unet.config.layers_per_block, with_attention)
        names[f"model.diffusion_model.{name}"] = ("unet", key, list(value.shape))
    for key, value in vae.state_dict().items():
        name = vae_name(key, len(vae.config.up_block_types))
        # LDM's autoencoder attends by 1x1 convolutions.
        kernel = [1, 1] if "mid.attn_1" in name and value.ndim == 2 else []
        names[f"first_stage_model.{name}"] = ("vae", key, [*value.shape, *kernel])
    for key, value in text_encoder.state_dict().items():
        # Flattened in transformers 5.6.
        name = "text_model." + key.removeprefix("text_model.")
        names[f"cond_stage_model.transformer.{name}"] = ("text_encoder", key, list(value.shape))
    return names


def write_sparse(path, shapes):
    """A float16 safetensors file of any size that takes no room: tensor number n starts with n.

    n is written base 1024 in the first two elements, which float16 holds exactly; all else is a
    hole in the file, which reads as zeros. Every tensor has two elements or more.
    """
    import numpy as np

    header, end = {}, 0
    for key, shape in shapes.items():
        size = 2 * int(np.prod(shape, dtype=np.int64))
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for number, entry in enumerate(header.values()):
            file.seek(8 + len(text) + entry["data_offsets"][0])
            file.write(np.array(divmod(number, 1024), dtype="<f2").tobytes())
        file.truncate(8 + len(text) + end)
