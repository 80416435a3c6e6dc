"""The types of LoRA. An adapter knows its module's size without reading it; `prepare` reads its factors and gives what computes rows of the
change Δ in float32, before the strength. The formulas follow the training forward pass (see docs/merge.md).

Two families: products, Δ = U·D, which the writer adds up in one matrix product for all LoRAs; and the rest, which give rows on demand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy

from factors import load, load_matrix, load_rows
from refusal import Refusal
from safetensors_file import Tensor, TensorFile

ReadRows = Callable[[int, int], numpy.ndarray]
"""(first, last) → those rows of the module's weight before any LoRA, as float32."""


class Rows(Protocol):
    def __call__(self, first: int, last: int, read: ReadRows) -> numpy.ndarray:
        """Rows first…last of Δ."""
        ...


@dataclass(slots=True)
class Product:
    """Δ = up·down; `scale` is already in `up`'s side by multiplication later."""

    up: numpy.ndarray
    down: numpy.ndarray

    def __call__(self, first: int, last: int, read: ReadRows) -> numpy.ndarray:
        return self.up[first:last] @ self.down


@dataclass(slots=True)
class Adapter:
    """`rows` × `columns` is the module's matrix; `columns` is 0 where the type cannot know it."""

    rows: int
    columns: int
    type: str
    scale: float
    prepare: Callable[[ReadRows], Rows]
    """May read the whole weight once (DoRA over columns)."""
    rank: int = 0
    """Of a product; 0 for the rest."""
    factor_elements: int = 0


REFUSED = {"set_weight": "replaced weights", "reshape_weight": "reshaped weights", "oft_diag": "old OFT", "bm": "GLoRA with Tucker factors"}


def build_adapters(name: str, factors: dict[str, Tensor], file: TensorFile, scale: float) -> list[tuple[str, Adapter]]:
    """[(weight | bias, adapter)] of one module; empty when its factors make no known type."""
    from dora import decompose
    from lycoris_types import glora, ia3, loha, lokr, oft

    for factor, what in REFUSED.items():
        if factor in factors:
            raise Refusal(f"{file.path} uses {what} ({factors[factor].name}), which cannot be merged", code="merge.invalid-input")
    found: list[tuple[str, Adapter]] = []
    weight: Adapter | None = None
    if "down" in factors or "up" in factors:
        weight = lora(name, factors, scale)
    elif "w1_a" in factors:
        weight = loha(name, factors, scale)
    elif any(one in factors for one in ("kr_w1", "kr_w1_a", "kr_w2", "kr_w2_a")):
        weight = lokr(name, factors, scale)
    elif "oft_blocks" in factors:
        weight = oft(name, factors, scale)
    elif "on_input" in factors and "ia3" in factors:
        weight = ia3(name, factors)
    elif "a1" in factors:
        weight = glora(name, factors, scale)
    elif "diff" in factors:
        weight = full(factors["diff"])
    elif "w_norm" in factors:
        weight = full(factors["w_norm"])
    if weight is not None:
        found.append(("weight", decompose(name, weight, factors)))
    if "diff_b" in factors or "b_norm" in factors:
        found.append(("bias", full(factors.get("diff_b") or factors["b_norm"])))
    if "up_bias" in factors:
        found.append(("bias", full(factors["up_bias"], scale)))
    return found


def need(name: str, factors: dict[str, Tensor], *wanted: str) -> list[Tensor]:
    for one in wanted:
        if one not in factors:
            file = next(iter(factors.values())).file
            raise Refusal(f"{file.path} is incomplete: {name} has no {one} factor", code="merge.invalid-input")
    return [factors[one] for one in wanted]


def unfit(name: str, *tensors: Tensor) -> Refusal:
    shapes = ", ".join(str(list(one.shape)) for one in tensors)
    return Refusal(f"{tensors[0].file.path}: the factors of {name} do not fit each other ({shapes})", code="merge.invalid-input")


def product(rows: int, columns: int, kind: str, scale: float, rank: int, make: Callable[[], tuple[numpy.ndarray, numpy.ndarray]]) -> Adapter:
    def prepare(_: ReadRows) -> Product:
        up, down = make()
        return Product(up, down)

    return Adapter(rows, columns, kind, scale, prepare, rank, rank * (rows + columns))


def lora(name: str, factors: dict[str, Tensor], scale: float) -> Adapter:
    down, up = need(name, factors, "down", "up")
    mid = factors.get("mid")
    rank = down.rows
    if len(down.shape) < 2 or len(up.shape) < 2 or up.columns != (rank if mid is None else mid.rows):
        raise unfit(name, up, down)
    if mid is None:
        return product(up.rows, down.columns, "LoRA" if len(down.shape) == 2 else "LoCon", scale, rank, lambda: (load_matrix(up), load_matrix(down)))
    if len(mid.shape) < 3 or mid.shape[1] != rank or down.columns != down.shape[1]:
        raise unfit(name, up, mid, down)
    kernel = math.prod(mid.shape[2:])
    return product(up.rows, down.columns * kernel, "LoCon (Tucker)", scale, mid.rows, lambda: (load_matrix(up), tucker(load(mid), load_matrix(down))))


def tucker(core: numpy.ndarray, inner: numpy.ndarray) -> numpy.ndarray:
    """Σ_n core[m, n, kernel…]·inner[n, i] → [m, i·kernel]. Two operands at a time: einsum with three is fifty times slower."""
    outer, rank = core.shape[:2]
    turned = numpy.ascontiguousarray(core.reshape(outer, rank, -1).transpose(0, 2, 1))  # [m, kernel, n]
    return numpy.ascontiguousarray((turned @ inner).transpose(0, 2, 1)).reshape(outer, -1)


def full(diff: Tensor, scale: float = 1.0) -> Adapter:
    """The change itself, read by rows: it is as large as the weight."""
    return Adapter(diff.rows, diff.columns, "full difference", scale, lambda _: lambda first, last, read: load_rows(diff, first, last))
