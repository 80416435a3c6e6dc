"""The weights before any LoRA: the base's own, or a weighted sum of checkpoints (W = w·base + Σ w_i·T_i). A sum of two models has weights that
make 1; "add difference" A + m·(B − C) is the base with the terms m·B and −m·C."""

from __future__ import annotations

from collections.abc import Callable

import numpy

from aliases import Place
from halves import FLOATS, decode
from model import Model
from refusal import Refusal
from safetensors_file import ITEM_BYTES, Tensor, read_exactly


class Blend:
    def __init__(self, base: Model, base_weight: float, terms: list[tuple[Model, float]]) -> None:
        self.base_weight = numpy.float32(base_weight)
        self.others: dict[Tensor, list[tuple[Tensor, numpy.float32]]] = {}
        self.alone = 0
        """Floating-point tensors that some term lacks: they stay the base's own."""
        for name, tensor in base.tensors.items() if terms else ():
            if tensor.dtype not in FLOATS:
                continue
            found = [(model.tensors.get(name), weight) for model, weight in terms]
            if any(one is None for one, _ in found):
                self.alone += 1
                continue
            for (model, _), (one, _) in zip(terms, found, strict=True):
                if one is not None and (one.shape != tensor.shape or one.dtype not in FLOATS):
                    reason = f"{model.path} does not fit {base.path}: {name} is {list(one.shape)} in one and {list(tensor.shape)} in the other"
                    raise Refusal(reason, hint="Only models of one kind can be added.", code="merge.no-match")
            self.others[tensor] = [(one, numpy.float32(weight)) for one, weight in found if one is not None]
        if terms and not self.others:
            reason = f"{base.path} has no tensor that all checkpoints of the sum have"
            raise Refusal(reason, hint="Only models of one kind can be added.", code="merge.no-match")

    def mixes(self, tensor: Tensor) -> bool:
        return tensor in self.others

    def add_terms(self, tensor: Tensor, first: int, last: int, weights: numpy.ndarray) -> None:
        """Turns the base's own rows (flat float32) into the sum, in place."""
        others = self.others.get(tensor)
        if others is None:
            return
        numpy.multiply(weights, self.base_weight, out=weights)
        for other, weight in others:
            part = raw_rows(other, first, last)
            part *= weight
            weights += part

    def rows(self, tensor: Tensor, first: int, last: int) -> numpy.ndarray:
        """A new [rows, columns]."""
        weights = raw_rows(tensor, first, last)
        self.add_terms(tensor, first, last, weights)
        return weights.reshape(last - first, tensor.columns)

    def reader(self, places: tuple[Place, ...]) -> Callable[[int, int], numpy.ndarray]:
        """Rows of a module, wherever they lie."""
        if places[0].transposed:
            whole = self.rows(places[0].tensor, places[0].first, places[0].last).T
            return lambda first, last: numpy.ascontiguousarray(whole[first:last])

        def read(first: int, last: int) -> numpy.ndarray:
            parts = []
            for place in sorted(places, key=lambda one: one.module_first):
                begin = max(first, place.module_first)
                end = min(last, place.module_first + place.last - place.first)
                if begin < end:
                    offset = place.first - place.module_first
                    parts.append(self.rows(place.tensor, begin + offset, end + offset))
            return parts[0] if len(parts) == 1 else numpy.concatenate(parts)

        return read


def raw_rows(tensor: Tensor, first: int, last: int) -> numpy.ndarray:
    row_bytes = tensor.columns * ITEM_BYTES[tensor.dtype]
    return decode(read_exactly(tensor.file, (last - first) * row_bytes, tensor.start + first * row_bytes), tensor.dtype)
