"""Reads a .ckpt (a torch pickle in a zip) without torch and without running anything in it: the unpickler knows the five names that tensors
are made of and refuses a file that asks for another that makes objects; what trainers leave beside the weights becomes an inert placeholder.
Tensor bytes lie uncompressed in the zip and are read from there like those of a safetensors file."""

from __future__ import annotations

import io
import math
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from refusal import Refusal
from safetensors_file import Tensor, TensorFile, open_regular

UNSAFE = "merge.unsafe-pickle"
MAX_PICKLE_BYTES = 100_000_000
MAX_TENSORS = 100_000
STORAGES = {
    "HalfStorage": ("F16", 2), "BFloat16Storage": ("BF16", 2), "FloatStorage": ("F32", 4), "DoubleStorage": ("F64", 8), "LongStorage": ("I64", 8),
    "IntStorage": ("I32", 4), "ShortStorage": ("I16", 2), "CharStorage": ("I8", 1), "ByteStorage": ("U8", 1), "BoolStorage": ("BOOL", 1),
}  # fmt: skip
# Classes that training frameworks leave in a checkpoint beside the weights. Nothing of them is imported.
INERT = ("pytorch_lightning.", "lightning.", "lightning_fabric.", "omegaconf.", "numpy.", "torch.optim.", "torch.Size", "torch.device", "torch.dtype")
INERT_BUILTINS = {f"builtins.{name}" for name in ("set", "frozenset", "list", "dict", "int", "float", "str", "bool", "complex", "slice", "bytearray")}


@dataclass
class Storage:
    kind: str
    item: int
    key: str
    count: int


@dataclass
class Piece:
    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Inert:
    """Stands for an object that is not made."""

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        return object.__new__(cls)

    def __call__(self, *_: Any, **__: Any) -> Inert:
        return self

    def __setstate__(self, _: Any) -> None: ...

    def append(self, _: Any) -> None: ...

    def extend(self, _: Any) -> None: ...

    def __setitem__(self, _: Any, __: Any) -> None: ...


def rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Any:
    if not isinstance(storage, Storage):
        return Inert()
    return Piece(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


def rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


class Reader(pickle.Unpickler):
    def __init__(self, raw: bytes, path: str) -> None:
        super().__init__(io.BytesIO(raw), encoding="utf-8")
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full == "collections.OrderedDict":
            return OrderedDict
        if full in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
            return rebuild_tensor
        if full == "torch._utils._rebuild_parameter":
            return rebuild_parameter
        if module in ("torch", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        if full.startswith(INERT) or full in INERT_BUILTINS:
            return Inert
        reason = f"{self.path} is a pickle that asks for {full[:120]}, which no model needs: loading it with torch could run code"
        raise Refusal(reason, hint="Do not load this file anywhere; get the safetensors version.", code=UNSAFE)

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], tuple):
            raise Refusal(f"{self.path} has a storage that cannot be read", code=UNSAFE)
        kind, item = pid[1]
        return Storage(kind, item, str(pid[2]), int(pid[4]))


def open_pickle(path: str) -> TensorFile:
    file = open_regular(path)
    try:
        with zipfile.ZipFile(os.fdopen(os.dup(file.descriptor), "rb")) as archive:
            entries = {one.filename: one for one in archive.infolist()}
            (inner,) = [name for name in entries if name.endswith("/data.pkl") or name == "data.pkl"] or [""]
            if not inner:
                raise Refusal(f"{path} is a zip without a model in it", code=UNSAFE)
            if entries[inner].file_size > MAX_PICKLE_BYTES:
                raise Refusal(f"{path} has a pickle of {entries[inner].file_size} bytes", code=UNSAFE)
            root = Reader(archive.read(inner), path).load()
    except Refusal:
        raise
    except zipfile.BadZipFile as error:
        reason = f"{path} is no zip of the kind that torch has written since 1.6"
        raise Refusal(reason, hint="Old pickles are not read; convert it to safetensors.", code=UNSAFE) from error
    except Exception as error:
        raise Refusal(f"{path} cannot be read as a model: {type(error).__name__}: {str(error)[:150]}", code=UNSAFE) from error
    folder = inner.removesuffix("data.pkl")
    starts = {}
    for name, entry in entries.items():
        if name.startswith(f"{folder}data/") and entry.compress_type == zipfile.ZIP_STORED:
            starts[name.removeprefix(f"{folder}data/")] = (data_offset(file, entry), entry.file_size)
    for name, value in state_of(root).items():
        if isinstance(name, str) and isinstance(value, Piece):
            file.tensors[name] = to_tensor(file, name, value, starts)
    if not file.tensors or len(file.tensors) > MAX_TENSORS:
        raise Refusal(f"{path} holds {len(file.tensors)} tensors", code=UNSAFE)
    return file


def state_of(root: Any) -> dict[Any, Any]:
    for key in ("state_dict", "model"):
        if isinstance(root, dict) and isinstance(root.get(key), dict):
            return root[key]
    return root if isinstance(root, dict) else {}


def data_offset(file: TensorFile, entry: zipfile.ZipInfo) -> int:
    """The central directory does not say how long the entry's own header is."""
    header = os.pread(file.descriptor, 30, entry.header_offset)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise Refusal(f"{file.path} is a damaged zip", code=UNSAFE)
    name, extra = struct.unpack("<HH", header[26:30])
    return entry.header_offset + 30 + name + extra


def to_tensor(file: TensorFile, name: str, piece: Piece, starts: dict[str, tuple[int, int]]) -> Tensor:
    storage = piece.storage
    place = starts.get(storage.key)
    expected, stride = [], 1
    for length in reversed(piece.shape):
        expected.insert(0, stride)
        stride *= length
    dense = all(own == wanted or length == 1 for own, wanted, length in zip(piece.stride, expected, piece.shape, strict=False))
    end = (piece.offset + math.prod(piece.shape)) * storage.item
    if place is None or not dense or len(piece.stride) != len(piece.shape) or piece.offset < 0 or min(piece.shape, default=1) < 0 or end > place[1]:
        raise Refusal(f"{file.path}: the tensor {name[:200]} cannot be read ({'not contiguous' if not dense else 'outside its storage'})", code=UNSAFE)
    if place[0] + end > file.size:
        raise cut_off(file)
    return Tensor(file, name, storage.kind, piece.shape, place[0] + piece.offset * storage.item)


def cut_off(file: TensorFile) -> Refusal:
    return Refusal(f"{file.path} is cut short", code=UNSAFE)
