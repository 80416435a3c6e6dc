"""A LoRA file as modules: which factors belong together, of which type they are, with which scale."""

from __future__ import annotations

import math
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aliases import key_of
from factors import WHOLE_NUMBERS, number
from halves import FLOATS
from lora_adapters import Adapter, build_adapters
from lora_names import IGNORED, PEFT_PREFIX, module_path, split_name
from peft_settings import peft_alpha, peft_settings
from refusal import Refusal
from safetensors_file import Tensor, TensorFile
from shelf import Shelf


@dataclass(slots=True)
class Module:
    """What one adapter does to one weight or bias."""

    name: str
    part: str
    path: str
    leaf: str
    adapter: Adapter
    stored: int
    """Where `Lora.adapter` finds it again."""

    @property
    def key(self) -> tuple[str, str, str]:
        return key_of(self.part, self.path, self.leaf)


@dataclass(eq=False)
class Lora:
    """Of hundreds of LoRAs only this stays in memory: their modules are made when they are looked at, and again when they are computed."""

    file: TensorFile
    shelf: Shelf
    unknown: list[str] = field(default_factory=list)
    """Keys that belong to no module of a known type."""
    ignored: int = 0
    note: str | None = None
    """What the user should know about it."""

    @property
    def path(self) -> str:
        return self.file.path

    def modules(self) -> Iterator[Module]:
        """Once: the names in the file's header are forgotten on the way."""
        groups = self.group()
        settings, self.note = peft_settings(self.file)
        self.file.tensors, self.file.metadata = {}, {}
        while groups:
            name, factors = groups.popitem(last=False)
            part, path = module_path(name)
            check_factors(name, factors, self.file)
            scale = scale_of(name, part, factors, self.file, settings)
            adapters = build_adapters(name, factors, self.file, scale)
            if not adapters:
                self.unknown += [tensor.name for tensor in factors.values()]
                continue
            stored = self.shelf.put((name, scale, [(factor, one.name, one.dtype, one.shape, one.start) for factor, one in factors.items()]))
            for leaf, adapter in adapters:
                yield Module(name, part, path, leaf, adapter, stored)

    def group(self) -> OrderedDict[str, dict[str, Tensor]]:
        groups: OrderedDict[str, dict[str, Tensor]] = OrderedDict()
        for name, tensor in self.file.tensors.items():
            factor, module = split_name(name)
            if name.startswith(IGNORED):
                self.ignored += 1
            elif factor is None or (factor == "ia3" and f"{module}.on_input" not in self.file.tensors):
                self.unknown.append(name)
            elif factor in groups.setdefault(module, {}):
                raise Refusal(f"{self.path} names {factor} of {module} twice", code="merge.invalid-input")
            else:
                groups[module][factor] = tensor
        return groups

    def adapter(self, stored: int, leaf: str) -> Adapter:
        name, scale, rows = self.shelf.get(stored)
        factors = {factor: Tensor(self.file, full, sys.intern(dtype), shape, start) for factor, full, dtype, shape, start in rows}
        return next(adapter for one, adapter in build_adapters(name, factors, self.file, scale) if one == leaf)


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
