"""A handler's value as JSON, or where in it the trouble is."""

from __future__ import annotations

import json
import math
from typing import Any

# Deeper values fail in the readers of others; the encoder itself gives up at Python's recursion limit.
DEEPEST = 200


class NotJson(Exception):
    """The message is a sentence without its beginning, such as `output.images[0] is bytes; …`."""


def encode_json(value: Any, name: str = "output") -> bytes:
    """UTF-8 JSON with Python's usual spacing, as the SDK posts it. NaN and Infinity are refused: no JSON reader takes them."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise NotJson(find_fault(value, name) or f"{name} is no JSON: {error}") from None
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        # Half a surrogate pair: valid in JSON as an escape only.
        return json.dumps(value, allow_nan=False).encode("ascii")


def find_fault(value: Any, name: str) -> str | None:
    """The first place that cannot be JSON, as a path and what is the matter there. Without recursion, because depth may be the fault."""
    waiting: list[tuple[Any, str, tuple[int, ...]]] = [(value, name, ())]
    while waiting:
        item, path, parents = waiting.pop()
        if item is None or isinstance(item, (str, bool, int)):
            continue
        if isinstance(item, float):
            if math.isfinite(item):
                continue
            return f"{path} is {item!r}, which JSON cannot hold; return None or text instead"
        if not isinstance(item, (dict, list, tuple)):
            return f"{path} is {describe(item)}"
        if id(item) in parents:
            return f"{path} contains itself"
        if len(parents) >= DEEPEST:
            return f"{path[:200]}… nests deeper than {DEEPEST} levels"
        inside = (*parents, id(item))
        if isinstance(item, dict):
            for key in item:
                if not isinstance(key, (str, int, float, bool, type(None))):
                    return f"{path} has the key {key!r:.80}, a {type(key).__name__}; keys must be text"
            members = [(member, f"{path}{as_step(key)}", inside) for key, member in item.items()]
        else:
            members = [(member, f"{path}[{index}]", inside) for index, member in enumerate(item)]
        waiting.extend(reversed(members))
    return None


def as_step(key: Any) -> str:
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r:.80}]"


def describe(item: Any) -> str:
    kind = type(item)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    name = f"{module}{kind.__qualname__}"
    if isinstance(item, (bytes, bytearray, memoryview)):
        return f"{name}; encode it, such as base64.b64encode(value).decode()"
    if isinstance(item, (set, frozenset)):
        return f"a {name}; return a list"
    if name.startswith(("numpy.", "torch.", "cupy.", "jax.")):
        return f"{name}; return value.tolist() or a number"
    if name.startswith("PIL."):
        return f"{name}; save it into a buffer and return base64"
    if name == "generator" or name == "async_generator":
        return f"a {name}; to stream, the handler itself must be a generator function (yield)"
    if name == "coroutine":
        return "a coroutine that nobody awaited"
    return f"a {name}, which JSON does not know"
