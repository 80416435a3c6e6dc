"""What a handler's return value or exception means, as RunPod's SDK 1.12.0 reads it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from .failure import error_text, fault_of, stream_error_text, summary_of
from .json_value import NotJson, encode_json


class Ending(NamedTuple):
    """The last frame of a run: its header and the output, which is left out where the SDK posts none."""

    header: dict[str, Any]
    output: bytes | None = None


CANCELLED = Ending({"type": "cancelled"})


def ending_of_return(value: Any) -> Ending:
    """`error` and `refresh_worker` of a dict are for the platform, the rest is the output; an empty rest is none."""
    if not isinstance(value, dict):
        return ending_with(value)
    rest = dict(value)
    error = rest.pop("error", None)
    refresh = bool(rest.pop("refresh_worker", None))
    if not error:
        return ending_with(rest, refresh=refresh) if rest else Ending({"type": "result", "refresh": refresh})
    text = as_text(error)
    header = {"type": "error", "how": "returned", "text": text, "message": text, "refresh": refresh}
    if not rest:
        return Ending(header)
    try:
        return Ending(header, encode_json(rest))
    except NotJson as fault:
        # The error is what matters; it must not be lost for what stands beside it.
        return Ending({**header, "note": f"The output beside the error was left out: {fault}."})


def ending_of_stream(values: list[Any]) -> Ending:
    return ending_with(values)


def ending_with(output: Any, *, refresh: bool = False) -> Ending:
    try:
        return Ending({"type": "result", "refresh": refresh}, encode_json(output))
    except NotJson as fault:
        return ending_of_fault(fault, refresh=refresh)


def ending_of_fault(fault: NotJson, *, refresh: bool = False) -> Ending:
    return Ending({"type": "error", "how": "unusable", "message": f"Cannot send the handler's result: {fault}.", "refresh": refresh})


def ending_of_exception(error: BaseException, *, in_stream: bool = False) -> Ending:
    text = stream_error_text(error) if in_stream else error_text(error)
    return Ending({"type": "error", "how": "raised", "text": text, "message": summary_of(error), "fault": fault_of(error), "refresh": False})


def ending_of_yielded_error(value: Any) -> Ending | None:
    """A stream ends with the first yield of a dict with an error in it; what else it holds is dropped."""
    if not isinstance(value, dict) or not value.get("error"):
        return None
    text = str(value["error"])
    return Ending({"type": "error", "how": "returned", "text": text, "message": text, "refresh": False})


def as_text(error: Any) -> str:
    """RunPod takes a job with any other kind of error for completed."""
    if isinstance(error, str):
        return error
    try:
        return json.dumps(error, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return str(error)
