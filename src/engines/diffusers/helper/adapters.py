"""LoRAs on a loaded model: each file is loaded once under a name of its own, and each job says which are active and how strongly.

Runs on the device thread only. A LoRA that cannot be loaded is told, not raised: the job goes on without it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from counters import count, gauge
from templates import Lora

log = logging.getLogger("engine")
KEPT = 8  # adapters of other templates that stay loaded beside those in use
Key = tuple[str, int, int]


def adapter_name(stem: str, taken: set[str]) -> tuple[str, str]:
    """A name that PEFT takes as part of a module path, and what was done to it: "kept", "sanitised" or "numbered".

    `a-b` and `a_b` would be one name; the second one gets a number.
    """
    plain = re.sub(r"[^0-9a-zA-Z_]", "_", stem) or "lora"
    name, number = plain, 1
    while name in taken:
        number += 1
        name = f"{plain}_{number}"
    return name, "numbered" if number > 1 else "kept" if plain == stem else "sanitised"


def peft_version() -> str | None:
    if importlib.util.find_spec("peft") is None:
        return None
    try:
        return importlib.metadata.version("peft")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def report_backend() -> None:
    """What the environment has for LoRAs and downloads, as gauges."""
    version = peft_version()
    gauge("fettle_peft_available", float(version is not None), version=version or "none")
    enabled = os.environ.get("HF_HUB_ENABLE_HF_TRANSFER", "").strip().lower() in ("1", "true", "yes", "on")
    gauge("fettle_hf_transfer_enabled", float(enabled))
    gauge("fettle_hf_transfer_available", float(importlib.util.find_spec("hf_transfer") is not None))


class Adapters:
    def __init__(self, model: Any, allow_pickle: bool) -> None:
        self._model, self._allow_pickle = model, allow_pickle
        self._names: dict[Key, str] = {}  # in the order of their last use
        self._active: list[tuple[str, Any]] | None = None  # None: nothing was ever loaded, so nothing must be switched off

    def use(self, loras: tuple[Lora, ...]) -> tuple[list[str | None], list[str]]:
        """Makes exactly these active. Gives each one's adapter name (None: it could not be had) and the warnings."""
        notes: list[str] = []
        names: list[str | None] = []
        strengths: dict[str, list[float]] = {}
        for lora in loras:
            name, reason = self._load(lora)
            names.append(name)
            if name is None:
                count("fettle_template_fallbacks_total", **{"from": "lora", "to": "base"})
                notes.append(f"LoRA {lora.file.source} was left out: {reason}.")
                continue
            if lora.has_blocks:
                notes.append(f"LoRA {lora.file.source}: its block weights are only applied by fettle merge; here all blocks count alike.")
            if name in strengths:
                count("fettle_lora_duplicates_total", cause="named-twice")
                strengths[name] = [one + other for one, other in zip(strengths[name], (lora.unet, *lora.te), strict=True)]
            else:
                strengths[name] = [lora.unet, *lora.te]
        try:
            self._activate(strengths)
        except Exception as error:
            count("fettle_adapter_weights_total", outcome="failed")
            count("fettle_template_fallbacks_total", **{"from": "lora", "to": "base"})
            self.drop()
            return [None] * len(loras), [*notes, f"The LoRAs were left out: their weights cannot be set ({first_line(error)})."]
        return names, notes

    def drop(self) -> None:
        """Forgets all of them; the model is what it was without."""
        if self._active is not None:
            with contextlib.suppress(Exception):
                self._model.pipeline("txt2img").unload_lora_weights()
        self._names, self._active = {}, None

    def _load(self, lora: Lora) -> tuple[str | None, str]:
        path = lora.file.path
        if path is None:
            return None, (lora.file.error or "its file is missing").rstrip(".")
        try:
            status = path.stat()
            key = (str(path), status.st_mtime_ns, status.st_size)
            if key in self._names:
                count("fettle_lora_duplicates_total", cause="loaded")
                self._names[key] = self._names.pop(key)
                return self._names[key], ""
            if peft_version() is None:
                raise RuntimeError("the Python package peft is not installed")
            name = self._load_file(path)
        except Exception as error:
            count("fettle_lora_loads_total", outcome="failed")
            log.warning("LoRA %s cannot be loaded: %s", path, first_line(error))
            return None, f"it cannot be loaded ({first_line(error)})"
        self._names[key] = name
        count("fettle_lora_loads_total", outcome="loaded")
        return name, ""

    def _load_file(self, path: Path) -> str:
        pipeline = self._model.pipeline("txt2img")
        name, treatment = adapter_name(path.stem, set(self._names.values()))
        count("fettle_lora_names_total", outcome=treatment)
        if self._active is None:
            self._active = []
        try:
            with counted_warnings():
                pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name, local_files_only=True,
                                           use_safetensors=None if self._allow_pickle else True)  # fmt: skip
            if not any(name in found for found in pipeline.get_list_adapters().values()):
                raise ValueError("nothing in it fits this model")
        except BaseException:
            with contextlib.suppress(Exception):
                pipeline.delete_adapters(name)
            raise
        return name

    def _activate(self, strengths: dict[str, list[float]]) -> None:
        if self._active is None:
            return
        wanted = [(name, tuple(values)) for name, values in strengths.items()]
        pipeline = self._model.pipeline("txt2img")
        with counted_warnings():
            if not wanted:
                if self._names:
                    pipeline.disable_lora()
            elif wanted != self._active:
                pipeline.enable_lora()
                pipeline.set_adapters([name for name, _ in wanted], adapter_weights=[self._weight(name, values) for name, values in wanted])
                count("fettle_adapter_weights_total", outcome="set")
        self._active = wanted
        self._let_go(set(strengths))

    def _weight(self, name: str, values: tuple[float, ...]) -> Any:
        """One number, or one for each part that this adapter has."""
        if len(set(values)) == 1:
            return values[0]
        parts = dict(zip(("unet", "text_encoder", "text_encoder_2"), values, strict=True))
        held = self._model.pipeline("txt2img").get_list_adapters()
        return {part: value for part, value in parts.items() if name in held.get(part, ())}

    def _let_go(self, used: set[str]) -> None:
        idle = [key for key, name in self._names.items() if name not in used]
        for key in idle[: max(0, len(idle) - KEPT)]:
            self._model.pipeline("txt2img").delete_adapters(self._names.pop(key))


@contextlib.contextmanager
def counted_warnings() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield
    if found:
        count("fettle_peft_warnings_total", len(found))
        for one in found[:3]:
            log.info("While a LoRA was loaded: %s", str(one.message)[:300])


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0][:300] if lines else type(error).__name__).rstrip(".")
