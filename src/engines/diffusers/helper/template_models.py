"""Which model a template's job runs on, and what was left out on the way there. Runs on the device thread only.

    merged model there and loadable ──► merged
    else the base ──► with the LoRAs that could be loaded ──► loras
                 └──► none of them ──► base, with a warning in the result
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters import Adapters, first_line
from checkpoints import Checkpoint, inspect
from core import Engine, is_out_of_memory
from counters import count
from templates import MergedUnusableError, Resolved, TemplateError

log = logging.getLogger("engine")


@dataclass
class Chosen:
    """The model, and what the result says of the template."""

    model: Any
    shown: dict[str, Any]
    warnings: list[str]


def choose(engine: Engine, template: Resolved) -> Chosen:
    warnings = list(template.warnings)
    if template.merged is not None:
        model = _use_merged(engine, template, template.merged)
        names: list[str | None] = [None] * len(template.loras)
        used = "merged"
    else:
        model = _use_base(engine, template)
        names, notes = model.adapters(Adapters, engine.settings.allow_pickle).use(template.loras)
        warnings += notes
        used = "loras" if any(names) else "base"
        if template.loras and used == "base":
            warnings.append(f"Template {template.name} ran on its checkpoint alone: none of its LoRAs could be used.")
        if used == "loras" and engine.templates is not None:
            engine.templates.keep_merged(template)
    warnings += model.notes
    count("fettle_template_jobs_total", template=template.name, used=used)
    loras = [
        {"source": lora.file.source, "scale": lora.unet, **({"textEncoderScale": lora.te[0]} if lora.te[0] != lora.unet else {}),
         "loaded": used == "merged" or name is not None, "adapter": name}
        for lora, name in zip(template.loras, names, strict=True)
    ]  # fmt: skip
    shown = {"name": template.name, "checkpoint": template.checkpoint.source, "loras": loras, "merged": used == "merged", "recipe": template.recipe}
    return Chosen(model, shown, warnings)


def preload(engine: Engine, name: str) -> None:
    """The first template's model, before the first job asks for it."""
    if engine.templates is None:
        return
    try:
        choose(engine, engine.templates.look(name).future.result())
    except MergedUnusableError:
        choose(engine, engine.templates.look(name, without_merged=True).future.result())


def without(engine: Engine, model: Any) -> None:
    """Switches LoRAs off for a job that names no template."""
    if model.has_adapters:
        model.adapters(Adapters, engine.settings.allow_pickle).use(())


def _use_merged(engine: Engine, template: Resolved, path: Path) -> Any:
    try:
        return engine.use_on_device(_checkpoint(engine, path), _vae_path(template))
    except Exception as error:
        if is_out_of_memory(error):
            raise
        count("fettle_template_fallbacks_total", **{"from": "merged", "to": "loras"})
        if engine.templates is not None:
            engine.templates.set_unusable(path)
        log.warning("The merged model %s of template %s cannot be loaded: %s", path, template.name, first_line(error))
        raise MergedUnusableError(f"The merged model of template {template.name} cannot be loaded ({first_line(error)})") from error


def _use_base(engine: Engine, template: Resolved) -> Any:
    checkpoint = template.checkpoint
    if checkpoint.path is None:
        raise TemplateError(f"Cannot use template {template.name}: {(checkpoint.error or 'its checkpoint is missing').rstrip('.')}.")
    return engine.use_on_device(_checkpoint(engine, checkpoint.path), _vae_path(template))


def _vae_path(template: Resolved) -> Path | None:
    return template.vae.path if template.vae else None


def _checkpoint(engine: Engine, path: Path) -> Checkpoint:
    return engine.catalogue.at(path) or inspect(path, engine.settings.allow_pickle)
