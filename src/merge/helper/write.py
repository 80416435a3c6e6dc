"""Fills the output's files: a few workers compute the segments, this thread copies what lies between."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy

from blend import Blend
from compute import Segment, Watch, Write
from output import copy_range, write_all
from safetensors_file import ITEM_BYTES, TensorFile
from shape import OutFile
from workers import LoadKernel, Work, Worker, hire


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
    """Numbers of segments in file order. What the next ones will read is asked of the disk ahead, so that a base that is not cached is read while
    others are computed."""

    def __init__(self, segments: list[Segment]) -> None:
        self.segments = segments
        self.changed = threading.Condition()
        self.next = self.ahead = 0
        self.closed = False

    def take(self) -> int | None:
        with self.changed:
            if self.closed or self.next == len(self.segments):
                return None
            number = self.next
            self.next += 1
            self.ahead -= read_bytes(self.segments[number])
            self.changed.notify()
            return number

    def read_ahead(self) -> None:
        """A thread's own loop, until `close`."""
        for segment in self.segments:
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


def fill(jobs: list[Job], blend: Blend, load: LoadKernel, *, kernel: str, threads: int, on_bytes: Callable[[int], None], stop: threading.Event) -> Watch:
    """The first failure of any worker is raised here. `load` may take its time: the copying goes on beside it."""
    watch = Watch()
    work: Work = [(segment, WriteTo(job, stop)) for job in jobs for segment in job.segments]
    queue = Queue([segment for segment, _ in work])
    workers = hire(work, blend, load, watch, count=threads, kernel=kernel)
    failures: list[BaseException] = []

    def run(worker: Worker) -> None:
        try:
            while not stop.is_set() and (number := queue.take()) is not None:
                worker.run(number)
                on_bytes(queue.segments[number].size)
        except BaseException as error:
            failures.append(error)
            queue.close()

    helpers = [threading.Thread(target=run, args=(worker,), daemon=True) for worker in workers]
    reader = threading.Thread(target=queue.read_ahead, daemon=True)
    for thread in (*helpers, reader):
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
        for thread in helpers:
            while thread.is_alive() and not stop.is_set() and not failures:
                thread.join(0.1)
    except BaseException as error:
        failures.insert(0, error)
    finally:
        queue.close()
        if stop.is_set() or failures:
            for worker in workers:
                worker.kill()
        for thread in helpers:
            thread.join()
        for worker in workers:
            worker.close()
    if failures and not stop.is_set():
        raise failures[0]
    return watch
