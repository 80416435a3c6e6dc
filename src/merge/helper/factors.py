"""A factor of an adapter, read from its file when it is needed: as float32, whole or by rows, and refused when it is not finite."""

from __future__ import annotations

import numpy

from halves import decode
from refusal import Refusal
from safetensors_file import ITEM_BYTES, Tensor, read_exactly


def load(tensor: Tensor, shape: tuple[int, ...] | None = None) -> numpy.ndarray:
    return finite(tensor, decode(tensor.read(), tensor.dtype).reshape(tensor.shape if shape is None else shape))


WHOLE_NUMBERS = {"I8": "i1", "U8": "u1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8", "U64": "<u8"}


def number(tensor: Tensor) -> float:
    """A scalar of any dtype: some trainers store alpha as an integer."""
    if tensor.dtype in WHOLE_NUMBERS:
        return float(numpy.frombuffer(tensor.read(), WHOLE_NUMBERS[tensor.dtype])[0])
    return float(decode(tensor.read(), tensor.dtype)[0])


def load_matrix(tensor: Tensor) -> numpy.ndarray:
    """[rows, everything else]."""
    return load(tensor, (tensor.rows, tensor.columns))


def load_rows(tensor: Tensor, first: int, last: int) -> numpy.ndarray:
    row_bytes = tensor.columns * ITEM_BYTES[tensor.dtype]
    raw = read_exactly(tensor.file, (last - first) * row_bytes, tensor.start + first * row_bytes)
    return finite(tensor, decode(raw, tensor.dtype).reshape(last - first, tensor.columns))


def finite(tensor: Tensor, values: numpy.ndarray) -> numpy.ndarray:
    """A value that is not finite would spread over the whole row."""
    if not numpy.isfinite(values).all():
        raise Refusal(f"{tensor.file.path} holds NaN or infinite values in {tensor.name}", code="merge.invalid-input")
    return values
