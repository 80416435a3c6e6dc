"""Fuses LoRAs into one checkpoint file, tensor by tensor. Called by `fettle merge` with one argument, the request as JSON:
{"base": FILE, "loras": [{"path": FILE, "unet": 0.8, "te": 0.8}], "out": FILE, "allowUnmatched": false, "dryRun": false, "threads": 2}

stdout is one JSON value a line: {"type": "plan" | "progress" | "done" | "error", …}. Exit code 0, or 1 after an "error".
Needs numpy only; torch would cost two seconds and 200 MB and be no faster here."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
import time
from typing import Any

# Threads of ours share the work; BLAS must not start its own, and reads this once, when numpy is imported.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

say_lock = threading.Lock()


def say(**event: Any) -> None:
    with say_lock:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


def main() -> int:
    request = json.loads(sys.argv[1])
    try:
        import numpy  # noqa: F401
    except ImportError:
        say(type="error", reason=f"{sys.executable} has no numpy", hint="Run `pip install numpy`, or name another Python with FETTLE_PYTHON.", missing="numpy")
        return 1
    from refusal import Refusal

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        merge(request, stop)
    except Refusal as refusal:
        say(type="error", reason=str(refusal), hint=refusal.hint, details=refusal.details)
        return 1
    except OSError as error:
        say(type="error", reason=f"{error.filename or request['out']}: {(error.strerror or str(error)).lower()}")
        return 1
    except MemoryError:
        say(type="error", reason="there is not enough memory")
        return 1
    return 0


def merge(request: dict[str, Any], stop: threading.Event) -> None:
    from lora_file import open_lora
    from plan import Strength, build_plan
    from refusal import Refusal
    from safetensors_file import open_safetensors
    from write import Output, write_segments

    began = time.monotonic()
    base = open_safetensors(request["base"])
    loras = [(open_lora(one["path"]), Strength(one["unet"], one["te"])) for one in request["loras"]]
    refuse_own_input(request)
    segments, coverages = build_plan(base, loras, allow_unmatched=request["allowUnmatched"])
    coverage = [one.to_json() for one in coverages]
    total = base.size - base.data_start
    say(type="plan", tensors=len(base.tensors), changed=len({one.tensor.name for one in segments}), sizeBytes=total, coverage=coverage)
    if request["dryRun"]:
        return

    output = Output(request["out"], base, metadata_of(request, base.metadata, {}))
    try:
        hashes: dict[str, str] = {}
        paths = [request["base"], *(one["path"] for one in request["loras"])]
        hashing = threading.Thread(target=lambda: hashes.update({path: sha256(path, stop) for path in dict.fromkeys(paths)}), daemon=True)
        hashing.start()
        changed = write_segments(output, segments, threads=request["threads"], on_bytes=Progress(total), stop=stop)
        hashing.join()
        if stop.is_set():
            raise Refusal("it was interrupted")
        if segments and not changed:
            raise Refusal("the LoRAs change nothing: all their weights are 0", details={"coverage": coverage})
        output.commit(metadata_of(request, base.metadata, hashes))
    finally:
        output.discard()
    say(type="done", out=request["out"], sizeBytes=output.size, afterMs=round((time.monotonic() - began) * 1000), sha256=hashes)


class Progress:
    """Counts bytes from all threads; speaks at most ten times a second."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.next = total, 0, 0.0
        self.lock = threading.Lock()

    def __call__(self, count: int) -> None:
        with self.lock:
            self.done += count
            now = time.monotonic()
            if now < self.next and self.done < self.total:
                return
            self.next = now + 0.1
            done = self.done
        say(type="progress", doneBytes=done, totalBytes=self.total)


def refuse_own_input(request: dict[str, Any]) -> None:
    from refusal import Refusal

    for path in [request["base"], *(one["path"] for one in request["loras"])]:
        if os.path.exists(request["out"]) and os.path.samefile(path, request["out"]):
            raise Refusal(f"{request['out']} is one of its own inputs", hint="Name another output.")


def metadata_of(request: dict[str, Any], base: dict[str, str], hashes: dict[str, str]) -> dict[str, str]:
    """The base's own metadata and what was merged; no date, so that the same request gives the same bytes. Without hashes: same length."""

    def file(path: str) -> dict[str, str]:
        return {"file": os.path.basename(path), "sha256": hashes.get(path, "0" * 64)}

    recipe = {"version": 1, "base": file(request["base"]), "loras": [{**file(one["path"]), "unet": one["unet"], "te": one["te"]} for one in request["loras"]]}
    kept = {key: value for key, value in base.items() if key != "modelspec.hash_sha256"}  # it named the bytes before the merge
    return {**kept, "fettle.merge": json.dumps(recipe)}


def sha256(path: str, stop: threading.Event) -> str:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while not stop.is_set() and (part := file.read(4 * 1024 * 1024)):
            digest.update(part)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
