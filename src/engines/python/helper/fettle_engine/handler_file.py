"""The handler file as a program: loaded as `__main__`, as `python handler.py` would."""

from __future__ import annotations

import linecache
import os
import sys
import tokenize
from types import ModuleType
from typing import Any

from .failure import summary_of, traceback_of, without_our_frames


class NoHandler(Exception):
    """The file was loaded, but there is nothing in it to call."""


def run_file(path: str, arguments: list[str]) -> dict[str, Any]:
    """Runs the file and gives its names. A call of `runpod.serverless.start` in it serves jobs and comes back by an exception only."""
    folder = os.path.dirname(path)
    if not sys.path or sys.path[0] != folder:
        sys.path.insert(0, folder)
    sys.argv = [path, *arguments]
    linecache.checkcache()
    with tokenize.open(path) as file:
        source = file.read()
    code = compile(source, path, "exec", dont_inherit=True)
    module = ModuleType("__main__")
    module.__dict__.update({"__file__": path, "__builtins__": __builtins__, "__cached__": None, "__spec__": None})
    sys.modules["__main__"] = module
    exec(code, module.__dict__)
    return module.__dict__


def find_handler(names: dict[str, Any], path: str) -> Any:
    """The function of a file that calls no `start`."""
    handler = names.get("handler")
    if callable(handler):
        return handler
    found = "" if handler is None else f" (its `handler` is a {type(handler).__name__})"
    raise NoHandler(
        f'{os.path.basename(path)} has no handler: looked for a call of runpod.serverless.start({{"handler": …}}) and for a function named handler{found}'
    )


def describe_trouble(error: BaseException, path: str) -> str:
    """Why the file cannot be loaded, in one line that begins with the place."""
    name = os.path.basename(path)
    if isinstance(error, NoHandler):
        return str(error)
    if isinstance(error, FileNotFoundError) and error.filename == path:
        return f"{path} does not exist"
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{os.path.basename(error.filename)}:{error.lineno}: {type(error).__name__}: {error.msg}"
    if isinstance(error, SystemExit):
        return f"{name}{place_in(error)} ended with exit code {error.code} before it served a job"
    return f"{name}{place_in(error)}: {summary_of(error)}"


def place_in(error: BaseException) -> str:
    trace = without_our_frames(error.__traceback__)
    return "" if trace is None else f":{trace.tb_lineno}"


def describe_at_length(error: BaseException) -> str:
    return "" if isinstance(error, (NoHandler, SystemExit, FileNotFoundError)) else traceback_of(error)
