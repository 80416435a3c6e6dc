"""Requests that wait for their template's files, before they stand in the device's queue: they can be interrupted and are shown by /progress.

Used on the event loop only.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from device_thread import EngineStoppingError
from templates import Fetch, Resolved


@dataclass(eq=False)
class Wait:
    task_id: str
    fetch: Fetch
    called_off: asyncio.Event


class Waits:
    def __init__(self) -> None:
        self._waiting: list[Wait] = []
        self._stopped = False

    @property
    def first(self) -> Wait | None:
        return self._waiting[0] if self._waiting else None

    @property
    def count(self) -> int:
        return len(self._waiting)

    async def until_there(self, task_id: str, fetch: Fetch) -> Resolved | None:
        """None when the task was interrupted meanwhile. The download goes on: the next job wants it too."""
        wait = Wait(task_id, fetch, asyncio.Event())
        self._waiting.append(wait)
        off = asyncio.ensure_future(wait.called_off.wait())
        # Several requests wait for one future; one that goes away must not cancel it for the others.
        there = asyncio.shield(asyncio.wrap_future(fetch.future))
        try:
            await asyncio.wait({off, there}, return_when=asyncio.FIRST_COMPLETED)
            if there.done():
                return there.result()
            there.add_done_callback(lambda one: one.cancelled() or one.exception())
            if self._stopped:
                raise EngineStoppingError("The engine stopped before the job was done.")
            return None
        finally:
            off.cancel()
            self._waiting.remove(wait)

    def interrupt(self, task_id: str | None) -> bool:
        found = [wait for wait in self._waiting if wait.task_id == task_id]
        for wait in found:
            wait.called_off.set()
        return bool(found)

    def stop(self) -> None:
        self._stopped = True
        for wait in self._waiting:
            wait.called_off.set()
