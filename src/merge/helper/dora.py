"""DoRA: W' = m · V/‖V‖ with V = W + Δ, over each output row or each input column. Δ_dora = W' − W, so a strength other than 1 interpolates
between the model and the trained one (ComfyUI's convention; PEFT scales Δ inside V, LyCORIS the length; all agree at strength 1)."""

from __future__ import annotations

import math

import numpy

from factors import load
from lora_adapters import Adapter, ReadRows, Rows, unfit
from safetensors_file import Tensor

PASS_ELEMENTS = 512 * 1024


def decompose(name: str, inner: Adapter, factors: dict[str, Tensor]) -> Adapter:
    """The adapter itself, or with its magnitudes around it."""
    scale_tensor, vector = factors.get("dora"), factors.get("magnitude")
    magnitude = scale_tensor or vector
    if magnitude is None:
        return inner
    length = math.prod(magnitude.shape)
    if not (inner.rows and inner.columns):
        raise unfit(name, magnitude)  # there is no DoRA on OFT or IA3
    # PEFT's vector is over the rows; LyCORIS' is [out, 1…] or, as ComfyUI and OneTrainer also write it, [1, in, 1…].
    over_rows = length == inner.rows and (vector is not None or magnitude.rows == inner.rows)
    if not over_rows and (vector is not None or inner.columns % length):
        raise unfit(name, magnitude)

    def prepare(read: ReadRows) -> Rows:
        delta_rows = inner.prepare(read)
        magnitudes = load(magnitude, (length,))

        def merged(first: int, last: int, source: ReadRows) -> tuple[numpy.ndarray, numpy.ndarray]:
            weight = source(first, last)
            direction = delta_rows(first, last, source)
            direction *= numpy.float32(inner.scale)
            direction += weight
            return weight, direction

        if over_rows:

            def by_row(first: int, last: int, source: ReadRows) -> numpy.ndarray:
                weight, direction = merged(first, last, source)
                norms = numpy.sqrt(numpy.einsum("ij,ij->i", direction, direction))
                direction *= (magnitudes[first:last] / guarded(norms))[:, None]
                direction -= weight
                return direction

            return by_row

        squares = numpy.zeros(length, numpy.float64)
        step = max(1, PASS_ELEMENTS // max(1, inner.columns))
        for at in range(0, inner.rows, step):
            _, direction = merged(at, min(inner.rows, at + step), read)
            squares += numpy.square(direction, dtype=numpy.float64).reshape(len(direction), length, -1).sum(axis=(0, 2))
        factor = (magnitudes / guarded(numpy.sqrt(squares).astype(numpy.float32))).astype(numpy.float32)

        def by_column(first: int, last: int, source: ReadRows) -> numpy.ndarray:
            weight, direction = merged(first, last, source)
            shaped = direction.reshape(len(direction), length, -1)
            shaped *= factor[None, :, None]
            direction -= weight
            return direction

        return by_column

    return Adapter(inner.rows, inner.columns, f"DoRA on {inner.type}", 1.0, prepare)


def guarded(norms: numpy.ndarray) -> numpy.ndarray:
    """A row of zeros stays one."""
    return norms + numpy.finfo(numpy.float32).eps
