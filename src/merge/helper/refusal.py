"""The one error of the merge helper: its text is the reason that the front prints after "Cannot merge …:"."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """The merge cannot be done; nothing was written."""

    def __init__(self, reason: str, *, hint: str | None = None, details: dict[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.hint = hint
        self.details = details or {}
