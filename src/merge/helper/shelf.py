"""What is planned now and needed once, later: on disk when it becomes much, so that memory does not grow with the number of LoRAs."""

from __future__ import annotations

import marshal
import struct
import tempfile
import threading
from typing import Any

IN_MEMORY_BYTES = 4 * 1024 * 1024


class Shelf:
    """`put` gives the place from which `get` takes a value of plain numbers, texts, tuples and dicts. Threads may share it."""

    def __init__(self) -> None:
        self.file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - lives as long as the merge
        self.end = 0
        self.lock = threading.Lock()

    def put(self, value: Any) -> int:
        raw = marshal.dumps(value)
        with self.lock:
            at = self.end
            self.file.seek(at)
            self.file.write(struct.pack("<I", len(raw)) + raw)
            self.end = at + 4 + len(raw)
        return at

    def get(self, at: int) -> Any:
        with self.lock:
            self.file.seek(at)
            (size,) = struct.unpack("<I", self.file.read(4))
            raw = self.file.read(size)
        return marshal.loads(raw)
