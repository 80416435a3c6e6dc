"""Fuses LoRAs into a checkpoint, tensor by tensor. Called by `fettle merge` with one argument: the request as JSON (request.py), "-" to
read it from stdin, or a file that holds it. stdout is one JSON value a line: {"type": "plan" | "progress" | "done" | "error", …}; exit code 0, or 1 after
an "error". Needs numpy only."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import threading
from typing import Any

# Threads of ours share the work; BLAS must not start its own, and reads this once, when numpy is imported.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
say_lock = threading.Lock()


def say(**event: Any) -> None:
    with say_lock:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


def keep_one_heap() -> None:
    """With a heap for each thread, glibc keeps what a thread freed for that thread; and memory is given back to the system early."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # not glibc
    mallopt(-8, 1)  # M_ARENA_MAX
    mallopt(-3, 8 * 1024 * 1024)  # M_MMAP_THRESHOLD, fixed: left alone it grows with every large array that is freed
    mallopt(-1, 16 * 1024 * 1024)  # M_TRIM_THRESHOLD


def allow_many_files() -> None:
    """Each LoRA is an open file, and the usual limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def request_text(argument: str) -> str:
    if argument.startswith("{"):
        return argument
    with open(0 if argument == "-" else argument, encoding="utf-8") as file:
        return file.read()


def main() -> int:
    keep_one_heap()
    allow_many_files()
    try:
        import numpy  # noqa: F401
    except ImportError:
        say(type="error", reason=f"{sys.executable} has no numpy", hint="Run `pip install numpy`, or name another Python with FETTLE_PYTHON.", missing="numpy")
        return 1
    from refusal import Refusal, system_refusal

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    out = ""
    try:
        from request import parse_request
        from session import run

        request = parse_request(json.loads(request_text(sys.argv[1])))
        out = request.out
        run(request, say, stop)
    except Refusal as refusal:
        say(type="error", code=refusal.code, reason=str(refusal), hint=refusal.hint, details=refusal.details)
        return 1
    except OSError as error:
        refusal = system_refusal(error, out)
        say(type="error", code=refusal.code, reason=str(refusal), hint=refusal.hint)
        return 1
    except MemoryError:
        say(type="error", code="merge.failed", reason="there is not enough memory")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
