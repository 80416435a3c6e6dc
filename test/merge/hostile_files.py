"""Files that are no safetensors, or wrong ones: more than a hundred ways."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from typing import Any


def hostile_files() -> list[bytes]:
    def of(header: Any, data: bytes = b"\0" * 8) -> bytes:
        raw = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(raw)) + raw + data

    entry = {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]}
    files = [b"", b"\0", b"PK\x03\x04" + b"\0" * 100, b"<!DOCTYPE html><html>login</html>", b"version https://git-lfs.github.com/spec/v1\noid"]
    files += [struct.pack("<Q", length) + b"{}" for length in (3, 2**16, 2**31, 2**32, 2**62, 2**63, 2**64 - 1, 100_000_001)]
    files += [
        of(raw) for raw in (b"", b"[", b"{", b"[]", b"1", b"null", b'"x"', b"\xff\xfe", b"{}x", b"[" * 100_000, b'{"a":' * 5_000, b'{"a":1,"a":1}', b"nan")
    ]
    wrong: list[tuple[str, Any]] = []
    wrong += [("dtype", value) for value in (None, 1, "", "f16", "F128", ["F16"], {"x": 1}, "F8_E4M3FN", "I4")]
    wrong += [
        ("shape", value)
        for value in (None, 4, "2,2", [-2, -2], [2.0, 2], [2, True], [2**40, 2**40], [2**63], [1e400], [[2], 2], [2] * 9, [0, 2], [3, 2], {}, ["2", 2])
    ]
    wrong += [
        ("data_offsets", value)
        for value in (None, 8, [], [0], [0, 8, 16], [8, 0], [-8, 0], [0.0, 8], ["0", "8"], [0, 2**63], [2**63, 2**63 + 8], [4, 12], [0, 16], [True, 8])
    ]
    files += [of({"a": {**entry, key: value}}) for key, value in wrong]
    files += [of({"a": {name: value for name, value in entry.items() if name != key}}) for key in entry]
    files += [of({"a": value}) for value in (None, 1, "x", [], True, {})]
    files += [of({"a": entry, "__metadata__": value}) for value in ([1], "x", {"x": 1}, {"x": None}, {"x": {}}, {"x": ["y"]}, 7)]
    files += [
        of({"a": entry, "b": entry}),
        of({"a": entry, "b": {**entry, "data_offsets": [4, 12]}}, b"\0" * 12),
        of({"a": {**entry, "data_offsets": [8, 16]}}, b"\0" * 16),
    ]
    files += [of({"a": entry}, b"\0" * size) for size in (0, 1, 7, 9, 16, 4096)]
    files += [of({"a": {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}}), of({}, b"\0")]
    files += [of({"a" * 100_000: {**entry, "dtype": "?"}})]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    return [
        *files,
        *(of({"a": {**entry, "dtype": dtype}}) for dtype in ("F32", "U8", "I64", "BOOL", "C64", "F16 ", "\0")),
        buffer.getvalue(),
        b"\x80\x02}q\x00.",
        bytes(range(256)) * 4,
        b"GGUF" + b"\0" * 60,
    ]
