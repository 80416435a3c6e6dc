"""What is planned now and needed once, later: on disk when it becomes much, so that memory does not grow with the number of LoRAs."""

from __future__ import annotations

import marshal
import os
import struct
import tempfile
from typing import Any, BinaryIO

IN_MEMORY_BYTES = 4 * 1024 * 1024
HEAD = struct.Struct("<I")


class Shelf:
    """`put` gives the place from which `get` takes a value of plain numbers, texts, tuples and dicts. Once all is put, threads may get."""

    def __init__(self) -> None:
        self.latest = bytearray()
        self.on_disk = 0
        self.file: BinaryIO | None = None

    def put(self, value: Any) -> int:
        raw = marshal.dumps(value)
        at = self.on_disk + len(self.latest)
        self.latest += HEAD.pack(len(raw)) + raw
        if len(self.latest) >= IN_MEMORY_BYTES:
            self.file = self.file or tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the merge
            self.file.write(self.latest)
            self.file.flush()
            self.on_disk += len(self.latest)
            self.latest.clear()
        return at

    def get(self, at: int) -> Any:
        (size,) = HEAD.unpack(self.read(at, HEAD.size))
        return marshal.loads(self.read(at + HEAD.size, size))

    def read(self, at: int, size: int) -> bytes:
        """At a place, not from the file's own position, which threads share."""
        if at >= self.on_disk:
            at -= self.on_disk
            return bytes(self.latest[at : at + size])
        assert self.file is not None
        return os.pread(self.file.fileno(), size, at)
