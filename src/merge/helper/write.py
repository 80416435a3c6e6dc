"""Fills the output's files: a few threads compute the segments, this thread copies what lies between."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy

from blend import Blend
from compute import Computer, Segment, Watch, Write
from kernel import Kernel
from output import copy_range, write_all
from safetensors_file import ITEM_BYTES, TensorFile
from shape import OutFile


@dataclass(slots=True)
class Span:
    """Bytes that go from input to output as they are."""

    source: TensorFile
    start: int
    target: int
    """Offset in the output's data."""
    size: int


@dataclass
class Job:
    file: OutFile
    segments: list[Segment]
    spans: list[Span]
    descriptor: int = -1
    data_start: int = 0


def plan_job(file: OutFile, segments: list[Segment]) -> Job:
    """What no segment covers is copied; neighbours in both files become one span."""
    by_tensor: dict[int, list[Segment]] = {}
    for segment in segments:
        by_tensor.setdefault(id(segment.out), []).append(segment)
    spans: list[Span] = []
    for tensor in file.tensors:
        row = tensor.size // max(1, tensor.last - tensor.first)
        at = tensor.first
        for first, last in [*((one.first, one.last) for one in by_tensor.get(id(tensor), [])), (tensor.last, tensor.last)]:
            size = (first - at) * row
            if size > 0:
                start, target = tensor.source.start + at * row, tensor.start + (at - tensor.first) * row
                before = spans[-1] if spans else None
                if before and before.source is tensor.source.file and before.start + before.size == start and before.target + before.size == target:
                    before.size += size
                else:
                    spans.append(Span(tensor.source.file, start, target, size))
            at = last
    return Job(file, segments, spans)


class WriteTo(Write):
    def __init__(self, job: Job, stop: threading.Event) -> None:
        self.job, self.stop = job, stop

    def __call__(self, raw: numpy.ndarray, offset: int) -> None:
        write_all(self.job.descriptor, memoryview(raw), self.job.data_start + offset)

    def stopped(self) -> bool:
        return self.stop.is_set()


READ_AHEAD_BYTES = 64 * 1024 * 1024


class Queue:
    """Segments in file order. What the next ones will read is asked of the disk ahead, so that a base that is not cached is read while others
    are computed."""

    def __init__(self, jobs: list[Job]) -> None:
        self.items = [(job, segment) for job in jobs for segment in job.segments]
        self.changed = threading.Condition()
        self.next = self.ahead = 0
        self.closed = False

    def take(self) -> tuple[Job, Segment] | None:
        with self.changed:
            if self.closed or self.next == len(self.items):
                return None
            job, segment = self.items[self.next]
            self.next += 1
            self.ahead -= read_bytes(segment)
            self.changed.notify()
            return job, segment

    def read_ahead(self) -> None:
        """A thread's own loop, until `close`."""
        for _, segment in self.items:
            size = read_bytes(segment)
            with self.changed:
                self.changed.wait_for(lambda: self.closed or self.ahead < READ_AHEAD_BYTES)
                if self.closed:
                    return
                self.ahead += size
            source = segment.out.source
            with contextlib.suppress(OSError):
                os.posix_fadvise(source.file.descriptor, source.start + segment.first * row_bytes(segment), size, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.changed.notify()


def row_bytes(segment: Segment) -> int:
    return segment.out.source.columns * ITEM_BYTES[segment.out.source.dtype]


def read_bytes(segment: Segment) -> int:
    return (segment.last - segment.first) * row_bytes(segment)


def fill(jobs: list[Job], blend: Blend, kernel: type[Kernel], *, threads: int, on_bytes: Callable[[int], None], stop: threading.Event) -> Watch:
    """The first failure of any thread is raised here."""
    queue = Queue(jobs)
    failures: list[BaseException] = []
    watch = Watch()

    def run() -> None:
        try:
            computer = Computer(kernel(), blend, watch)
            while not stop.is_set() and (item := queue.take()) is not None:
                job, segment = item
                computer.run(segment, WriteTo(job, stop))
                on_bytes(segment.size)
        except BaseException as error:
            failures.append(error)
            queue.close()

    workers = [threading.Thread(target=run, daemon=True) for _ in range(min(threads, len(queue.items)))]
    reader = threading.Thread(target=queue.read_ahead, daemon=True)
    for thread in (*workers, reader):
        thread.start()
    try:
        for job in jobs:
            for span in job.spans:
                at = 0
                while at < span.size and not stop.is_set() and not failures:
                    count = min(span.size - at, 64 * 1024 * 1024)
                    copy_range(span.source, span.start + at, job.descriptor, job.data_start + span.target + at, count)
                    on_bytes(count)
                    at += count
    except BaseException as error:
        failures.insert(0, error)
        queue.close()
    for worker in workers:
        while worker.is_alive():
            worker.join(0.5)
    queue.close()
    if failures:
        raise failures[0]
    return watch
