"""Another VAE in the place of the model's own (SDXL's own one gives NaN in fp16). Its file may have LDM's names or diffusers', old or new."""

from __future__ import annotations

import math
import os
from typing import Any

from model import Model, open_tensors, read_json, weight_files
from refusal import Refusal
from safetensors_file import Tensor, open_safetensors
from unet_names import vae_levels, vae_to_diffusers

PREFIXES = ("first_stage_model.", "vae/", "vae.")


def open_vae(path: str, variant: str | None) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """({diffusers name: tensor}, its config.json if it is a directory)."""
    if not os.path.isdir(path):
        return vae_tensors(open_tensors(path).tensors), None
    folder = os.path.join(path, "vae") if os.path.isdir(os.path.join(path, "vae")) else path
    tensors: dict[str, Tensor] = {}
    for name in weight_files(folder, variant):
        tensors |= open_safetensors(os.path.join(folder, name)).tensors
    return vae_tensors(tensors), read_json(os.path.join(folder, "config.json"))


def vae_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The VAE's part of these tensors (all, when none has a prefix), under diffusers' names."""
    prefix = next((one for one in PREFIXES if any(name.startswith(one) for name in tensors)), "")
    bare = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    levels = vae_levels(list(bare))
    parts = ("encoder.", "decoder.", "quant_conv", "post_quant_conv")
    return {vae_to_diffusers(name, levels): tensor for name, tensor in bare.items() if name.startswith(parts)}


def replace_vae(model: Model, path: str, variant: str | None) -> dict[Tensor, Tensor]:
    """{the model's tensor: the one to take instead}; every tensor of the model's VAE must be there."""
    own = vae_tensors({name: tensor for name, tensor in model.tensors.items() if name.startswith(PREFIXES)})
    if not own:
        raise Refusal(f"{model.path} holds no VAE that {path} could replace", code="merge.no-match")
    other, _ = open_vae(path, variant)
    for name, tensor in own.items():
        if name not in other:
            raise Refusal(f"{path} is no VAE for {model.path}: it has no {name}", hint="Give a VAE of the same kind.", code="merge.no-match")
        if math.prod(other[name].shape) != math.prod(tensor.shape) or other[name].rows != tensor.rows:
            reason = f"{path} does not fit: {name} is {list(other[name].shape)}, the model has {list(tensor.shape)}"
            raise Refusal(reason, hint="Give a VAE of the same kind.", code="merge.no-match")
    return {tensor: other[name] for name, tensor in own.items()}
