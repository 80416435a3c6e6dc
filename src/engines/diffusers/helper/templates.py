"""The templates' files: asks fettle's own program where they are (it downloads what is missing), once for all jobs that wait for it.

Takes the argv of that program; gives a Resolved for a template's name. Knows nothing of pipelines or HTTP. The program prints JSON
lines: {"type": "file" | "progress" | "template" | "error", …}; src/templates/resolve-template.ts is its other end.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arguments import Settings
from counters import count, set_state

log = logging.getLogger("engine")
LOOK_AGAIN_S = 60.0  # a result with something missing is looked at again after this long, beside the jobs


class TemplateError(Exception):
    """A template that cannot be used; the message says why and what to do."""


class MergedUnusableError(Exception):
    """The merged model is there but cannot be loaded; the template's own files are needed."""


@dataclass(frozen=True)
class SourceFile:
    """A file that a template names. Without a path it could not be had, and `error` says why."""

    source: str
    path: Path | None
    error: str | None = None


@dataclass(frozen=True)
class Lora:
    """A LoRA of a template; the strengths are those of the UNet and of each text encoder."""

    file: SourceFile
    unet: float
    te: tuple[float, float]
    has_blocks: bool = False


@dataclass(frozen=True)
class Resolved:
    """A template with its files on this machine. With `merged` the others need not be there."""

    name: str
    checkpoint: SourceFile
    loras: tuple[Lora, ...]
    vae: SourceFile | None
    merged: Path | None
    recipe: str | None
    warnings: tuple[str, ...]
    stamp: tuple[int, int] | None = None
    resolved_at: float = 0.0

    @property
    def files(self) -> list[SourceFile]:
        return [*(lora.file for lora in self.loras), *([self.vae] if self.vae else [])]

    @property
    def is_whole(self) -> bool:
        """Nothing better can be had by looking again."""
        return self.merged is not None or (not self.loras and not any(file.error for file in self.files))

    @property
    def is_there(self) -> bool:
        """What was found has not gone since."""
        if self.merged is not None:
            return self.merged.exists()
        return self.checkpoint.path is not None and self.checkpoint.path.exists() and all(file.path is None or file.path.exists() for file in self.files)


@dataclass
class Fetch:
    """A look that is under way; /progress shows it so that nobody takes the silence of a download for a dead engine."""

    future: Future[Resolved] = field(default_factory=Future)
    done_bytes: int = 0
    total_bytes: int = 0

    @property
    def fraction(self) -> float:
        return min(self.done_bytes / self.total_bytes, 1.0) if self.total_bytes else 0.0


