"""A LoRA file as modules: which factors belong together, of which type they are, with which scale."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

from aliases import key_of
from factors import WHOLE_NUMBERS, number
from halves import FLOATS
from lora_adapters import Adapter, build_adapters
from lora_names import IGNORED, PEFT_PREFIX, module_path, split_name
from model import open_tensors
from refusal import Refusal
from safetensors_file import Tensor, TensorFile


@dataclass(slots=True)
class Module:
    """What one adapter does to one weight or bias."""

    name: str
    part: str
    path: str
    leaf: str
    adapter: Adapter

    @property
    def key(self) -> tuple[str, str, str]:
        return key_of(self.part, self.path, self.leaf)


@dataclass
class Lora:
    file: TensorFile
    modules: list[Module]
    unknown: list[str] = field(default_factory=list)
    """Keys that belong to no module of a known type."""
    ignored: int = 0

    @property
    def path(self) -> str:
        return self.file.path


def open_lora(path: str) -> Lora:
    file = open_tensors(path)
    groups: dict[str, dict[str, Tensor]] = {}
    lora = Lora(file, [])
    for name, tensor in file.tensors.items():
        factor, module = split_name(name)
        if name.startswith(IGNORED):
            lora.ignored += 1
        elif factor is None or (factor == "ia3" and f"{module}.on_input" not in file.tensors):
            lora.unknown.append(name)
        elif factor in groups.setdefault(module, {}):
            raise Refusal(f"{path} names {factor} of {module} twice", code="merge.invalid-input")
        else:
            groups[module][factor] = tensor
    settings = peft_settings(file)
    for name, factors in groups.items():
        part, module_file_path = module_path(name)
        check_factors(name, factors, file)
        scale = scale_of(name, part, factors, file, settings)
        adapters = build_adapters(name, factors, file, scale)
        if not adapters:
            lora.unknown += [tensor.name for tensor in factors.values()]
        lora.modules += [Module(name, part, module_file_path, leaf, adapter) for leaf, adapter in adapters]
    file.tensors = {}  # the modules hold what they need
    return lora


def check_factors(name: str, factors: dict[str, Tensor], file: TensorFile) -> None:
    for factor, tensor in factors.items():
        if factor == "on_input" or (factor == "alpha" and tensor.dtype in WHOLE_NUMBERS):
            continue
        if tensor.dtype not in FLOATS:
            raise Refusal(f"{file.path}: {tensor.name} is {tensor.dtype}, expected floating-point numbers", code="merge.invalid-input")
        if factor != "alpha" and math.prod(tensor.shape) == 0:
            raise Refusal(f"{file.path}: {tensor.name} of {name} is empty", code="merge.invalid-input")


def scale_of(name: str, part: str, factors: dict[str, Tensor], file: TensorFile, settings: dict[str, Any]) -> float:
    """alpha / rank; 1 without an alpha. For OFT alpha is its constraint, which is given back as it is."""
    rank = rank_of(factors)
    alpha = factors.get("alpha")
    prefix = PEFT_PREFIX.get(part, "unet" if any(one.startswith("unet.") for one in settings) else "transformer")
    if alpha is not None:
        if math.prod(alpha.shape) != 1:
            raise Refusal(f"{file.path}: the alpha of {name} is not one number", code="merge.invalid-input")
        value = number(alpha)
    elif "oft_blocks" in factors:
        return 0.0
    else:
        value = peft_alpha(name, prefix, rank, settings)
    if not math.isfinite(value):
        raise Refusal(f"{file.path}: the alpha of {name} is {value}", code="merge.invalid-input")
    if "oft_blocks" in factors:
        return value
    if "kr_w1" in factors and "kr_w2" in factors:
        return 1.0  # two whole factors: LyCORIS sets alpha to the rank when it trains and loads them
    return value / (math.sqrt(rank) if alpha is None and settings.get(f"{prefix}.use_rslora") is True else rank)


def rank_of(factors: dict[str, Tensor]) -> int:
    for factor in ("down", "w1_b", "kr_w2_b", "kr_w1_b", "a2"):
        if factor in factors:
            return factors[factor].rows
    return 1


def peft_settings(file: TensorFile) -> dict[str, Any]:
    """What diffusers keeps beside the tensors; without it, a LoRA whose alpha differs from its rank is off by a factor."""
    text = file.metadata.get("lora_adapter_metadata")
    if text is None:
        return {}
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{file.path} has wrong metadata: lora_adapter_metadata is not JSON", code="merge.invalid-input") from error
    if not isinstance(settings, dict):
        raise Refusal(f"{file.path} has wrong metadata: lora_adapter_metadata is not an object", code="merge.invalid-input")
    return settings


def peft_alpha(name: str, prefix: str, rank: int, settings: dict[str, Any]) -> float:
    pattern = settings.get(f"{prefix}.alpha_pattern")
    for key, value in pattern.items() if isinstance(pattern, dict) else ():
        if (name == key or name.endswith(f".{key}")) and isinstance(value, int | float):
            return float(value)
    value = settings.get(f"{prefix}.lora_alpha")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float(rank)
