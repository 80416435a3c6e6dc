"""sys.stdout and sys.stderr of the handler: whole lines, each with the id of its job where that is known."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterable

from .run import current_run

LONGEST_OPEN_LINE = 65_536
lock = threading.RLock()


class JobStream(io.TextIOBase):
    """Writes to a descriptor of its own, so that nothing a handler does to its streams reaches it."""

    encoding = "utf-8"
    errors = "backslashreplace"
    newlines = None

    def __init__(self, fd: int, name: str) -> None:
        self._fd = os.dup(fd)
        self._public_fd = fd
        self._open: dict[object, str] = {}
        self.name = name
        self.mode = "w"
        self.buffer = open(self._fd, "wb", buffering=0, closefd=False)  # noqa: SIM115 - lives as long as the stream

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        run = current_run.get()
        key = (threading.get_ident(), run)
        with lock:
            whole, newline, rest = (self._open.pop(key, "") + text).rpartition("\n")
            if newline:
                self._put(whole.split("\n"), run)
            if len(rest) > LONGEST_OPEN_LINE:
                self._put([rest], run)
            elif rest:
                self._open[key] = rest
        return len(text)

    def flush(self) -> None:
        """Lines are written at once; one that is not yet whole waits for its end, so that jobs do not mix within a line."""

    def flush_rest(self, run: object = None) -> None:
        """What a job, or with None everybody, has left without a line end."""
        with lock:
            for key in [key for key in self._open if run is None or key[1] is run]:  # type: ignore[index]
                self._put([self._open.pop(key)], key[1])  # type: ignore[index]

    def _put(self, lines: Iterable[str], run: object) -> None:
        job_id = getattr(run, "job_id", None)
        # A line of JSON is somebody's own log format and names the job itself.
        marked = (line if job_id is None or line.startswith("{") else f"[{job_id}] {line}" for line in lines)
        data = ("\n".join(marked) + "\n").encode("utf-8", "backslashreplace")
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except OSError:
                return

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._public_fd

    def reconfigure(self, **_options: object) -> None:
        """Of io.TextIOWrapper; there is nothing to change here."""

    def close(self) -> None:
        """A handler may close its stdout; the next job has it again."""

    @property
    def closed(self) -> bool:
        return False


stdout = JobStream(1, "<stdout>")
stderr = JobStream(2, "<stderr>")


def install_streams() -> None:
    """At the start and before each job: a handler may have deleted, closed or replaced them."""
    for name, stream in (("stdout", stdout), ("stderr", stderr)):
        now = getattr(sys, name, None)
        if now is None or getattr(now, "closed", False) or now is getattr(sys, f"__{name}__", None):
            setattr(sys, name, stream)


def say(text: str) -> None:
    """A line of our own on the service's log."""
    stderr.write(f"{text}\n")
