"""A factor of an adapter, read from its file when it is needed: as float32, whole or by rows, and refused when it is not finite."""

from __future__ import annotations

import struct

import numpy

from halves import decode
from refusal import Refusal
from safetensors_file import ITEM_BYTES, Tensor, read_exactly


def load(tensor: Tensor, shape: tuple[int, ...] | None = None) -> numpy.ndarray:
    return finite(tensor, decode(tensor.read(), tensor.dtype).reshape(tensor.shape if shape is None else shape))


WHOLE_NUMBERS = {"I8": "<b", "U8": "<B", "I16": "<h", "U16": "<H", "I32": "<i", "U32": "<I", "I64": "<q", "U64": "<Q"}
SCALARS = {**WHOLE_NUMBERS, "F16": "<e", "F32": "<f", "F64": "<d"}


def number(tensor: Tensor) -> float:
    """A scalar of any dtype: some trainers store alpha as an integer. There are a thousand in a LoRA, so no arrays are made for them."""
    raw = tensor.read()
    layout = SCALARS.get(tensor.dtype)
    return float(decode(raw, tensor.dtype)[0] if layout is None else struct.unpack(layout, raw)[0])


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
