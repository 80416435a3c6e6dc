"""The files that will be written: which tensors stand where, under which names, and from which rows of which input each comes."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from halves import FLOATS
from safetensors_file import ITEM_BYTES, Tensor


@dataclass(slots=True, eq=False)
class OutTensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    source: Tensor
    first: int
    last: int
    transposed: bool = False
    start: int = 0
    """Offset in the file's data."""

    @property
    def size(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]

    @property
    def is_copy(self) -> bool:
        return self.dtype == self.source.dtype and not self.transposed


@dataclass
class OutFile:
    path: str
    """Of the file itself, or inside the output folder."""
    tensors: list[OutTensor]
    """In the order of their bytes; neighbours of one name are parts of one tensor, rows after rows."""
    metadata: dict[str, str] = field(default_factory=dict)

    def place(self) -> None:
        at = 0
        for tensor in self.tensors:
            tensor.start = at
            at += tensor.size

    @property
    def count(self) -> int:
        """Of tensors as a reader of the file sees them."""
        return len({one.name for one in self.tensors})

    @property
    def data_bytes(self) -> int:
        return sum(one.size for one in self.tensors)

    def header(self) -> bytes:
        entries: dict[str, dict[str, Any]] = {}
        for name, parts in parts_by_name(self.tensors):
            first, last = parts[0], parts[-1]
            shape = [sum(one.shape[0] for one in parts), *first.shape[1:]] if len(parts) > 1 else list(first.shape)
            entries[name] = {"dtype": first.dtype, "shape": shape, "data_offsets": [first.start, last.start + last.size]}
        metadata = {"__metadata__": self.metadata} if self.metadata else {}
        text = json.dumps({**metadata, **entries}, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text


def out_dtype(tensor: Tensor, wanted: str | None, *, denoiser: bool) -> str:
    """fp8 is a format to store the denoiser's matrices in; vectors and the rest keep their own dtype."""
    if wanted is None or tensor.dtype not in FLOATS:
        return tensor.dtype
    if wanted.startswith("F8") and not (denoiser and len(tensor.shape) >= 2):
        return tensor.dtype
    return wanted


def whole(name: str, tensor: Tensor, dtype: str) -> OutTensor:
    return OutTensor(name, dtype, tensor.shape, tensor, 0, tensor.rows)


def rows_of(name: str, tensor: Tensor, dtype: str, first: int, last: int, *, swapped: bool = False) -> list[OutTensor]:
    """Rows first…last as a tensor of their own; `swapped`: their second half before the first, as two parts of one name."""
    middle = (first + last) // 2
    ranges = [(middle, last), (first, middle)] if swapped else [(first, last)]
    return [OutTensor(name, dtype, (end - begin, *tensor.shape[1:]), tensor, begin, end) for begin, end in ranges]


def parts_by_name(tensors: list[OutTensor]) -> list[tuple[str, list[OutTensor]]]:
    return [(name, list(parts)) for name, parts in groupby(tensors, key=lambda one: one.name)]


def same_layout(tensors: dict[str, Tensor], dtype: str | None, prefixes: tuple[str, ...]) -> list[OutTensor]:
    """A single file's tensors in their own order; `prefixes` begin the denoiser's names."""
    return [whole(name, tensor, out_dtype(tensor, dtype, denoiser=name.startswith(prefixes))) for name, tensor in tensors.items()]


def shard(path: str, stem: str, extension: str, tensors: list[OutTensor], limit: int) -> tuple[list[OutFile], dict[str, object] | None]:
    """One file, or several below the limit with the index that names them."""
    groups: list[list[OutTensor]] = [[]]
    size = 0
    for _, parts in parts_by_name(tensors):
        own = sum(one.size for one in parts)
        if groups[-1] and size + own > limit:
            groups.append([])
            size = 0
        groups[-1] += parts
        size += own
    if len(groups) == 1:
        return [OutFile(f"{path}/{stem}{extension}", tensors)], None
    files = [OutFile(f"{path}/{stem}-{number:05}-of-{len(groups):05}{extension}", group) for number, group in enumerate(groups, 1)]
    weight_map = {tensor.name: file.path.rpartition("/")[2] for file in files for tensor in file.tensors}
    return files, {"metadata": {"total_size": sum(one.size for one in tensors)}, "weight_map": weight_map}
