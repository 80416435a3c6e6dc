"""The one error of the merge helper: its text is the reason that the front prints after "Cannot merge …:"."""

from __future__ import annotations

import errno
from typing import Any


class Refusal(Exception):
    """The merge cannot be done; nothing was written. `code` is a row of fettle's error catalog."""

    def __init__(self, reason: str, *, hint: str | None = None, details: dict[str, Any] | None = None, code: str = "merge.failed") -> None:
        super().__init__(reason)
        self.hint = hint
        self.details = details or {}
        self.code = code


def system_refusal(error: OSError, path: str) -> Refusal:
    """The system's own no, with the code and the hint that fit it."""
    where = error.filename if isinstance(error.filename, str) else path
    reason = f"{where}: {(error.strerror or str(error)).lower()}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Refusal(reason, hint="Free some space, or write to another disk.", code="merge.no-space")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return Refusal(reason, hint="Choose a folder that may be written to.", code="merge.unwritable")
    if error.errno == errno.ELOOP:
        return Refusal(reason, hint="A symbolic link points at itself.", code="merge.failed")
    return Refusal(reason)
