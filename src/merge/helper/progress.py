"""Counts written bytes from all threads and tells them, at most ten times a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Progress:
    def __init__(self, total: int, say: Callable[..., None]) -> None:
        self.say = say
        self.total, self.done, self.next = total, 0, 0.0
        self.lock = threading.Lock()

    def __call__(self, count: int) -> None:
        with self.lock:
            self.done += count
            now = time.monotonic()
            if now < self.next and self.done < self.total:
                return
            self.next = now + 0.1
            done = self.done
        self.say(type="progress", doneBytes=done, totalBytes=self.total)
