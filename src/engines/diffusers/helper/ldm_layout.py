"""Tensor names of a diffusers directory → names inside a single-file (LDM) checkpoint, as A1111 and ComfyUI read it.

The exact inverse of what diffusers does in from_single_file. Works on numpy arrays; knows nothing of torch.
"""

from __future__ import annotations

import re

import numpy as np

Tensors = dict[str, np.ndarray]

_UNET_TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET_PARTS = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_OPEN_CLIP_PARTS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def unet_name(name: str, layers_per_block: int, attention_up: list[bool]) -> str:
    """LDM name of one UNet tensor. `attention_up` says which up blocks attend: it moves their upsampler by one."""
    stem, _, leaf = name.rpartition(".")
    if stem in _UNET_TOP:
        return f"{_UNET_TOP[stem]}.{leaf}"
    match = re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)$", name)
    if match is None:
        match = re.match(r"(mid)_block()\.(\w+)\.(\d+)\.(.+)$", name)
    if match is None:
        raise KeyError(name)
    side, block, part, layer, rest = match.groups()
    if part == "resnets":
        key, _, leaf = rest.rpartition(".")
        rest = f"{_RESNET_PARTS[key]}.{leaf}"
    if side == "mid":
        return f"middle_block.{1 if part == 'attentions' else int(layer) * 2}.{rest}"
    if side == "down":
        base = 1 + int(block) * (layers_per_block + 1)
        if part == "downsamplers":
            return f"input_blocks.{base + layers_per_block}.0.op.{rest.removeprefix('conv.')}"
        return f"input_blocks.{base + int(layer)}.{0 if part == 'resnets' else 1}.{rest}"
    base = int(block) * (layers_per_block + 1)
    if part == "upsamplers":
        return f"output_blocks.{base + layers_per_block}.{2 if attention_up[int(block)] else 1}.{rest}"
    return f"output_blocks.{base + int(layer)}.{0 if part == 'resnets' else 1}.{rest}"


def vae_name(name: str, levels: int) -> str:
    """LDM name of one VAE tensor."""
    name = re.sub(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)", r"encoder.down.\1.block.\2", name)
    name = re.sub(r"encoder\.down_blocks\.(\d+)\.downsamplers\.0", r"encoder.down.\1.downsample", name)
    name = re.sub(
        r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)",
        lambda m: f"decoder.up.{levels - 1 - int(m[1])}.block.{m[2]}",
        name,
    )
    name = re.sub(r"decoder\.up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"decoder.up.{levels - 1 - int(m[1])}.upsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d+)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = name.replace("mid_block.attentions.0", "mid.attn_1")
    for old, new in (
        ("conv_norm_out", "norm_out"),
        ("conv_shortcut", "nin_shortcut"),
        ("group_norm", "norm"),
        ("to_q", "q"),
        ("to_k", "k"),
        ("to_v", "v"),
        ("to_out.0", "proj_out"),
    ):
        name = name.replace(old, new)
    return name


def open_clip(tensors: Tensors) -> Tensors:
    """The second SDXL text encoder in OpenCLIP's names: q, k and v stacked, the projection transposed."""
    out: Tensors = {}
    stacked: dict[str, dict[str, np.ndarray]] = {}
    for name, value in tensors.items():
        match = re.match(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)$", name)
        if name == "text_projection.weight":
            out["text_projection"] = np.ascontiguousarray(value.T)
        elif name.endswith("position_embedding.weight"):
            out["positional_embedding"] = value
        elif name.endswith("token_embedding.weight"):
            out["token_embedding.weight"] = value
        elif name.startswith("text_model.final_layer_norm."):
            out[name.replace("text_model.final_layer_norm", "ln_final")] = value
        elif match is not None:
            layer, part, leaf = match.groups()
            block = f"transformer.resblocks.{layer}"
            if part in _OPEN_CLIP_PARTS:
                out[f"{block}.{_OPEN_CLIP_PARTS[part]}.{leaf}"] = value
            else:
                stacked.setdefault(f"{block}.attn.in_proj_{leaf}", {})[part[-6]] = value
    for name, parts in stacked.items():
        out[name] = np.concatenate([parts["q"], parts["k"], parts["v"]])
    out["logit_scale"] = np.asarray(4.6052, dtype=next(iter(tensors.values())).dtype)
    return out


def single_file(kind: str, unet: Tensors, vae: Tensors, text: list[Tensors], layers_per_block: int, attention: tuple[bool, ...]) -> Tensors:
    """All components of one model under their LDM names, as one flat map."""
    levels = 1 + max(int(name.split(".")[2]) for name in vae if name.startswith("encoder.down_blocks."))
    attention_up = list(reversed(attention))
    out: Tensors = {}
    for name, value in unet.items():
        out[f"model.diffusion_model.{unet_name(name, layers_per_block, attention_up)}"] = value
    for name, value in vae.items():
        linear = "mid_block.attentions" in name and value.ndim == 2
        out[f"first_stage_model.{vae_name(name, levels)}"] = value[:, :, None, None] if linear else value
    first = "conditioner.embedders.0.transformer." if kind == "sdxl" else "cond_stage_model.transformer."
    for name, value in text[0].items():
        out[first + name] = value
    if kind == "sdxl":
        for name, value in open_clip(text[1]).items():
            out[f"conditioner.embedders.1.model.{name}"] = value
    return out
