"""One job on its way through this process, and the frames that go back for it."""

from __future__ import annotations

import collections
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any, NamedTuple

# A handler that reports faster than anybody reads loses its oldest reports, never its result.
MOST_WAITING_REPORTS = 256
# So often a blank line, so that a caller that is gone is noticed in a job that says nothing.
HEARTBEAT_S = 5.0


class JobCancelled(BaseException):
    """Raised inside a handler whose job was cancelled. No `Exception`, so that `except Exception` lets it through."""


class Frame(NamedTuple):
    line: bytes
    body: bytes | None = None
    sent: Future | None = None
    is_last: bool = False


def is_report(frame: Frame) -> bool:
    return frame.line.startswith(b'{"type":"progress"')


def encode_line(header: dict[str, Any]) -> bytes:
    return json.dumps(header).encode("ascii") + b"\n"


class Run:
    """States: waiting, running, ended. `cancelled` may be set in each of them."""

    def __init__(self, attempt: str, job: dict[str, Any]) -> None:
        self.attempt = attempt
        self.job = job
        self.cancelled = threading.Event()
        self.ended = threading.Event()
        self._frames: collections.deque[Frame] = collections.deque()
        self._changed = threading.Condition()
        self._reports = 0

    @property
    def job_id(self) -> str:
        return str(self.job.get("id"))

    def report(self, value_json: bytes) -> None:
        """A progress report; after the end it is dropped."""
        with self._changed:
            if self.ended.is_set():
                return
            if self._reports >= MOST_WAITING_REPORTS:
                oldest = next(frame for frame in self._frames if is_report(frame))
                self._frames.remove(oldest)
                self._reports -= 1
            self._reports += 1
            self._push(Frame(b'{"type":"progress","value":' + value_json + b"}\n"))

    def partial(self, value_json: bytes) -> Future:
        """A piece of the output; the future is done once it was sent, so that a generator goes no faster than its reader."""
        sent: Future = Future()
        with self._changed:
            if self.ended.is_set() or self.cancelled.is_set():
                sent.set_exception(JobCancelled())
            else:
                self._push(Frame(b'{"type":"partial","value":' + value_json + b"}\n", sent=sent))
        return sent

    def tell(self, header: dict[str, Any]) -> None:
        """A line about this process, such as a changed number of slots."""
        with self._changed:
            if not self.ended.is_set():
                self._push(Frame(encode_line(header)))

    def end(self, header: dict[str, Any], body: bytes | None = None) -> None:
        """The one ending; a second one is ignored."""
        with self._changed:
            if self.ended.is_set():
                return
            self.ended.set()
            size = {} if body is None else {"sizeBytes": len(body)}
            self._push(Frame(encode_line({**header, **size}), body=body, is_last=True))

    def release(self) -> None:
        """Nobody reads any more: whoever waits for a piece to be sent is let go."""
        with self._changed:
            for frame in self._frames:
                if frame.sent is not None and not frame.sent.done():
                    frame.sent.set_exception(JobCancelled())

    def frames(self) -> Iterator[Frame]:
        """Every frame in order, blank lines in between while there is none; ends after the last one."""
        while True:
            with self._changed:
                if not self._frames:
                    self._changed.wait(HEARTBEAT_S)
                frame = self._frames.popleft() if self._frames else Frame(b"\n")
                if is_report(frame):
                    self._reports -= 1
            yield frame
            if frame.sent is not None and not frame.sent.done():
                frame.sent.set_result(None)
            if frame.is_last:
                return

    def _push(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._changed.notify_all()


# The job that the code running now belongs to; asyncio tasks inherit it, threads that a handler starts do not.
current_run: ContextVar[Run | None] = ContextVar("fettle_run", default=None)
