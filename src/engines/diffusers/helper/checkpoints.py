"""Which models there are: finds diffusers directories and checkpoint files, names them as A1111 does, hashes them.

Takes paths; gives Checkpoint values. Reads headers and JSON only; needs neither torch nor diffusers.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HEADER_LIMIT = 100 * 1024 * 1024  # the safetensors format's own limit
PICKLES = (".ckpt", ".pt", ".pth")
KIND_BY_PIPELINE = {
    "StableDiffusionPipeline": "sd15",
    "StableDiffusionImg2ImgPipeline": "sd15",
    "StableDiffusionInpaintPipeline": "sd15",
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusionXLImg2ImgPipeline": "sdxl",
    "StableDiffusionXLInpaintPipeline": "sdxl",
}


class UnusableModelError(Exception):
    """A model that cannot be loaded; the message says why and what to do."""


@dataclass
class Checkpoint:
    """One model on disk. `kind` is "sd15" or "sdxl"; unknown for pickles, which are not opened to look."""

    path: Path
    kind: str | None
    name: str  # with the extension, as A1111 lists it
    sha256: str | None = None
    _hashing: threading.Thread | None = field(default=None, repr=False)

    @property
    def model_name(self) -> str:
        return self.name if self.path.is_dir() else self.name.rpartition(".")[0]

    @property
    def short_hash(self) -> str | None:
        return self.sha256 and self.sha256[:10]

    @property
    def title(self) -> str:
        return f"{self.name} [{self.short_hash}]" if self.sha256 else self.name

    def answers_to(self, wanted: str) -> bool:
        """Whether A1111 would find this model under `wanted`: file name, bare name, title, or a hash."""
        plain = re.sub(r" \[[0-9a-f]{4,64}\]$", "", wanted.strip())
        if plain.lower() in (self.name.lower(), self.model_name.lower()) or plain == str(self.path):
            return True
        return bool(self.sha256) and wanted.lower() in (self.sha256, self.short_hash)

    def listed(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "model_name": self.model_name,
            "hash": self.short_hash,
            "sha256": self.sha256,
            "filename": str(self.path),
            "config": None,
        }

    def start_hashing(self) -> None:
        """Hashes beside the load (both read the same file, and hashing leaves the interpreter free)."""
        if self.sha256 is None and self._hashing is None:
            self._hashing = threading.Thread(target=self._hash, name="hash", daemon=True)
            self._hashing.start()

    def wait_for_hash(self, timeout_s: float) -> None:
        if self._hashing is not None:
            self._hashing.join(timeout_s)

    def _hash(self) -> None:
        digest = hashlib.sha256()
        files = [self.path]
        if self.path.is_dir():
            files = sorted(self.path.glob("*/*.safetensors")) or sorted(self.path.glob("*/*.bin"))
        try:
            for file in files:
                with file.open("rb") as stream:
                    while block := stream.read(1 << 20):
                        digest.update(block)
        except OSError:
            return
        self.sha256 = digest.hexdigest()


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file: tensor name → {dtype, shape, data_offsets}."""
    with path.open("rb") as stream:
        prefix = stream.read(8)
        if len(prefix) < 8:
            raise UnusableModelError(f"{path.name} is not a safetensors file: it is too short.")
        (length,) = struct.unpack("<Q", prefix)
        if length > min(HEADER_LIMIT, os.fstat(stream.fileno()).st_size - 8):
            raise UnusableModelError(f"{path.name} is not a whole safetensors file: its header is cut off.")
        try:
            header = json.loads(stream.read(length))
        except ValueError as error:
            raise UnusableModelError(f"{path.name} is not a safetensors file: {error}.") from error
    if not isinstance(header, dict):
        raise UnusableModelError(f"{path.name} is not a safetensors file: its header is no object.")
    return header


