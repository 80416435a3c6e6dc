"""Conversions that numpy has as scalar software only, as machine code: five times as fast, and the interpreter's lock is free meanwhile. The code
is in native_code.py, for x86-64 with AVX2 and F16C and for 64-bit ARM; where it cannot be had, numpy does it (halves.py)."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Callable
from functools import cache

import numpy

from native_code import MACHINES

Function = Callable[..., int]
"""(address read, address written, count), for a sum (address read, address added, address written, count) → not 0 when some bits may not be
numpy's: x86_64.s tells."""

STEP = 16
"""A count is a multiple of it, and not 0."""


@cache
def functions() -> dict[str, Function] | None:
    """By name; None where this machine, or what guards it, does not allow them."""
    needed, offsets, text = MACHINES.get(os.uname().machine, ((), {}, ""))
    if not text or sys.maxsize < 2**32 or not set(needed) <= cpu_flags():
        return None
    start = map_code(bytes.fromhex(text))
    return {name: function_at(start + offset, 2 if name.endswith("_add") else 1) for name, offset in offsets.items()} if start else None


def function_at(address: int, inputs: int) -> Function:
    return ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * (inputs + 1), ctypes.c_size_t)(address)


def cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next((set(line.partition(":")[2].split()) for line in file if line.startswith(("flags", "Features"))), set())
    except OSError:
        return set()


def map_code(code: bytes) -> int | None:
    """The address, for this process's life. A file's pages, as a library's are: no memory is ever writable and executable."""
    try:
        descriptor = os.memfd_create("fettle-merge")
    except (OSError, AttributeError):  # an older kernel, or a sandbox
        return None
    try:
        os.write(descriptor, code)
        region = mmap.mmap(descriptor, len(code), mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_EXEC)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    view = numpy.frombuffer(region, numpy.uint8)
    mapped.append(view)
    return int(view.ctypes.data)


mapped: list[numpy.ndarray] = []
"""Keeps the pages."""
