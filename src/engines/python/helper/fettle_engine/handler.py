"""The user's handler and what was said about it in `runpod.serverless.start(config)`."""

from __future__ import annotations

import inspect
from typing import Any

from .streams import say

MOST_SLOTS = 64


class Handler:
    """Generator or not is decided as the SDK does, by the function alone: a function that returns a generator is none."""

    def __init__(self, config: dict[str, Any], slots: int) -> None:
        self.call = config["handler"]
        self.is_async_generator = inspect.isasyncgenfunction(self.call)
        self.is_generator = self.is_async_generator or inspect.isgeneratorfunction(self.call)
        self.is_async = self.is_async_generator or inspect.iscoroutinefunction(self.call) or inspect.iscoroutinefunction(getattr(self.call, "__call__", None))  # noqa: B004
        self.aggregates = bool(config.get("return_aggregate_stream", False))
        self.refreshes = bool(config.get("refresh_worker", False))
        modifier = config.get("concurrency_modifier")
        self._modifier = modifier if callable(modifier) else None
        self._slots = slots
        self._complained = False

    @property
    def has_modifier(self) -> bool:
        return self._modifier is not None

    def slots_after(self, current: int) -> int:
        """Jobs at once. `concurrency_modifier` decides where there is one and the handler is async, as it does in the SDK."""
        if self._modifier is None or not self.is_async:
            return self._slots
        try:
            wanted = self._modifier(current)
            if isinstance(wanted, bool) or not isinstance(wanted, (int, float)) or int(wanted) < 1:
                raise ValueError(f"it returned {wanted!r}")
            return min(int(wanted), MOST_SLOTS)
        except Exception as error:
            if not self._complained:
                say(f"concurrency_modifier cannot be used ({error}); {current} jobs at once it stays.")
            self._complained = True
            return current

    def describe(self) -> str:
        kind = ("async " if self.is_async else "") + ("generator" if self.is_generator else "function")
        return f"{getattr(self.call, '__name__', type(self.call).__name__)}, {kind}"
