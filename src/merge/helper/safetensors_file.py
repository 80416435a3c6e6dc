"""Reads safetensors headers without trusting them. Tensor bytes are read by pread where they are needed, never mapped or held whole:
mapped pages would count as this process's memory, and a checkpoint has 7 to 24 GB."""

from __future__ import annotations

import json
import math
import os
import struct
import sys
from dataclasses import dataclass, field
from typing import Any

from refusal import Refusal, system_refusal

MAX_HEADER_BYTES = 100_000_000
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8,
}  # fmt: skip
INVALID = "merge.invalid-input"


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    file: TensorFile
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    """Offset in the file."""

    @property
    def rows(self) -> int:
        return self.shape[0] if self.shape else 1

    @property
    def columns(self) -> int:
        return math.prod(self.shape[1:])

    @property
    def size(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]

    def read(self) -> bytes:
        return read_exactly(self.file, self.size, self.start)


@dataclass(slots=True)
class TensorFile:
    """An open file and where its tensors lie in it; of a safetensors file or of a pickle."""

    path: str
    descriptor: int
    size: int
    tensors: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    header_bytes: int = 0


def read_exactly(file: TensorFile, size: int, offset: int) -> bytes:
    parts: list[bytes] = []
    while size > 0:
        part = os.pread(file.descriptor, size, offset)
        if not part:
            raise cut_short(file)
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_into(file: TensorFile, view: memoryview, offset: int) -> None:
    while len(view) > 0:
        count = os.preadv(file.descriptor, [view], offset)
        if count == 0:
            raise cut_short(file)
        view = view[count:]
        offset += count


def cut_short(file: TensorFile) -> Refusal:
    return Refusal(f"{file.path} became shorter while it was read", code=INVALID)


def open_regular(path: str) -> TensorFile:
    try:
        # Without O_NONBLOCK a named pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if not os.path.isfile(path):
            raise Refusal(f"{path} is not a regular file", code=INVALID)
        return TensorFile(path, descriptor, os.fstat(descriptor).st_size)
    except OSError as error:
        raise Refusal(str(system_refusal(error, path)), code=INVALID, hint="Check the path.") from error


def open_safetensors(path: str) -> TensorFile:
    file = open_regular(path)
    if file.size < 8:
        raise Refusal(f"{path} is not a safetensors file: it has {file.size} bytes", code=INVALID)
    (length,) = struct.unpack("<Q", read_exactly(file, 8, 0))
    if length > min(MAX_HEADER_BYTES, file.size - 8):
        raise Refusal(f"{path} is not a safetensors file: its header would have {length} bytes", hint=hint_for(file), code=INVALID)
    header = parse_header(read_exactly(file, length, 8), path)
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise Refusal(f"{path} has a wrong header: __metadata__ must hold texts only", code=INVALID)
    file.metadata = metadata
    file.header_bytes = 8 + length
    # Taken out one by one: the JSON of 3000 tensors and their objects need not be there at once.
    while header:
        name, value = header.popitem()
        file.tensors[name] = parse_tensor(file, name, value)
    file.tensors = dict(sorted(file.tensors.items(), key=lambda item: (item[1].start, item[1].size)))
    check_layout(file)
    return file


def hint_for(file: TensorFile) -> str:
    start = read_exactly(file, min(64, file.size), 0).lstrip()
    if start.startswith((b"<!DOCTYPE", b"<!doctype", b"<html", b"{")):
        return "It is a web page or an error message, not a model: download it again, with a token if it needs one."
    if start.startswith(b"version https://git-lfs"):
        return "It is a Git LFS pointer: run `git lfs pull`, or download the file itself."
    return "A .ckpt or .pt file is read when its name says so; anything else must be safetensors."


def parse_header(raw: bytes, path: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a name stands twice")
        return result

    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{path} has a wrong header: {str(error)[:200]}", code=INVALID) from error
    if not isinstance(header, dict):
        raise Refusal(f"{path} has a wrong header: it is not a JSON object", code=INVALID)
    return header


def parse_tensor(file: TensorFile, name: str, value: Any) -> Tensor:
    def wrong(what: str) -> Refusal:
        return Refusal(f"{file.path} has a wrong header: tensor {name[:200]!r} {what}", code=INVALID)

    if not isinstance(value, dict):
        raise wrong("is not an object")
    dtype, shape, offsets = value.get("dtype"), value.get("shape"), value.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise wrong(f"has the unknown dtype {str(dtype)[:40]}")
    if not is_count_list(shape) or len(shape) > 8:
        raise wrong("has a wrong shape")
    if not is_count_list(offsets) or len(offsets) != 2:
        raise wrong("has wrong offsets")
    start, end = offsets
    if end - start != math.prod(shape) * ITEM_BYTES[dtype]:
        raise wrong(f"has {end - start} bytes, its shape and dtype say {math.prod(shape) * ITEM_BYTES[dtype]}")
    return Tensor(file, name, sys.intern(dtype), tuple(shape), file.header_bytes + start)


def is_count_list(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int and 0 <= one < 2**48 for one in value)


def check_layout(file: TensorFile) -> None:
    """The format allows neither holes nor overlaps: two tensors on the same bytes would be merged twice."""
    at = file.header_bytes
    for tensor in file.tensors.values():
        if tensor.start != at:
            reason = f"tensor {tensor.name[:200]!r} begins at {tensor.start - file.header_bytes}, expected {at - file.header_bytes}"
            raise Refusal(f"{file.path} has a wrong header: {reason}", code=INVALID)
        at += tensor.size
    if at != file.size:
        has, says = file.size - file.header_bytes, at - file.header_bytes
        raise Refusal(f"{file.path} is cut short or has bytes behind its tensors: {has} bytes of data, its header says {says}", code=INVALID)
