"""Which rows of which tensors change, and by which modules; and the coverage table that tells the user."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aliases import Names, Place, list_names
from halves import FLOATS
from lora_adapters import Adapter
from lora_file import Lora, Module
from model import Model, open_tensors
from refusal import Refusal
from request import LoraRequest
from safetensors_file import Tensor
from shelf import Shelf

OTHER_KIND = "It was made for another kind of model."


@dataclass(slots=True, eq=False)
class Change:
    """One adapter's part of a tensor."""

    lora: Lora
    stored: int
    leaf: str
    place: Place
    places: tuple[Place, ...]
    """All of the module's places; `place` is one of them."""
    scale: float
    """Of the adapter, times the strength."""
    rank: int
    """Of a product; 0 for the rest."""

    def adapter(self) -> Adapter:
        return self.lora.adapter(self.stored, self.leaf)


@dataclass
class Coverage:
    """What became of a LoRA's modules; printed, and the reason when a LoRA changes nothing."""

    path: str
    matched: dict[str, int] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    idle: int = 0
    """Matched modules whose strength or alpha is 0."""
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "lora": self.path, "matched": self.matched, "types": self.types, "unmatched": len(self.unmatched),
            "firstUnmatched": self.unmatched[:5], "skipped": self.skipped, "idle": self.idle,
            **({"note": self.note} if self.note else {}),
        }  # fmt: skip


Changes = dict[Tensor, list[Change]]


def plan_changes(model: Model, wishes: list[LoraRequest], *, allow_unmatched: bool) -> tuple[Changes, list[Lora], list[Coverage]]:
    """Opens each LoRA in turn, so that only one's names are in memory."""
    names = list_names(model)
    stems = {id(tensor): stem_of(name) for name, tensor in model.tensors.items()}
    changes: Changes = {}
    shelf = Shelf()
    loras: list[Lora] = []
    coverages: list[Coverage] = []
    for wish in wishes:
        loras.append(Lora(open_tensors(wish.path), shelf))
        coverages.append(plan_lora(loras[-1], wish, names, stems, changes))
    refuse_gaps(model, wishes, coverages, allow_unmatched=allow_unmatched)
    return changes, loras, coverages


def plan_lora(lora: Lora, wish: LoraRequest, names: Names, stems: dict[int, str], changes: Changes) -> Coverage:
    coverage = Coverage(lora.path)
    taken: dict[tuple[Tensor, int, int], str] = {}
    strengths: dict[float, float] = {}  # one object for equal numbers: there may be very many changes
    for module in lora.modules():
        places = find_places(module, names)
        if places is None:
            coverage.unmatched.append(module.name if module.leaf == "weight" else f"{module.name} ({module.leaf})")
            continue
        if not fits(lora, module, places, coverage):
            continue
        coverage.matched[module.part] = coverage.matched.get(module.part, 0) + 1
        coverage.types[module.adapter.type] = coverage.types.get(module.adapter.type, 0) + 1
        scale = wish.strength(module.part, stems[id(places[0].tensor)]) * module.adapter.scale
        if scale == 0:
            coverage.idle += 1
            continue
        scale = strengths.setdefault(scale, scale)
        for place in places:
            key = (place.tensor, place.first, place.last)
            if key in taken:
                reason = f"{lora.path} changes {place.tensor.name} twice, as {taken[key]} and as {module.name}"
                raise Refusal(reason, code="merge.invalid-input")
            taken[key] = module.name
            change = Change(lora, module.stored, module.leaf, place, places, scale, module.adapter.rank)
            changes.setdefault(place.tensor, []).append(change)
    coverage.unmatched[:0] = lora.unknown
    coverage.note = lora.note
    return coverage


def stem_of(name: str) -> str:
    """A tensor's path without its prefix and its last word, for block weights."""
    for prefix in ("unet/", "transformer/", "model.diffusion_model.", "diffusion_model."):
        name = name.removeprefix(prefix)
    return name.rpartition(".")[0]


def find_places(module: Module, names: Names) -> tuple[Place, ...] | None:
    part, path, leaf = module.key
    found = names.get((part, path, leaf))
    if found is None and leaf == "weight":
        found = names.get((part, path.removesuffix("_weight"), leaf))
    if found is None and part == "te1" and not any(one == "te1" for one, _, _ in names):
        found = names.get(("te2", path, leaf))  # the refiner has OpenCLIP alone, and kohya calls it lora_te
    return found


def fits(lora: Lora, module: Module, places: tuple[Place, ...], coverage: Coverage) -> bool:
    adapter = module.adapter
    for place in places:
        if place.tensor.dtype not in FLOATS:
            raise Refusal(f"{place.tensor.name} is {place.tensor.dtype}; LoRAs can be merged into {', '.join(FLOATS)}")
    tensor = places[0].tensor
    rows, columns = sum(place.last - place.first for place in places), tensor.columns
    if places[0].transposed:
        rows, columns = columns, rows
    if adapter.rows in (0, rows) and adapter.columns in (0, columns):
        return True
    if module.part == "unet" and module.key[1] in ("conv_in", "input_blocks_0_0"):
        # An inpainting UNet has 9 input channels, a LoRA made on the ordinary one has 4.
        coverage.skipped.append(f"{module.name}: made for another number of input channels")
        return False
    reason = f"{lora.path} does not fit: {module.name} is for {adapter.rows} × {adapter.columns or 'any'}, {tensor.name} has {rows} × {columns}"
    raise Refusal(reason, hint=OTHER_KIND, code="merge.no-match")


def refuse_gaps(model: Model, wishes: list[LoraRequest], coverages: list[Coverage], *, allow_unmatched: bool) -> None:
    table = {"coverage": [one.to_json() for one in coverages]}
    for wish, one in zip(wishes, coverages, strict=True):
        count = sum(one.matched.values())
        if count == 0:
            raise Refusal(f"{one.path} matches nothing in {model.path} ({model.kind})", hint=OTHER_KIND, details=table, code="merge.no-match")
        if one.unmatched and not allow_unmatched:
            first = ", ".join(one.unmatched[:3])
            reason = f"{len(one.unmatched)} of {len(one.unmatched) + count} modules of {one.path} match nothing in {model.path} ({model.kind}), such as {first}"
            raise Refusal(reason, hint="--allow-unmatched merges the rest.", details=table, code="merge.no-match")
        if one.idle == count and not wish.idle:
            # Strength 0 for all is the user's wish; alpha 0, or a strength of 0 on just the parts it covers, is not.
            reason = f"{one.path} changes nothing: its strength on the parts it covers is 0, or its alpha is"
            raise Refusal(reason, details=table, code="merge.no-match")
