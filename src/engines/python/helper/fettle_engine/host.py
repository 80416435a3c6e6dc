"""What all threads share: the jobs that are here, how far the handler is, and the two functions that a handler calls."""

from __future__ import annotations

import asyncio
import collections
import os
import signal
import threading
from typing import Any

from .changes import Changes
from .fitness import run_fitness_checks
from .handler import Handler
from .json_value import NotJson, encode_json
from .run import Run, current_run
from .serving import CANCEL_SIGNAL, Serving
from .streams import say

PRESS_AGAIN_S = 1.0


class Unwound(BaseException):
    """Comes out of `runpod.serverless.start` when serving has ended, so that nothing after that call runs, but every `finally` does."""


class Host:
    """
    loading ──► serving ──► loading (the files changed) | stopping
       └──► broken (only with reload: jobs are answered with the reason) ──► loading (the files changed)
    """

    def __init__(self, path: str, slots: int, changes: Changes | None) -> None:
        self.path = path
        self.pid = os.getpid()
        self.changes = changes
        self.state = "loading"
        self.trouble = ""
        self.served = False
        self._slots = slots
        self._runs: dict[str, Run] = {}
        self._waiting: collections.deque[Run] = collections.deque()
        self._changed = threading.Condition()
        self._serving: Serving | None = None

    @property
    def slots(self) -> int:
        serving = self._serving
        return self._slots if serving is None else serving.slots

    @property
    def streams(self) -> bool:
        serving = self._serving
        return serving is not None and serving.handler.is_generator

    @property
    def running(self) -> int:
        return len(self._runs)

    @property
    def wants_end(self) -> bool:
        return self.state == "stopping"

    def has_changed(self) -> bool:
        return self.changes is not None and self.changes.happened()

    # Jobs, from the threads of the server.

    def submit(self, run: Run) -> bool:
        """False: that attempt is here already, or the end has begun."""
        with self._changed:
            if run.attempt in self._runs or self.wants_end:
                return False
            self._runs[run.attempt] = run
            self._waiting.append(run)
            self._changed.notify_all()
            serving = self._serving
        if serving is not None:
            serving.wake()
        return True

    def take(self) -> Run | None:
        with self._changed:
            return self._waiting.popleft() if self._waiting else None

    def forget(self, run: Run) -> None:
        """Its caller has the ending, or is gone."""
        with self._changed:
            if run.ended.is_set():
                self._runs.pop(run.attempt, None)

    def cancel(self, attempt: str | None) -> int:
        """One attempt, or with None all that are here. Returns at once; a handler that does not react is asked again and again."""
        with self._changed:
            runs = [run for run in self._runs.values() if attempt is None or run.attempt == attempt]
        for run in runs:
            if not run.cancelled.is_set():
                run.cancelled.set()
                threading.Thread(target=self._press, args=(run,), daemon=True).start()
        return len(runs)

    def _press(self, run: Run) -> None:
        again = False
        while not run.ended.is_set():
            with self._changed:
                waits = run in self._waiting
                if waits:
                    self._waiting.remove(run)
                serving = self._serving
            if waits:
                run.end({"type": "cancelled"})
            elif serving is not None:
                serving.interrupt(run, again=again)
            run.ended.wait(PRESS_AGAIN_S)
            again = True

    # What a handler calls, in the main thread or wherever it runs.

    def start(self, config: dict[str, Any]) -> None:
        """In the place of `runpod.serverless.start`: serves jobs right here, so that what surrounds the call stays as it is meanwhile."""
        if self.state != "loading":
            raise Unwound
        if threading.current_thread() is not threading.main_thread() or asyncio._get_running_loop() is not None:  # type: ignore[attr-defined]
            raise RuntimeError("runpod.serverless.start must be called from the main thread, outside of asyncio")
        if not isinstance(config, dict) or not callable(config.get("handler")):
            raise TypeError('runpod.serverless.start needs {"handler": a function}')
        run_fitness_checks()
        handler = Handler(config, self._slots)
        serving = Serving(self, handler)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(CANCEL_SIGNAL, self._on_cancel)
        with self._changed:
            self._serving = serving
            self.state = "serving"
            self.served = True
        say(f"Serving {self.path} ({handler.describe()}), {serving.slots} at once.")
        try:
            serving.run()
        finally:
            with self._changed:
                self._serving = None
                if not self.wants_end:
                    self.state = "loading"
        raise Unwound

    def report(self, job: Any, progress: Any) -> None:
        """In the place of `runpod.serverless.progress_update`; never raises and never waits."""
        job_id = job.get("id") if isinstance(job, dict) else None
        run = current_run.get()
        if job_id is not None and (run is None or run.job_id != str(job_id)):
            with self._changed:
                run = next((one for one in self._runs.values() if one.job_id == str(job_id)), None)
        if run is None or run.ended.is_set():
            return say(f"progress_update: there is no job {job_id} here.")
        try:
            return run.report(encode_json(progress, "progress"))
        except NotJson as fault:
            return say(f"progress_update: {fault}.")

    # The life of the process, in the main thread.

    def begin_loading(self) -> None:
        with self._changed:
            if not self.wants_end:
                self.state = "loading"
            self.served = False
        if self.changes is not None:
            self.changes.begin()

    def be_broken(self, trouble: str, changes: Changes) -> None:
        """Until the files change: every job gets the reason."""
        with self._changed:
            if not self.wants_end:
                self.state = "broken"
            self.trouble = trouble
        signal.signal(signal.SIGTERM, self._on_stop)
        while not self.wants_end:
            with self._changed:
                if not self._waiting:
                    self._changed.wait(0.5)
            if changes.happened():
                return
            for run in iter(self.take, None):
                run.end({"type": "error", "how": "unloaded", "message": f"Cannot load the handler: {trouble}.", "refresh": False})

    def _on_stop(self, *_: Any) -> None:
        if os.getpid() != self.pid or self.wants_end:
            return
        # No lock: this runs between two instructions of the main thread, which may hold it.
        self.state = "stopping"
        threading.Thread(target=self._stop, daemon=True).start()

    def _stop(self) -> None:
        self.cancel(None)
        serving = self._serving
        if serving is not None:
            serving.end_soon()
            serving.wake()

    def _on_cancel(self, *_: Any) -> None:
        serving = self._serving
        if serving is not None and os.getpid() == self.pid:
            serving.raise_in_cancelled()
