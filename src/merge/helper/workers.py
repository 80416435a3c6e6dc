"""Who computes the segments: threads of this process, or forked processes that cost more memory and share no interpreter lock."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from blend import Blend
from compute import Computer, Segment, Watch, Write
from kernel import Kernel, resident_bytes
from refusal import Refusal

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

Work = list[tuple[Segment, Write]]
LoadKernel = Callable[[], type[Kernel]]

FORKING_PAYS_FROM = 64 * 1024 * 1024
"""Bytes to write: below, the fork and its pipes cost more than the lock."""
FORKS_FIT_IN = 240 * 1024 * 1024
EACH_FORK_BYTES = 16 * 1024 * 1024
"""A computer's buffers and factors."""


class Worker(Protocol):
    """Used by one thread."""

    def run(self, number: int) -> None:
        """Computes and writes a segment of the work."""

    def kill(self) -> None:
        """From any thread: what `run` is doing ends, and what it has written is of no use."""

    def close(self) -> None: ...


def hire(work: Work, blend: Blend, load: LoadKernel, watch: Watch, *, count: int, kernel: str) -> list[Worker]:
    """Before any other thread starts: a fork with threads may find a lock that nobody will release."""
    count = min(count, len(work))
    size = sum(segment.size for segment, _ in work)
    if kernel == "numpy" and count > 1 and size >= FORKING_PAYS_FROM and fits(count):
        with contextlib.suppress(OSError):  # no more processes, or memory: threads do
            return list(fork(work, blend, load, watch, count))
    return [Thread(work, blend, load, watch) for _ in range(count)]


def fits(count: int) -> bool:
    """What a process has planned becomes its own when it looks at it: every object counts its references."""
    resident = resident_bytes()
    return 0 < resident + count * (resident // 2 + EACH_FORK_BYTES) <= FORKS_FIT_IN


class Thread:
    """Whoever calls it."""

    def __init__(self, work: Work, blend: Blend, load: LoadKernel, watch: Watch) -> None:
        self.work, self.blend, self.load, self.watch = work, blend, load, watch
        self.computer: Computer | None = None

    def run(self, number: int) -> None:
        if self.computer is None:
            self.computer = Computer(self.load()(), self.blend, self.watch)
        self.computer.run(*self.work[number])

    def kill(self) -> None:
        """The writing asks for the stop itself."""

    def close(self) -> None:
        pass


@dataclass
class Answer:
    active: set[int]
    changed: bool
    failure: BaseException | None = None


class Forked:
    def __init__(self, process: BaseProcess, connection: Connection, watch: Watch) -> None:
        self.process, self.connection, self.watch = process, connection, watch

    def run(self, number: int) -> None:
        try:
            self.connection.send(number)
            answer: Answer = self.connection.recv()
        except (EOFError, ConnectionError) as error:
            self.process.join()
            reason = f"a process that computed was ended by {ending_of(self.process.exitcode or 0)}"
            raise Refusal(reason, hint="Signal 9 without your doing means that the memory ran out: give it more, or fewer --threads.") from error
        if answer.failure:
            raise answer.failure
        self.watch.active |= answer.active
        self.watch.changed |= answer.changed

    def kill(self) -> None:
        self.process.kill()

    def close(self) -> None:
        """Waits for its end."""
        self.connection.close()
        self.process.join()


def ending_of(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def fork(work: Work, blend: Blend, load: LoadKernel, watch: Watch, count: int) -> list[Forked]:
    from multiprocessing import get_context

    context = get_context("fork")
    pipes = [context.Pipe() for _ in range(count)]
    parent = os.getpid()
    gc.freeze()  # a collection would write into every object that is shared until then
    forked: list[Forked] = []
    try:
        for number, (ours, theirs) in enumerate(pipes):
            not_theirs = [one for pair in pipes for one in pair if one is not theirs]

            def serve(connection: Connection = theirs, others: list[Connection] = not_theirs) -> None:
                for other in others:
                    other.close()
                live_with(parent)
                answer_all(connection, Thread(work, blend, load, Watch()))

            process = context.Process(target=serve, name=f"merge-{number}", daemon=True)
            process.start()
            forked.append(Forked(process, ours, watch))
    except OSError:
        for one in forked:
            one.kill()
            one.close()
        raise
    finally:
        for _, theirs in pipes:
            theirs.close()
    return forked


def live_with(parent: int) -> None:
    """Stops are the parent's to decide; and whatever ends it ends this process, too."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def answer_all(connection: Connection, worker: Thread) -> None:
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            number = connection.recv()
            failure: BaseException | None = None
            try:
                worker.run(number)
            except (Refusal, OSError, MemoryError) as error:
                failure = error
            except BaseException:
                failure = RuntimeError(traceback.format_exc())
            connection.send(Answer(worker.watch.active, worker.watch.changed, failure))
