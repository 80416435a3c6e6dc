"""The one thread that touches the device, its bounded queue, and the state that /progress shows.

Owns the order of work. Takes jobs (a name and a function); gives each a future. Nothing here waits for the device:
progress, interrupt and skip read and set plain fields, so they answer at once while a job runs.

    queued ──► running ──► done | failed
       └──► dropped (interrupted by its task id, or the engine stops)
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger("engine")
WATCHED_S = 10.0  # after the last request for a preview


class QueueFullError(Exception):
    """More jobs wait than the engine was told to keep; the caller should come back later."""


class EngineStoppingError(Exception):
    """The engine is shutting down; the job did not finish and may be sent elsewhere."""


@dataclass(eq=False)
class Job:
    """One piece of work for the device, with the counters that A1111 calls its state."""

    task_id: str
    name: str
    run: Callable[[Job], Any]
    counts: bool = True  # false for loads and unloads, which /progress does not show as a job
    future: Future[Any] = field(default_factory=Future)
    interrupted: bool = False
    skipped: bool = False
    stopping: bool = False
    job_count: int = 1
    job_no: int = 0
    sampling_step: int = 0
    sampling_steps: int = 0
    started_at: float = 0.0
    timestamp: str = "0"
    preview: Any = None  # a small latent tensor on the CPU; the API turns it into a picture only when asked
    preview_asked_at: float | None = None  # somebody looks at previews: each step gives one then, not only each tenth

    @property
    def is_watched(self) -> bool:
        return self.preview_asked_at is not None and time.monotonic() - self.preview_asked_at < WATCHED_S

    @property
    def ends_now(self) -> bool:
        return self.interrupted or self.stopping

    def begin_round(self, number: int, steps: int) -> None:
        self.job_no, self.sampling_step, self.sampling_steps, self.skipped = number, 0, steps, False

    def progress(self) -> float:
        """A1111's own formula: never quite 0 while running, and the rounds before plus the share of this one."""
        if not self.started_at or self.job_count <= 0:
            return 0.0
        done = 0.01 + self.job_no / self.job_count
        if self.sampling_steps > 0:
            done += self.sampling_step / self.sampling_steps / self.job_count
        return min(done, 1.0)


class DeviceThread:
    """Runs one job at a time, oldest first."""

    def __init__(self, queue_size: int, recover: Callable[[BaseException], None]) -> None:
        self._queue_size = queue_size
        self._recover = recover
        self._waiting: deque[Job] = deque()
        self._wake = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._loop, name="device", daemon=True)
        self.running: Job | None = None
        self.last: Job | None = None

    def start(self) -> None:
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def submit(self, job: Job) -> Future[Any]:
        with self._wake:
            if self._stopped:
                raise EngineStoppingError("The engine is stopping.")
            if len(self._waiting) >= self._queue_size:
                raise QueueFullError(f"The engine's queue is full: {len(self._waiting)} jobs are waiting.")
            self._waiting.append(job)
            self._wake.notify()
        return job.future

    def interrupt(self, task_id: str | None = None) -> str | None:
        """Stops the running job, or the one with this id wherever it is. Gives "running", "queued" or None."""
        with self._wake:
            job = self.running
            if job is not None and task_id in (None, job.task_id):
                job.interrupted = True
                return "running"
            if task_id is None:
                return None
            for job in self._waiting:
                if job.task_id == task_id:
                    job.interrupted = True
                    self._waiting.remove(job)
                    job.future.set_result(None)
                    return "queued"
        return None

    def skip(self) -> None:
        job = self.running
        if job is not None:
            job.skipped = True

    def stop(self) -> None:
        """Drops what waits and interrupts what runs; each of them ends with EngineStoppingError.

        The running job is answered at once too: its step may take longer than the process has left.
        """
        with self._wake:
            self._stopped = True
            dropped = [job for job in (self.running, *self._waiting) if job is not None and not job.future.done()]
            self._waiting.clear()
            if self.running is not None:
                self.running.stopping = True
            for job in dropped:
                job.future.set_exception(EngineStoppingError("The engine stopped before the job was done."))
            self._wake.notify()

    def _loop(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._stopped:
                    self._wake.wait()
                if self._stopped:
                    return
                job = self._waiting.popleft()
                job.started_at = time.monotonic()
                job.timestamp = time.strftime("%Y%m%d%H%M%S")
                self.running = job
            self._run(job)

    def _run(self, job: Job) -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            result = job.run(job)
        except BaseException as error:
            failure = error
        if failure is not None:
            self._recover(failure)
        job.preview = None
        with self._wake:
            self.last, self.running = job, None
            if job.future.done():  # answered by stop()
                return
            if failure is not None:
                job.future.set_exception(failure)
            else:
                job.future.set_result(result)