def kind_of_header(header: Iterable[str], name: str) -> str:
    """Which family a checkpoint's tensor names belong to; says what it is when that is none of ours."""
    keys = set(header)
    if not any(key.startswith("model.diffusion_model.") for key in keys):
        raise UnusableModelError(f"{name} holds no UNet (a LoRA, VAE or text encoder?); a full checkpoint is needed.")
    if "conditioner.embedders.1.model.ln_final.weight" in keys:
        return "sdxl"
    if any(key.startswith("cond_stage_model.transformer.") for key in keys):
        return "sd15"
    if "conditioner.embedders.0.model.ln_final.weight" in keys:
        raise UnusableModelError(f"{name} is an SDXL refiner; only SDXL base and SD 1.x are supported.")
    if "cond_stage_model.model.ln_final.weight" in keys:
        raise UnusableModelError(f"{name} is an SD 2.x checkpoint; only SDXL base and SD 1.x are supported.")
    raise UnusableModelError(f"{name} has no text encoder that belongs to SD 1.x or SDXL base.")


def inspect(path: Path, allow_pickle: bool) -> Checkpoint:
    """Looks at one path and gives its Checkpoint, or raises UnusableModelError with the reason."""
    if path.is_dir():
        index = path / "model_index.json"
        if not index.is_file():
            raise UnusableModelError(f"{path} has no model_index.json, so it is no diffusers model.")
        try:
            pipeline = json.loads(index.read_text(encoding="utf-8"))["_class_name"]
        except (ValueError, KeyError, TypeError) as error:
            raise UnusableModelError(f"{index} cannot be read: {error!r}.") from error
        if pipeline not in KIND_BY_PIPELINE:
            raise UnusableModelError(f"{path} is a {pipeline}; only SD 1.x and SDXL pipelines are supported.")
        if not any(path.glob("unet/*.safetensors")) and not (allow_pickle and any(path.glob("unet/*.bin"))):
            raise UnusableModelError(f"{path} has no unet/*.safetensors. Pickled .bin weights need --allow-pickle.")
        return Checkpoint(path, KIND_BY_PIPELINE[pipeline], path.name)
    if path.suffix == ".safetensors":
        return Checkpoint(path, kind_of_header(read_header(path), path.name), path.name)
    if path.suffix in PICKLES:
        if not allow_pickle:
            raise UnusableModelError(
                f"{path.name} is a pickle, which can run code when opened. Convert it to .safetensors, or start with --allow-pickle if you trust it."
            )
        return Checkpoint(path, None, path.name)
    raise UnusableModelError(f"{path.name} is neither a diffusers directory nor a .safetensors or .ckpt file.")


def _candidates(folder: Path) -> Iterator[Path]:
    """Everything below a folder that may be a model; does not look inside a diffusers directory."""
    for root, folders, files in os.walk(folder, followlinks=True):
        here = Path(root)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in list(folders):
            if (here / name / "model_index.json").is_file():
                folders.remove(name)
                if any((here / name).glob("unet/*.safetensors")) or any((here / name).glob("unet/*.bin")):
                    yield here / name
        for name in sorted(files):
            if name.endswith((".safetensors", ".ckpt")) and not name.startswith("."):
                yield here / name


class Catalogue:
    """The models the engine was given, in order: those named one by one first, then those found in folders."""

    def __init__(self, models: tuple[Path, ...], folders: tuple[Path, ...], allow_pickle: bool) -> None:
        self._models, self._folders, self._allow_pickle = models, folders, allow_pickle
        self._lock = threading.Lock()
        self._known: dict[Path, Checkpoint] = {}
        self.refused: dict[str, str] = {}  # path → reason, for the log and for "not found" messages

    def scan(self) -> None:
        """Looks again. Hashes already known are kept; a model named on the command line is never forgotten."""
        found: dict[Path, Checkpoint] = {}
        refused: dict[str, str] = {}
        searched = [folder for folder in self._folders if not (folder / "model_index.json").is_file()]
        whole = [folder for folder in self._folders if folder not in searched]
        for path in (*self._models, *whole, *(path for folder in searched for path in _candidates(folder))):
            if path in found:
                continue
            try:
                found[path] = self._known.get(path) or inspect(path, self._allow_pickle)
            except (UnusableModelError, OSError) as error:
                refused[str(path)] = str(error)
        with self._lock:
            self._known, self.refused = found, refused

    def all(self) -> list[Checkpoint]:
        with self._lock:
            return list(self._known.values())

    def at(self, path: Path) -> Checkpoint | None:
        """The one that was found there before, with its hash if that is known."""
        with self._lock:
            return self._known.get(path)

    def find(self, wanted: str) -> Checkpoint | None:
        return next((checkpoint for checkpoint in self.all() if checkpoint.answers_to(wanted)), None)
