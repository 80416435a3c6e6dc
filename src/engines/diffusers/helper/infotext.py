"""The text that describes a picture ("prompt, Negative prompt: …, Steps: 20, …"), written and read as A1111 does."""

from __future__ import annotations

import json
import re
from typing import Any

_PARAMETER = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"^(\d+)x(\d+)$")


def quote(value: Any) -> str:
    """JSON quotes around a value that would otherwise be cut at a comma, colon or line end."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(char in text for char in ",\n:") else text


def unquote(text: str) -> str:
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        return str(json.loads(text))
    except ValueError:
        return text


def write(prompt: str, negative: str, parameters: dict[str, Any]) -> str:
    """One infotext; parameters that are None are left out."""
    line = ", ".join(f"{key}: {quote(value)}" for key, value in parameters.items() if value is not None)
    middle = f"\nNegative prompt: {negative}" if negative else ""
    return f"{prompt}{middle}\n{line}".strip()


def read(text: str) -> dict[str, Any]:
    """The parameters in an infotext, under A1111's names (Size becomes Size-1 and Size-2)."""
    if not text.strip():
        return {}
    *lines, last = text.strip().split("\n")
    if len(_PARAMETER.findall(last)) < 3:
        lines, last = [*lines, last], ""
    prompt: list[str] = []
    negative: list[str] = []
    target = prompt
    for line in lines:
        line = line.strip()
        if line.startswith("Negative prompt:"):
            target, line = negative, line.removeprefix("Negative prompt:").strip()
        target.append(line)
    result: dict[str, Any] = {"Prompt": "\n".join(prompt), "Negative prompt": "\n".join(negative)}
    for key, value in _PARAMETER.findall(last):
        value = unquote(value.strip())
        size = _SIZE.match(value)
        if size:
            result[f"{key}-1"], result[f"{key}-2"] = size.groups()
        else:
            result[key] = value
    result.setdefault("Clip skip", "1")
    return result
