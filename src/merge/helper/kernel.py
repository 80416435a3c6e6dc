"""One thread's arithmetic: bytes → float32 → plus a matrix product → bytes, in buffers made once. numpy alone, or torch's conversions and
products where torch is there and the work is worth the 1.6 s of its import."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy

from halves import NUMPY_TYPES, Scratch, decode_into, encode_into
from safetensors_file import ITEM_BYTES

CHUNK_ELEMENTS = 256 * 1024  # smaller ones pay Python's overhead, larger ones leave the caches


EXPONENT = {"F16": 0x7C00, "BF16": 0x7F80}
"""All ones: infinity or NaN."""


class Kernel:
    chunk_elements = CHUNK_ELEMENTS

    def __init__(self) -> None:
        self.scratch = Scratch()
        self.bytes: dict[str, numpy.ndarray] = {}

    def raw(self, name: str, count: int, dtype: str) -> numpy.ndarray:
        """A buffer for `count` elements of a dtype, as flat bytes."""
        size = count * ITEM_BYTES[dtype]
        buffer = self.bytes.get(name)
        if buffer is None or len(buffer) < size:
            buffer = self.bytes[name] = numpy.empty(size, numpy.uint8)
        return buffer[:size]

    def floats(self, name: str, count: int) -> numpy.ndarray:
        return self.scratch.get(name, count)

    def decode(self, raw: numpy.ndarray, dtype: str, out: numpy.ndarray) -> None:
        decode_into(raw.view(NUMPY_TYPES[dtype]), dtype, out, self.scratch)

    def add_product(self, weights: numpy.ndarray, up: numpy.ndarray, down: numpy.ndarray) -> None:
        delta = self.floats("delta", weights.size).reshape(weights.shape)
        numpy.matmul(up, down, out=delta)
        numpy.add(weights, delta, out=weights)

    def encode(self, values: numpy.ndarray, dtype: str, raw: numpy.ndarray) -> bool:
        """False when the output may hold infinities or NaN. `values` may be used up, unless it is False."""
        return encode_into(values, dtype, raw.view(NUMPY_TYPES[dtype]), self.scratch)


class TorchKernel(Kernel):
    def __init__(self) -> None:
        super().__init__()
        import torch

        self.torch: Any = torch
        self.types = {"F16": (torch.float16, numpy.int16), "BF16": (torch.bfloat16, numpy.int16)}

    def decode(self, raw: numpy.ndarray, dtype: str, out: numpy.ndarray) -> None:
        if dtype not in self.types:
            return super().decode(raw, dtype, out)
        kind, plain = self.types[dtype]
        self.torch.from_numpy(out).copy_(self.torch.from_numpy(raw.view(plain)).view(kind))

    def add_product(self, weights: numpy.ndarray, up: numpy.ndarray, down: numpy.ndarray) -> None:
        self.torch.from_numpy(weights).addmm_(self.torch.from_numpy(up), self.torch.from_numpy(down))

    def encode(self, values: numpy.ndarray, dtype: str, raw: numpy.ndarray) -> bool:
        if dtype not in self.types:
            return super().encode(values, dtype, raw)
        kind, plain = self.types[dtype]
        bits = raw.view(plain)
        self.torch.from_numpy(bits).view(kind).copy_(self.torch.from_numpy(values))
        exponents = self.scratch.get("part", len(bits))
        numpy.bitwise_and(bits, EXPONENT[dtype], out=exponents)
        return int(exponents.max(initial=0)) != EXPONENT[dtype]


TORCH_PAYS_FROM = 10**9
"""Touched elements from which torch's faster conversions win back its import."""
TORCH_FITS_BELOW = 56 * 1024 * 1024
"""Resident bytes up to which torch's own 200 MB stay within the promise of 256: some thirty LoRAs."""


def name_kernel(wanted: str, touched: int) -> str:
    """numpy or torch, of `wanted`: auto, numpy or torch. Nothing is imported yet."""
    from importlib.util import find_spec

    if wanted != "auto":
        return wanted
    return "torch" if touched >= TORCH_PAYS_FROM and resident_bytes() < TORCH_FITS_BELOW and find_spec("torch") else "numpy"


def resident_bytes() -> int:
    """0 where there is no /proc."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def load_kernel(name: str, *, needed: bool) -> type[Kernel]:
    """May take seconds, to import torch. Where that fails numpy does, unless torch is `needed`."""
    if name == "numpy":
        return Kernel
    try:
        import torch

        torch.set_num_threads(1)
    except Exception:
        if needed:
            raise
        return Kernel
    return TorchKernel


def load_ahead(load: Callable[[], type[Kernel]]) -> None:
    """Imports torch beside whatever goes on. What fails now fails again where it is needed."""

    def run() -> None:
        with contextlib.suppress(Exception):
            load()

    threading.Thread(target=run, daemon=True).start()
