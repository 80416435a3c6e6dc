"""A real engine process for tests: starts engine.py on a free port, talks to it over HTTP, ends it by its own pid.

Nothing here sleeps as a way of waiting: `until` asks the API again until a fact holds.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

HELPER = Path(__file__).resolve().parents[3] / "src" / "engines" / "diffusers" / "helper"
sys.path.insert(0, str(HELPER))

_folder: Path | None = None
_shared: EngineProcess | None = None


def workplace() -> Path:
    """One folder for the whole run with the tiny models: sdxl/, sd15/, one.safetensors (sdxl), half.safetensors (sd15)."""
    global _folder
    if _folder is None:
        _folder = Path(tempfile.mkdtemp(prefix="fettle-engine-test-"))
        atexit.register(shutil.rmtree, _folder, True)
        make_model("models/sdxl", "--single-file", str(_folder / "models" / "one.safetensors"))
        make_model("models/sd15", "--kind", "sd15", "--single-file", str(_folder / "models" / "half.safetensors"))
    return _folder


def make_model(name: str, *arguments: str) -> Path:
    out = workplace() / name
    subprocess.run([sys.executable, str(HELPER / "tiny_model.py"), str(out), *arguments], check=True, stdout=subprocess.DEVNULL)
    return out


class Answer:
    """Status and body of one HTTP answer."""

    def __init__(self, status: int, body: bytes, headers: Any) -> None:
        self.status, self.body, self.headers = status, body, headers

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class EngineProcess:
    def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.lines: list[str] = []
        self._line = threading.Condition()
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(HELPER / "engine.py"), "--port", "0", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        )
        atexit.register(self.stop)  # whatever the test does, the engine ends with it
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        found = self.line("Uvicorn running on ")
        self.url = found.split("Uvicorn running on ")[1].split()[0]
        self.port = int(self.url.rpartition(":")[2])

    def _read(self) -> None:
        for line in self.process.stderr or ():
            with self._line:
                self.lines.append(line.rstrip("\n"))
                self._line.notify_all()
        with self._line:
            self.lines.append("(end of log)")
            self._line.notify_all()

    def line(self, part: str, limit_s: float = 60) -> str:
        """Waits until the log has a line with `part`, and gives it."""

        def found() -> str | None:
            return next((line for line in self.lines if part in line), None)

        with self._line:
            self._line.wait_for(lambda: found() or "(end of log)" in self.lines, limit_s)
            result = found()
        if result is None:
            raise AssertionError(f"no log line with {part!r} in:\n" + "\n".join(self.lines))
        return result

    def request(self, method: str, path: str, body: Any = None, raw: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        content = raw if raw is not None else (json.dumps(body).encode() if body is not None else None)
        request = urllib.request.Request(self.url + path, data=content, method=method)
        if content is not None:
            request.add_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return Answer(response.status, response.read(), response.headers)
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read(), error.headers)

    def get(self, path: str, **more: Any) -> Answer:
        return self.request("GET", f"/sdapi/v1/{path}", **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Answer:
        return self.request("POST", f"/sdapi/v1/{path}", body, **more)

    def progress(self) -> Any:
        return self.get("progress?skip_current_image=true").json

    def until(self, what: str, check: Callable[[], Any], limit_s: float = 60) -> Any:
        """Asks again until `check` gives something true; a dead engine or the limit fails the test."""
        end = time.monotonic() + limit_s
        while True:
            result = check()
            if result:
                return result
            if self.process.poll() is not None:
                raise AssertionError("the engine ended:\n" + "\n".join(self.lines))
            if time.monotonic() > end:
                raise AssertionError(f"{what}: not within {limit_s}s")

    def in_background(self, path: str, body: Any) -> Background:
        return Background(lambda: self.post(path, body))

    def stop(self) -> int:
        atexit.unregister(self.stop)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(10)
        finally:
            self._reader.join(5)
            if self.process.stderr:
                self.process.stderr.close()


class Background:
    """A request that runs beside the test."""

    def __init__(self, call: Callable[[], Answer]) -> None:
        self.answer: Answer | None = None
        self.error: BaseException | None = None

        def run() -> None:
            try:
                self.answer = call()
            except BaseException as error:
                self.error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def result(self, limit_s: float = 60) -> Answer:
        self._thread.join(limit_s)
        if self.error is not None:
            raise self.error
        if self.answer is None:
            raise AssertionError("no answer yet")
        return self.answer


def shared_engine() -> EngineProcess:
    """The engine most tests use: all four tiny models, a short queue, pictures saved."""
    global _shared
    if _shared is None or _shared.process.poll() is not None:
        folder = workplace()
        _shared = EngineProcess(
            "--model", str(folder / "models" / "sdxl"), "--models-dir", str(folder / "models"),
            "--queue-size", "3", "--output-dir", str(folder / "out"), "--max-pixels", str(2048 * 2048),
        )  # fmt: skip
    return _shared


SMALL = {"prompt": "a cat", "steps": 3, "width": 64, "height": 64, "seed": 7}
LONG = {**SMALL, "steps": 900}
