"""--dry-run's guess at the time: a moment of the real arithmetic on this machine, and a common disk."""

from __future__ import annotations

import time

import numpy

from kernel import CHUNK_ELEMENTS, Kernel
from write import Job

DISK_BYTES_PER_SECOND = 1_200_000_000
COLUMNS = 1280


def estimate_ms(jobs: list[Job], kernel: type[Kernel], threads: int) -> int:
    elements = sum((one.last - one.first) * one.out.source.columns for job in jobs for one in job.segments)
    products = sum((one.last - one.first) * one.out.source.columns * change.rank for job in jobs for one in job.segments for change in one.changes)
    each, flop = measure(kernel()) if elements else (0.0, 0.0)
    compute = (elements * each + products * flop) / max(1, threads)
    disk = 2 * sum(job.file.data_bytes for job in jobs) / DISK_BYTES_PER_SECOND
    return round(1000 * (max(compute, disk / 2) + disk / 4 + 0.2))


def measure(kernel: Kernel) -> tuple[float, float]:
    """(seconds for an element's conversions and sum, seconds for an element and a rank)."""
    rows = CHUNK_ELEMENTS // COLUMNS
    count = rows * COLUMNS
    raw = kernel.raw("in", count, "F16")
    raw[:] = 0x11
    delta, out = kernel.floats("delta", count), kernel.raw("out", count, "F16")
    up, down = numpy.full((rows, 32), 0.01, numpy.float32), numpy.full((32, COLUMNS), 0.01, numpy.float32)
    best = [1.0, 1.0]
    for _ in range(3):
        began = time.perf_counter()
        numpy.matmul(up, down, out=delta.reshape(rows, COLUMNS))
        middle = time.perf_counter()
        kernel.add(raw, "F16", delta, out)
        best = [min(best[0], time.perf_counter() - middle), min(best[1], middle - began)]
    return best[0] / count, best[1] / count / 32
