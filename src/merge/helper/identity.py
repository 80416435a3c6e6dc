"""Which files went into a merge, and what is written about it into the output. Nothing there depends on the time or the machine: the same
request gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from typing import Any

from block_weights import NAMES
from model import Model, is_sdxl
from refusal import Refusal
from request import Request
from safetensors_file import TensorFile

VERSION = 2
"""Of the arithmetic: a new one makes a second run with the same request write again."""
WHOLE_BELOW = 1024 * 1024 * 1024
SAMPLES = 64
SAMPLE_BYTES = 64 * 1024
KEY = "fettle.merge"


def identify(file: TensorFile, known: str | None, *, whole: bool, stop: threading.Event) -> dict[str, str]:
    """{"sha256": …} where it is known, asked for, or cheap; else {"fingerprint": …}: size, header and 64 samples hashed. A fingerprint tells
    checkpoints apart in milliseconds, where sha256 would cost as long as the merge; it is no defence against somebody who forges one."""
    if known:
        return {"sha256": known.lower()}
    if whole or file.size < WHOLE_BELOW:
        return {"sha256": hash_parts(file, [(at, 4 * 1024 * 1024) for at in range(0, file.size, 4 * 1024 * 1024)], b"", stop)}
    step = max(SAMPLE_BYTES, (file.size - SAMPLE_BYTES) // (SAMPLES - 1))
    samples = [(0, max(file.header_bytes, SAMPLE_BYTES)), *((at, SAMPLE_BYTES) for at in range(0, file.size, step)), (file.size - SAMPLE_BYTES, SAMPLE_BYTES)]
    return {"fingerprint": hash_parts(file, samples, b"%d" % file.size, stop)}


def hash_parts(file: TensorFile, parts: list[tuple[int, int]], seed: bytes, stop: threading.Event) -> str:
    digest = hashlib.sha256(seed)
    for offset, size in parts:
        if stop.is_set():
            raise Refusal("it was interrupted", code="merge.interrupted")
        digest.update(os.pread(file.descriptor, size, offset))
    return digest.hexdigest()


def identify_files(path: str, files: list[TensorFile], known: str | None, *, whole: bool, stop: threading.Event) -> dict[str, Any]:
    """A directory is its weight files."""
    name = os.path.basename(path.rstrip("/"))
    if len(files) == 1:
        return {"file": name, **identify(files[0], known, whole=whole, stop=stop)}
    parts = {os.path.relpath(file.path, path): identify(file, None, whole=whole, stop=stop) for file in files}
    return {"file": name, "files": parts}


def recipe_of(request: Request, inputs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Everything that the output depends on."""
    recipe: dict[str, Any] = {"version": VERSION, "base": inputs[request.base]}
    if request.base_weight != 1:
        recipe["baseWeight"] = request.base_weight
    if request.terms:
        recipe["terms"] = [{**inputs[one.path], "weight": one.weight} for one in request.terms]
    recipe["loras"] = []
    for one in request.loras:
        entry = {**inputs[one.path], "unet": one.unet, "te": one.te[0]}
        if len(set(one.te)) > 1:
            entry |= {f"te{number}": strength for number, strength in enumerate(one.te, 1)}
        if one.blocks is not None:
            entry["blocks"] = {name: one.blocks[name] for name in sorted(NAMES) if name in one.blocks}
        recipe["loras"].append(entry)
    if request.vae:
        recipe["vae"] = inputs[request.vae]
    if request.components:
        recipe["components"] = inputs[request.components]
    recipe |= {"format": request.format, "dtype": request.dtype or "keep"}
    if request.format == "diffusers":
        recipe |= {"variant": request.variant or "", "shardBytes": request.shard_bytes}
    return recipe


STALE = ("modelspec.hash_sha256", "modelspec.date", "modelspec.thumbnail", "sshs_model_hash", "sshs_legacy_hash")
ARCHITECTURES = {"SD 1.5": "stable-diffusion-v1", "SD 2": "stable-diffusion-v2-768-v", "SDXL": "stable-diffusion-xl-v1-base", "Flux": "flux-1-dev"}


def metadata_of(request: Request, base: Model, recipe: dict[str, Any]) -> dict[str, str]:
    """The base's own metadata without what named its former bytes, and what was merged."""
    kept = {key: value for key, value in base.metadata.items() if key not in STALE and key not in (KEY, "fettle.recipe")}
    names = [os.path.splitext(os.path.basename(path.rstrip("/")))[0] for path in request.inputs]
    title = request.title or " + ".join(names)
    spec = {"modelspec.sai_model_spec": kept.get("modelspec.sai_model_spec", "1.0.1"), "modelspec.title": title, "modelspec.merged_from": ", ".join(names)}
    architecture = "stable-diffusion-xl-v1-base" if is_sdxl(base) and base.kind != "SDXL refiner" else ARCHITECTURES.get(base.kind)
    if architecture and "modelspec.architecture" not in kept:
        spec |= {"modelspec.architecture": architecture}
    recipe_id = {"fettle.recipe": request.recipe} if request.recipe else {}
    return {**kept, **spec, **recipe_id, KEY: json.dumps(recipe, separators=(",", ":"))}