class TemplateStore:
    def __init__(self, settings: Settings) -> None:
        self._argv, self._environment = settings.template_resolver, settings.environment
        self._file, self._keeps_merged = settings.templates or Path(), settings.keep_merged
        self._kept: set[tuple[str, tuple[int, int] | None]] = set()
        self._lock = threading.Lock()
        self._known: dict[tuple[str, bool], Resolved] = {}
        self._running: dict[tuple[str, bool], Fetch] = {}
        self._unusable: set[tuple[str, int]] = set()

    def look(self, name: str, without_merged: bool = False) -> Fetch:
        """The template's files: at once when they are known, else as soon as they are there. Jobs that ask together share one look."""
        key = (name, without_merged)
        with self._lock:
            known = self._known.get(key)
            if known is not None and known.stamp == self._stamp() and known.is_there:
                if not known.is_whole and time.monotonic() - known.resolved_at > LOOK_AGAIN_S and key not in self._running:
                    self._begin(key)
                fetch = Fetch()
                fetch.future.set_result(known)
                return fetch
            return self._running.get(key) or self._begin(key)

    def set_unusable(self, merged: Path) -> None:
        """This very file is not tried again; a new one in its place is."""
        with contextlib.suppress(OSError):
            self._unusable.add((str(merged), merged.stat().st_mtime_ns))

    def is_usable(self, merged: Path) -> bool:
        try:
            return (str(merged), merged.stat().st_mtime_ns) not in self._unusable
        except OSError:
            return False

    def keep_merged(self, template: Resolved) -> None:
        """Merges a template in the background, once: the next start, here or on another machine of the volume, finds it merged."""
        key = (template.name, template.stamp)
        if not self._keeps_merged or template.merged is not None or key in self._kept or any(file.error for file in template.files):
            return
        self._kept.add(key)
        threading.Thread(target=self._merge, args=(template.name,), name="merge", daemon=True).start()

    def _merge(self, name: str) -> None:
        started = time.monotonic()
        try:
            found = ask([*self._argv, f"--name={name}", "--keep-merged"], self._environment, lambda _line: None)
        except TemplateError as error:
            count("fettle_template_merges_total", outcome="failed")
            log.warning("Template %s was not merged: %s", name, error)
            return
        count("fettle_template_merges_total", outcome="merged")
        log.info("Template %s is merged in %s (%.1fs).", name, found.get("merged"), time.monotonic() - started)
        with self._lock:
            for key in [key for key in self._known if key[0] in (name, "") and not key[1]]:
                del self._known[key]

    def _begin(self, key: tuple[str, bool]) -> Fetch:
        fetch = Fetch()
        self._running[key] = fetch
        threading.Thread(target=self._run, args=(key, fetch), name="fetch", daemon=True).start()
        return fetch

    def _run(self, key: tuple[str, bool], fetch: Fetch) -> None:
        name, without_merged = key
        result: Resolved | None = None
        error: BaseException | None = None
        try:
            stamp = self._stamp()
            argv = [*self._argv, f"--name={name}", *(["--base-only"] if without_merged else [])]
            found = ask(argv, self._environment, lambda line: note(fetch, line))
            result = read_template(found, stamp)
            count("fettle_template_resolutions_total", outcome="resolved" if result.is_there else "incomplete")
        except BaseException as failure:
            error = failure
            count("fettle_template_resolutions_total", outcome="failed")
        with self._lock:
            if result is not None:
                self._known[key] = result
            del self._running[key]
        if error is not None:
            fetch.future.set_exception(error)
        elif result is not None:
            fetch.future.set_result(result)

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._file)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size


def ask(argv: list[str], environment: dict[str, str], note_line: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Runs the program and gives its last word; what it says on stderr goes to the log as it is."""
    try:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment)
    except OSError as error:
        raise TemplateError(f"Cannot look for the template's files: {argv[0]} does not start ({error.strerror}).") from error
    last: dict[str, Any] | None = None
    with process:
        for text in process.stdout or ():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if line.get("type") in ("template", "error"):
                last = line
            else:
                note_line(line)
    if last is None:
        raise TemplateError(f"Cannot look for the template's files: {argv[0]} ended with {process.returncode} and no answer.")
    if last["type"] == "error":
        raise TemplateError(" ".join(part for part in (last.get("message"), last.get("hint")) if part))
    return last


def note(fetch: Fetch, line: dict[str, Any]) -> None:
    if line.get("type") == "progress":
        fetch.done_bytes, fetch.total_bytes = int(line["doneBytes"]), int(line["totalBytes"])
    elif line.get("type") == "authentication":
        set_state("fettle_model_authentication", str(line["state"]), provider=str(line["provider"]))
    elif line.get("type") == "file":
        outcome, kind = str(line["outcome"]), str(line["kind"])
        count("fettle_model_downloads_total", kind=kind, outcome=outcome, **({"code": str(line["code"])} if line.get("code") else {}))
        if outcome == "downloaded":
            count("fettle_model_download_bytes_total", float(line.get("sizeBytes", 0)))
            count("fettle_model_download_seconds_total", float(line.get("ms", 0)) / 1000)
            log.info("Downloaded %s in %.1fs.", line.get("source"), float(line.get("ms", 0)) / 1000)
        elif outcome == "failed":
            log.warning("%s", line.get("message"))


def read_template(line: dict[str, Any], stamp: tuple[int, int] | None) -> Resolved:
    def file(one: dict[str, Any]) -> SourceFile:
        return SourceFile(str(one["source"]), Path(one["path"]) if one.get("path") else None, one.get("error"))

    return Resolved(
        name=str(line["name"]),
        checkpoint=file(line["checkpoint"]),
        loras=tuple(Lora(file(one), float(one["unet"]), (float(one["te1"]), float(one["te2"])), bool(one.get("blocks"))) for one in line["loras"]),
        vae=file(line["vae"]) if line.get("vae") else None,
        merged=Path(line["merged"]) if line.get("merged") else None,
        recipe=line.get("recipe"),
        warnings=tuple(line.get("warnings") or ()),
        stamp=stamp,
        resolved_at=time.monotonic(),
    )
