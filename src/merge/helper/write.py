"""Writes the merged file: header, untouched spans copied by the kernel, changed rows computed in float32 in small chunks by a few threads.
Memory stays at some MB for a checkpoint of any size. The file appears under its name only when it is whole."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import queue
import struct
import threading
from collections.abc import Callable

import numpy

from halves import decode, encode
from plan import Segment
from refusal import Refusal
from safetensors_file import SafetensorsFile

CHUNK_ELEMENTS = 512 * 1024  # smaller ones pay Python's overhead, larger ones leave the second-level cache
COPY_BYTES = 64 * 1024 * 1024


class Output:
    """A temporary neighbour of the final file; `commit` gives it its name."""

    def __init__(self, path: str, base: SafetensorsFile, metadata: dict[str, str]) -> None:
        self.path = path
        self.base = base
        self.header = build_header(base, metadata)
        self.data_start = len(self.header)
        self.size = self.data_start + base.size - base.data_start
        self.temporary = f"{path}.tmp-{os.getpid()}"
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        self.descriptor = os.open(self.temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.posix_fallocate(self.descriptor, 0, self.size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                free = os.statvfs(os.path.dirname(path) or ".")
                self.discard()
                raise Refusal(f"{path} needs {self.size} bytes, the disk has {free.f_bavail * free.f_frsize} free") from error

    def write(self, raw: bytes | memoryview, offset: int) -> None:
        view = memoryview(raw)
        while len(view) > 0:
            written = os.pwrite(self.descriptor, view, offset)
            view = view[written:]
            offset += written

    def copy(self, start: int, end: int) -> None:
        """Bytes from..to of the data, from the base file."""
        source, target = self.base.data_start + start, self.data_start + start
        left = end - start
        while left > 0:
            count = self.copy_some(source, target, min(left, COPY_BYTES))
            if count == 0:
                raise Refusal(f"{self.base.path} became shorter while it was read")
            source, target, left = source + count, target + count, left - count

    def copy_some(self, source: int, target: int, count: int) -> int:
        try:
            return os.copy_file_range(self.base.descriptor, self.descriptor, count, source, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM):
                raise
        raw = os.pread(self.base.descriptor, min(count, 4 * 1024 * 1024), source)
        self.write(raw, target)
        return len(raw)

    def commit(self, metadata: dict[str, str]) -> None:
        """Writes the header for good (its hashes are known only now) and puts the file in its place."""
        header = build_header(self.base, metadata)
        if len(header) != len(self.header):
            raise AssertionError("the header changed its length")
        self.write(header, 0)
        os.fsync(self.descriptor)
        os.close(self.descriptor)
        os.rename(self.temporary, self.path)
        folder = os.open(os.path.dirname(self.path) or ".", os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.temporary)


def build_header(base: SafetensorsFile, metadata: dict[str, str]) -> bytes:
    tensors = {one.name: {"dtype": one.dtype, "shape": list(one.shape), "data_offsets": [one.start, one.start + one.size]} for one in base.tensors.values()}
    text = json.dumps({"__metadata__": metadata, **tensors}, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def write_segments(output: Output, segments: list[Segment], *, threads: int, on_bytes: Callable[[int], None], stop: threading.Event) -> bool:
    """Fills the file. Returns whether any weight really changed. The first failure of any thread is raised here."""
    work: queue.SimpleQueue[Segment] = queue.SimpleQueue()
    for segment in segments:
        work.put(segment)
    failures: list[BaseException] = []
    changed = threading.Event()

    def run() -> None:
        while not stop.is_set() and not failures:
            try:
                segment = work.get_nowait()
            except queue.Empty:
                return
            try:
                if compute(output, segment, stop):
                    changed.set()
                on_bytes(segment.size)
            except BaseException as error:
                failures.append(error)

    workers = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    at = 0
    for segment in [*segments, None]:
        end = output.base.size - output.base.data_start if segment is None else segment.start
        if end > at and not stop.is_set() and not failures:
            output.copy(at, end)
            on_bytes(end - at)
        at = end if segment is None else segment.start + segment.size
    for worker in workers:
        while worker.is_alive():
            worker.join(0.5)
    if failures:
        raise failures[0]
    return changed.is_set()


def compute(output: Output, segment: Segment, stop: threading.Event) -> bool:
    tensor = segment.tensor
    up, down = factors(segment)
    if not (up.any() and down.any()):
        output.copy(segment.start, segment.start + segment.size)
        return False
    rows = max(1, CHUNK_ELEMENTS // max(1, tensor.columns))
    base = output.base
    raw = bytearray(min(rows, segment.last - segment.first) * segment.row_bytes)
    delta = numpy.empty((min(rows, segment.last - segment.first), tensor.columns), numpy.float32)
    for first in range(segment.first, segment.last, rows):
        if stop.is_set():
            break
        count = min(rows, segment.last - first)
        view = memoryview(raw)[: count * segment.row_bytes]
        offset = tensor.start + first * segment.row_bytes
        if os.preadv(base.descriptor, [view], base.data_start + offset) != len(view):
            raise Refusal(f"{base.path} became shorter while it was read")
        weights = decode(view, tensor.dtype)
        numpy.matmul(up[first - segment.first : first - segment.first + count], down, out=delta[:count])
        weights += delta[:count].reshape(-1)
        merged = encode(weights, tensor.dtype)
        refuse_overflow(merged, weights, tensor.name, tensor.dtype)
        output.write(memoryview(merged).cast("B"), output.data_start + offset)
    return True


def factors(segment: Segment) -> tuple[numpy.ndarray, numpy.ndarray]:
    """All changes as one product: U = [s1·U1, s2·U2 …], D = [D1; D2 …]; so there is one rounding however many LoRAs there are."""
    ups, downs = [], []
    for change in segment.changes:
        up, down = change.lora.factors(change.module)
        ups.append(up[segment.first - change.target.first : segment.last - change.target.first] * numpy.float32(change.scale))
        downs.append(down)
    return numpy.ascontiguousarray(numpy.concatenate(ups, axis=1)), numpy.concatenate(downs, axis=0)


def refuse_overflow(merged: numpy.ndarray, weights: numpy.ndarray, name: str, dtype: str) -> None:
    if dtype == "F16" and not numpy.isfinite(weights).all():
        return  # the base itself holds inf or NaN there; they stay
    if dtype == "F16" and numpy.isinf(merged).any():
        raise Refusal(f"{name} would overflow float16 (|weight| up to {float(numpy.abs(weights).max()):.0f})", hint="Use a smaller strength.")
