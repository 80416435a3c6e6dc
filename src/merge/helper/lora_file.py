"""A LoRA file as modules: which factors belong together, with which scale. kohya's names and those of PEFT and diffusers."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy

from halves import FLOATS, decode
from layouts import key_of
from refusal import Refusal
from safetensors_file import SafetensorsFile, Tensor, open_safetensors

DOWN = (".lora_down.weight", ".lora_A.weight", ".lora_A.default.weight", ".lora.down.weight", ".lora_linear_layer.down.weight", "_lora.down.weight")
UP = (".lora_up.weight", ".lora_B.weight", ".lora_B.default.weight", ".lora.up.weight", ".lora_linear_layer.up.weight", "_lora.up.weight")
# Suffix → what it is; each needs arithmetic of its own, and leaving it out would give a wrong model without a word.
OTHER_KINDS = {
    ".lora_mid.weight": "LoCon with Tucker factors", ".hada_w1_a": "LoHa", ".lokr_w1": "LoKr", ".lokr_w1_a": "LoKr", ".dora_scale": "DoRA",
    ".lora_magnitude_vector": "DoRA", ".diff": "full differences", ".diff_b": "full differences", ".w_norm": "norm differences", ".b_norm": "norm differences",
    ".oft_blocks": "OFT", ".on_input": "IA3", ".a1.weight": "GLoRA", ".set_weight": "replaced weights",
}  # fmt: skip
# The beginning of a module's name → the part of the model.
PARTS = {
    "lora_unet_": "unet", "lora_te1_": "te1", "lora_te2_": "te2", "lora_te_": "te1", "lycoris_": "unet",
    "unet.": "unet", "text_encoder.": "te1", "text_encoder_2.": "te2", "diffusion_model.": "unet", "model.diffusion_model.": "unet",
}  # fmt: skip
PEFT_PREFIX = {"unet": "unet", "te1": "text_encoder", "te2": "text_encoder_2"}
IGNORED = ("bundle_emb.",)


@dataclass
class Module:
    name: str
    key: tuple[str, str]
    down: Tensor
    up: Tensor
    scale: float
    """alpha / rank, before the strength that the user asks for."""

    @property
    def rank(self) -> int:
        return self.down.rows


@dataclass
class Lora:
    file: SafetensorsFile
    modules: list[Module]
    unknown: list[str]
    """Keys that belong to no module of a known kind."""

    def factors(self, module: Module) -> tuple[numpy.ndarray, numpy.ndarray]:
        """(U [out, r], D [r, columns]) in float32. A value that is not finite would spread over the whole row, so it is refused."""
        down, up = (decode(self.file.read(one), one.dtype).reshape(one.rows, one.columns) for one in (module.down, module.up))
        if not (numpy.isfinite(down).all() and numpy.isfinite(up).all()):
            raise Refusal(f"{self.file.path} holds NaN or infinite values in {module.name}")
        return up, down


def open_lora(path: str) -> Lora:
    file = open_safetensors(path)
    parts: dict[str, dict[str, Tensor]] = {}
    unknown: list[str] = []
    for name, tensor in file.tensors.items():
        if name.startswith(IGNORED):
            continue
        kind, module = split_name(name)
        if kind is None:
            other = next((what for suffix, what in OTHER_KINDS.items() if name.endswith(suffix)), None)
            if other:
                hint = "Plain LoRA and LoCon (kohya, PEFT, diffusers) are supported."
                raise Refusal(f"{path} uses {other} ({name}), which this version cannot merge", hint=hint)
            unknown.append(name)
        elif kind in parts.setdefault(module, {}):
            raise Refusal(f"{path} names {module} twice")
        else:
            parts[module][kind] = tensor
    settings = peft_settings(file)
    modules: list[Module] = []
    for name, factors in parts.items():
        module = to_module(name, factors, file, settings)
        if module is None:
            unknown.append(name)
        else:
            modules.append(module)
    return Lora(file, modules, unknown)


def split_name(name: str) -> tuple[str | None, str]:
    for kind, suffixes in (("down", DOWN), ("up", UP), ("alpha", (".alpha",))):
        for suffix in suffixes:
            if name.endswith(suffix):
                return kind, name.removesuffix(suffix)
    return None, name


def to_module(name: str, factors: dict[str, Tensor], file: SafetensorsFile, settings: dict[str, Any]) -> Module | None:
    key = module_key(name)
    if key is None:
        return None
    down, up = factors.get("down"), factors.get("up")
    if down is None or up is None:
        raise Refusal(f"{file.path} is incomplete: {name} has no {'down' if down is None else 'up'} factor")
    for one in (down, up):
        if one.dtype not in FLOATS or len(one.shape) not in (2, 4):
            raise Refusal(f"{file.path}: {one.name} is {one.dtype} {list(one.shape)}, expected a floating-point matrix")
    rank = down.rows
    if rank == 0 or up.columns != rank:
        raise Refusal(f"{file.path}: the factors of {name} do not fit each other ({list(up.shape)} and {list(down.shape)})")
    return Module(name, key, down, up, scale_of(name, key[0], rank, factors.get("alpha"), file, settings))


def module_key(name: str) -> tuple[str, str] | None:
    name = name.removeprefix("base_model.model.")
    for prefix, part in PARTS.items():
        if name.startswith(prefix):
            path = name.removeprefix(prefix)
            # Old diffusers: the attention processor's own layers, `…attn1.processor.to_q_lora` for `…attn1.to_q`.
            path = re.sub(r"\.processor\.(to_[qkv]|to_out)$", r".\1", path)
            path = re.sub(r"\.(attn[12])\.to_out$", r".\1.to_out.0", path)
            path = re.sub(r"\.self_attn\.to_([qkv])$", r".self_attn.\1_proj", path)
            path = re.sub(r"\.self_attn\.to_out$", r".self_attn.out_proj", path)
            return key_of(part, path)
    return None


def scale_of(name: str, part: str, rank: int, alpha: Tensor | None, file: SafetensorsFile, settings: dict[str, Any]) -> float:
    if alpha is not None:
        if alpha.dtype not in FLOATS or math.prod(alpha.shape) != 1:
            raise Refusal(f"{file.path}: the alpha of {name} is not one number")
        value = float(decode(file.read(alpha), alpha.dtype).reshape(-1)[0])
    else:
        value = peft_alpha(name, PEFT_PREFIX[part], rank, settings)
    if not math.isfinite(value):
        raise Refusal(f"{file.path}: the alpha of {name} is {value}")
    rank_stabilised = alpha is None and settings.get(f"{PEFT_PREFIX[part]}.use_rslora") is True
    return value / (math.sqrt(rank) if rank_stabilised else rank)


def peft_settings(file: SafetensorsFile) -> dict[str, Any]:
    """What diffusers keeps beside the tensors; without it, a LoRA whose alpha differs from its rank is off by a factor."""
    text = file.metadata.get("lora_adapter_metadata")
    if text is None:
        return {}
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{file.path} has wrong metadata: lora_adapter_metadata is not JSON") from error
    if not isinstance(settings, dict):
        raise Refusal(f"{file.path} has wrong metadata: lora_adapter_metadata is not an object")
    if any(settings.get(f"{part}.use_dora") for part in PEFT_PREFIX.values()):
        raise Refusal(f"{file.path} uses DoRA, which this version cannot merge")
    return settings


def peft_alpha(name: str, part: str, rank: int, settings: dict[str, Any]) -> float:
    pattern = settings.get(f"{part}.alpha_pattern")
    for key, value in pattern.items() if isinstance(pattern, dict) else ():
        if (name == key or name.endswith(f".{key}")) and isinstance(value, int | float):
            return float(value)
    value = settings.get(f"{part}.lora_alpha")
    return float(value) if isinstance(value, int | float) else float(rank)
