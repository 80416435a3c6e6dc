"""Which rows of which tensors change, and by which modules; what no LoRA touches is copied as bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from halves import FLOATS
from layouts import Names, Target, describe, list_names
from lora_file import Lora, Module
from refusal import Refusal
from safetensors_file import ITEM_BYTES, SafetensorsFile, Tensor


@dataclass(frozen=True)
class Strength:
    unet: float
    te: float

    def of(self, part: str) -> float:
        return self.unet if part == "unet" else self.te


@dataclass
class Change:
    """One module's part of a tensor."""

    lora: Lora
    module: Module
    target: Target
    scale: float
    """alpha / rank × strength."""


@dataclass
class Segment:
    """Rows that change together: all changes cover all of them."""

    tensor: Tensor
    first: int
    last: int
    changes: list[Change]

    @property
    def row_bytes(self) -> int:
        return self.tensor.columns * ITEM_BYTES[self.tensor.dtype]

    @property
    def start(self) -> int:
        return self.tensor.start + self.first * self.row_bytes

    @property
    def size(self) -> int:
        return (self.last - self.first) * self.row_bytes


@dataclass
class Coverage:
    """What became of a LoRA's modules; printed, and the reason when a LoRA changes nothing."""

    path: str
    matched: dict[str, int] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"lora": self.path, "matched": self.matched, "unmatched": len(self.unmatched), "firstUnmatched": self.unmatched[:5], "skipped": self.skipped}


def build_plan(base: SafetensorsFile, loras: list[tuple[Lora, Strength]], *, allow_unmatched: bool) -> tuple[list[Segment], list[Coverage]]:
    names = list_names(base.tensors)
    changes: dict[str, list[Change]] = {}
    coverages: list[Coverage] = []
    for lora, strength in loras:
        coverage = Coverage(lora.file.path, unmatched=list(lora.unknown))
        coverages.append(coverage)
        taken: dict[Target, str] = {}
        for module in lora.modules:
            target = find_target(module, names)
            if target is None:
                coverage.unmatched.append(module.name)
                continue
            if not fits(lora, module, target, coverage):
                continue
            if target in taken:
                raise Refusal(f"{lora.file.path} changes {target.tensor.name} twice, as {taken[target]} and as {module.name}")
            taken[target] = module.name
            coverage.matched[module.key[0]] = coverage.matched.get(module.key[0], 0) + 1
            scale = module.scale * strength.of(module.key[0])
            if scale != 0:
                changes.setdefault(target.tensor.name, []).append(Change(lora, module, target, scale))
    refuse_gaps(base, coverages, allow_unmatched=allow_unmatched)
    segments = [segment for name, list_ in changes.items() for segment in cut(base.tensors[name], list_)]
    refuse_idle(loras, coverages, segments)
    return sorted(segments, key=lambda one: one.start), coverages


def find_target(module: Module, names: Names) -> Target | None:
    part, path = module.key
    return names.get((part, path)) or (names.get(("te2", path)) if part == "te1" and not any(one == "te1" for one, _ in names) else None)


def fits(lora: Lora, module: Module, target: Target, coverage: Coverage) -> bool:
    tensor = target.tensor
    rows, columns = target.last - target.first, tensor.columns
    if tensor.dtype not in FLOATS:
        raise Refusal(f"{tensor.name} is {tensor.dtype}; LoRAs can be merged into F16, BF16, F32 and F64")
    if (module.up.rows, module.down.columns) == (rows, columns):
        return True
    if module.key == ("unet", "conv_in") or module.key == ("unet", "input_blocks_0_0"):
        # An inpainting UNet has 9 input channels, a LoRA made on the ordinary one has 4.
        coverage.skipped.append(f"{module.name}: made for another number of input channels")
        return False
    shape = [module.up.rows, *module.down.shape[1:]]
    reason = f"{lora.file.path} does not fit: {module.name} is for {shape}, {tensor.name} has {[rows, *tensor.shape[1:]]}"
    raise Refusal(reason, hint="It was made for another kind of model.")


def refuse_gaps(base: SafetensorsFile, coverages: list[Coverage], *, allow_unmatched: bool) -> None:
    table = [one.to_json() for one in coverages]
    kind = describe(base.tensors)
    for one in coverages:
        if not one.matched:
            raise Refusal(f"{one.path} matches nothing in {base.path} ({kind})", hint="It was made for another kind of model.", details={"coverage": table})
        if one.unmatched and not allow_unmatched:
            first = ", ".join(one.unmatched[:3])
            count = f"{len(one.unmatched)} of {len(one.unmatched) + sum(one.matched.values())} modules"
            reason = f"{count} of {one.path} match nothing in {base.path} ({kind}), such as {first}"
            raise Refusal(reason, hint="--allow-unmatched merges the rest.", details={"coverage": table})


def refuse_idle(loras: list[tuple[Lora, Strength]], coverages: list[Coverage], segments: list[Segment]) -> None:
    """A LoRA whose every scale is 0 by its own doing (alpha 0) changes nothing; strength 0 is the user's wish."""
    busy = {id(change.lora) for segment in segments for change in segment.changes}
    for lora, strength in loras:
        if id(lora) not in busy and (strength.unet != 0 or strength.te != 0):
            table = [one.to_json() for one in coverages]
            raise Refusal(f"{lora.file.path} changes nothing: its strength on the parts it covers is 0", details={"coverage": table})


def cut(tensor: Tensor, changes: list[Change]) -> list[Segment]:
    """Cuts a tensor at every change's first and last row, so that each segment has one list of changes."""
    edges = sorted({edge for change in changes for edge in (change.target.first, change.target.last)})
    segments = []
    for first, last in pairwise(edges):
        over = [change for change in changes if change.target.first <= first and last <= change.target.last]
        if over:
            segments.append(Segment(tensor, first, last, over))
    return segments
