"""EXIF blocks that carry generation parameters, byte for byte in the form that the webui writes and reads (piexif's)."""

from __future__ import annotations

import struct

HEAD = b"Exif\0\0"
MAKE, MODEL, EXIF_IFD, USER_COMMENT = 0x010F, 0x0110, 0x8769, 0x9286
ASCII, LONG, UNDEFINED = 2, 4, 7


def build(parameters: str, texts: dict[str, str]) -> bytes:
    """A block with the parameters as user comment; `texts` are ComfyUI's `prompt` and `workflow`, in the places it reads."""
    entries: list[tuple[int, int, bytes]] = []
    for tag, name in ((MAKE, "workflow"), (MODEL, "prompt")):
        if name in texts:
            entries.append((tag, ASCII, f"{name}:{texts[name]}".encode() + b"\0"))
    comment = b"UNICODE\0" + parameters.encode("utf-16-be")
    if parameters:
        entries.append((EXIF_IFD, LONG, b""))
    start = 8
    first = _directory(entries, start)
    if not parameters:
        return HEAD + b"MM\0*" + struct.pack(">I", start) + first
    # The second directory follows the first; its place is known once the first's size is.
    at = start + len(first)
    entries[-1] = (EXIF_IFD, LONG, struct.pack(">I", at))
    return HEAD + b"MM\0*" + struct.pack(">I", start) + _directory(entries, start) + _directory([(USER_COMMENT, UNDEFINED, comment)], at)


def _directory(entries: list[tuple[int, int, bytes]], at: int) -> bytes:
    heads, values = b"", b""
    free = at + 2 + 12 * len(entries) + 4
    for tag, kind, value in entries:
        count = 1 if kind == LONG else len(value)
        if len(value) <= 4:
            heads += struct.pack(">HHI", tag, kind, count) + value.ljust(4, b"\0")
        else:
            heads += struct.pack(">HHII", tag, kind, count, free + len(values))
            values += value + b"\0" * (len(value) % 2)
    return struct.pack(">H", len(entries)) + heads + b"\0\0\0\0" + values


def read_parameters(block: bytes) -> str:
    """The user comment of a block; empty when there is none or it cannot be read."""
    data = block.removeprefix(HEAD)
    try:
        order = {b"MM": ">", b"II": "<"}[data[:2]]
        (offset,) = struct.unpack_from(order + "I", data, 4)
        inner = _find(data, order, offset, EXIF_IFD)
        if inner is None:
            return ""
        (offset,) = struct.unpack(order + "I", inner[:4])
        comment = _find(data, order, offset, USER_COMMENT) or b""
    except (KeyError, struct.error):
        return ""
    if comment.startswith(b"UNICODE\0"):
        return comment[8:].decode("utf-16-be", "replace")
    if comment.startswith(b"ASCII\0\0\0"):
        return comment[8:].decode("latin-1")
    return comment.decode("utf-8", "ignore")


def _find(data: bytes, order: str, at: int, wanted: int) -> bytes | None:
    (count,) = struct.unpack_from(order + "H", data, at)
    for index in range(count):
        entry = at + 2 + 12 * index
        tag, kind, size = struct.unpack_from(order + "HHI", data, entry)
        if tag != wanted:
            continue
        length = size * (4 if kind == LONG else 1)
        if length <= 4:
            return data[entry + 8 : entry + 12]
        (offset,) = struct.unpack_from(order + "I", data, entry + 8)
        return data[offset : offset + length]
    return None
