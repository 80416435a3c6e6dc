"""Reads safetensors headers without trusting them. Tensor bytes are read by pread where they are needed, never mapped or held whole:
mapped pages would count as this process's memory, and a checkpoint has 7 to 24 GB."""

from __future__ import annotations

import json
import math
import os
import struct
from dataclasses import dataclass, field
from typing import Any

from refusal import Refusal

MAX_HEADER_BYTES = 100_000_000
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    """Offset from the beginning of the data, not of the file."""
    size: int

    @property
    def rows(self) -> int:
        return self.shape[0] if self.shape else 1

    @property
    def columns(self) -> int:
        return math.prod(self.shape[1:])


@dataclass
class SafetensorsFile:
    path: str
    descriptor: int
    data_start: int
    size: int
    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)

    def read(self, tensor: Tensor) -> bytes:
        return read_exactly(self.descriptor, tensor.size, self.data_start + tensor.start, self.path)


def read_exactly(descriptor: int, size: int, offset: int, path: str) -> bytes:
    parts: list[bytes] = []
    while size > 0:
        part = os.pread(descriptor, size, offset)
        if not part:
            raise Refusal(f"{path} became shorter while it was read")
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def open_safetensors(path: str) -> SafetensorsFile:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        size = os.fstat(descriptor).st_size
        if not os.path.isfile(path):
            raise Refusal(f"{path} is not a regular file")
    except OSError as error:
        raise Refusal(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if size < 8:
        raise Refusal(f"{path} is not a safetensors file: it has {size} bytes")
    (length,) = struct.unpack("<Q", read_exactly(descriptor, 8, 0, path))
    if length > min(MAX_HEADER_BYTES, size - 8):
        hint = "A .ckpt or .pt file is a pickle, which can run code when it is loaded; convert it to safetensors first."
        raise Refusal(f"{path} is not a safetensors file: its header would have {length} bytes", hint=hint)
    header = parse_header(read_exactly(descriptor, length, 8, path), path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise Refusal(f"{path} has a wrong header: __metadata__ must hold texts only")
    tensors = {name: parse_tensor(name, value, path) for name, value in header.items()}
    check_layout(tensors, size - 8 - length, path)
    return SafetensorsFile(path, descriptor, 8 + length, size, tensors, metadata)


def parse_header(raw: bytes, path: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a name stands twice")
        return result

    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{path} has a wrong header: {str(error)[:200]}") from error
    if not isinstance(header, dict):
        raise Refusal(f"{path} has a wrong header: it is not a JSON object")
    return header


def parse_tensor(name: str, value: Any, path: str) -> Tensor:
    def wrong(what: str) -> Refusal:
        return Refusal(f"{path} has a wrong header: tensor {name[:200]} {what}")

    if not isinstance(value, dict):
        raise wrong("is not an object")
    dtype, shape, offsets = value.get("dtype"), value.get("shape"), value.get("data_offsets")
    if dtype not in ITEM_BYTES:
        raise wrong(f"has the unknown dtype {str(dtype)[:40]}")
    if not is_count_list(shape) or len(shape) > 8:
        raise wrong("has a wrong shape")
    if not is_count_list(offsets) or len(offsets) != 2:
        raise wrong("has wrong offsets")
    start, end = offsets
    if end - start != math.prod(shape) * ITEM_BYTES[dtype]:
        raise wrong(f"has {end - start} bytes, its shape and dtype say {math.prod(shape) * ITEM_BYTES[dtype]}")
    return Tensor(name, dtype, tuple(shape), start, end - start)


def is_count_list(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int and 0 <= one < 2**48 for one in value)


def check_layout(tensors: dict[str, Tensor], data_size: int, path: str) -> None:
    """The format allows neither holes nor overlaps: two tensors on the same bytes would be merged twice."""
    at = 0
    for tensor in sorted(tensors.values(), key=lambda one: (one.start, one.size)):
        if tensor.start != at:
            raise Refusal(f"{path} has a wrong header: tensor {tensor.name[:200]} begins at {tensor.start}, expected {at}")
        at += tensor.size
    if at != data_size:
        raise Refusal(f"{path} is cut short or has bytes behind its tensors: {data_size} bytes of data, its header says {at}")
