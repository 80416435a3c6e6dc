"""The engine itself: which model is loaded, the options, the device thread. The API calls it; it knows nothing of HTTP."""

from __future__ import annotations

import logging
import threading
import time
import traceback
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapters import report_backend
from arguments import Settings
from checkpoints import Catalogue, Checkpoint, UnusableModelError
from counters import count
from device_thread import DeviceThread, Job
from model_cache import ModelCache, automatic_limit, bytes_on_disk, key_of
from options import Options
from templates import Resolved, TemplateError, TemplateStore
from waits import Waits

log = logging.getLogger("engine")


class Engine:
    """One device, and the models on it: one, or as many as fit the bound. Methods named `*_on_device` run on the device thread only."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.options = Options()
        self.catalogue = Catalogue(settings.models, settings.models_dirs, settings.allow_pickle)
        self.device = DeviceThread(settings.queue_size, self._recover)
        self.model: Any = None  # the one that was used last
        self.models = ModelCache()
        self.templates = TemplateStore(settings) if settings.templates else None
        self.device_name: str | None = None  # set once torch is imported, so that nobody else waits for that import
        self.load_state = "waiting"  # waiting | loading | loaded | none | failed
        self.load_error: str | None = None
        self.was_loaded = False  # the first load has ended; unloading, or another model, takes no readiness back
        self.waits = Waits()
        self.oom_count = 0
        self.stopping = threading.Event()
        self.scanned = threading.Event()

    def start(self) -> None:
        """Begins with what takes long (imports, the first load), all of it behind the listening socket."""
        threading.Thread(target=self._scan, name="scan", daemon=True).start()
        if self.templates and self.settings.template is not None:
            self.templates.look(self.settings.template)  # a download goes on beside the imports
        self.device.submit(Job("start", "start", self._start_on_device, counts=False))
        self.device.start()

    def _scan(self) -> None:
        try:
            self.rescan()
        finally:
            self.scanned.set()

    def rescan(self) -> None:
        self.catalogue.scan()
        for path, reason in self.catalogue.refused.items():
            log.warning("Passed over %s: %s", path, reason)

    @property
    def is_ready(self) -> bool:
        """Listening is ready; with --preload the first model must be loaded as well."""
        if self.stopping.is_set():
            return False
        return not self.settings.preload or self.was_loaded

    def selected(self) -> Checkpoint | None:
        """The model that requests without an override get: the option's, else the first one."""
        self.scanned.wait()
        wanted = self.options.get("sd_model_checkpoint")
        known = self.catalogue.all()
        return (self.catalogue.find(wanted) if wanted else None) or (known[0] if known else None)

    async def resolve(self, name: str, task_id: str) -> Resolved | None:
        """The template's files, once they are there; None when the task was interrupted meanwhile."""
        if self.templates is None:
            raise TemplateError("Cannot use a template: the engine was started without --templates.")
        found = await self.waits.until_there(task_id, self.templates.look(name))
        if found is not None and found.merged is not None and not self.templates.is_usable(found.merged):
            found = await self.waits.until_there(task_id, self.templates.look(name, without_merged=True))
            return found and replace(found, warnings=(*found.warnings, "The merged model cannot be loaded; the template's own files were used."))
        return found

    def submit(self, name: str, run: Any, task_id: str | None = None, counts: bool = True) -> Job:
        job = Job(task_id or f"task({name}-{uuid.uuid4().hex[:12]})", name, run, counts=counts)
        self.device.submit(job)
        return job

    def stop(self) -> None:
        self.stopping.set()
        self.waits.stop()
        self.device.stop()

    # ---- on the device thread ----

    def _start_on_device(self, job: Job) -> None:
        started = time.monotonic()
        import torch

        after_torch = time.monotonic()
        import diffusers
        from diffusers import (  # noqa: F401 - imported here so that the first request does not wait for it
            StableDiffusionPipeline,
            StableDiffusionXLPipeline,
        )

        from loader import pick_device

        log.info(
            "Imported torch %s in %.1fs, diffusers %s in %.1fs.",
            torch.__version__, after_torch - started, diffusers.__version__, time.monotonic() - after_torch,
        )  # fmt: skip
        device, dtype = pick_device(self.settings)
        self.device_name = str(device)
        limit = self.settings.model_memory
        self.models.limit = automatic_limit(device) if limit is None else limit
        self.models.tell()
        report_backend()
        log.info("Device: %s, %s, %d threads.", device, str(dtype).removeprefix("torch."), torch.get_num_threads())
        if self.templates and self.settings.template is not None and not self.settings.models:
            self._preload_template(self.settings.template)
            return
        checkpoint = self.selected()
        if checkpoint is None:
            self.load_state, self.was_loaded = "none", True
            log.warning("No model found. Give --model PATH or --models-dir DIR.")
            return
        try:
            self.use_on_device(checkpoint)
        except Exception as error:
            self._recover(error)

    def _preload_template(self, name: str) -> None:
        """Loads the first template's model. What fails here fails that template's jobs, and no others: the engine is ready in any case."""
        import template_models

        try:
            template_models.preload(self, name)
        except Exception as error:
            self.load_state, self.load_error = "failed", f"{type(error).__name__}: {error}"
            self._recover(error)
        self.was_loaded = True

    def use_on_device(self, checkpoint: Checkpoint | None, vae: Path | None = None) -> Any:
        """Makes `checkpoint` the model in use and gives it; others give way for it first where room is short.

        With a `vae` its own is replaced, unless that one does without float32 already; one that cannot be loaded is a warning on the model.
        """
        if checkpoint is None:
            places = [str(path) for path in (*self.settings.models, *self.settings.models_dirs)]
            reasons = "; ".join(self.catalogue.refused.values())
            raise FileNotFoundError(
                f"No checkpoints found. Searched: {', '.join(places) or 'nowhere (give --model or --models-dir)'}."
                + (f" Passed over: {reasons}" if reasons else "")
            )
        key = key_of(checkpoint.path, vae)
        self.model = self.models.get(key)
        if self.model is not None:
            return self.model
        self._let_go(self.models.make_room(bytes_on_disk(checkpoint.path)))
        self.load_state = "loading"
        try:
            self.model = self._load(checkpoint, vae)
        except BaseException as error:
            self.load_state, self.load_error = "failed", f"{type(error).__name__}: {error}"
            count("fettle_model_loads_total", outcome="failed")
            raise
        self.load_state, self.load_error, self.was_loaded = "loaded", None, True
        self.models.put(key, self.model)
        # Its files may be half of what it takes (float16 on a CPU), so the bound is kept afterwards too.
        self._let_go(self.models.trim())
        count("fettle_model_loads_total", outcome="loaded")
        return self.model

    def _load(self, checkpoint: Checkpoint, vae: Path | None) -> Any:
        from loader import load

        try:
            return load(checkpoint, self.settings, vae)
        except Exception as error:
            others = self.models.clear()
            if not others or not is_out_of_memory(error):
                raise
            log.warning("No room for %s beside %d other models; they are let go.", checkpoint.name, len(others))
            traceback.clear_frames(error.__traceback__)
        self._let_go(others)
        return load(checkpoint, self.settings, vae)

    def unload_on_device(self) -> None:
        self.model = None
        self.load_state = "waiting"
        self._let_go(self.models.clear())

    def _let_go(self, models: list[Any]) -> None:
        from loader import release_memory

        for model in models:
            # A traceback or a late callback may still hold the model; its pipelines need not stay for that.
            model.pipelines.clear()
        models.clear()
        release_memory()

    def _recover(self, error: BaseException) -> None:
        """After a failed job: one clear log line, the error's frames let go of their tensors, memory given back."""
        from loader import release_memory

        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        exhausted = is_out_of_memory(error)
        log.error("*** %s: %s", "OutOfMemoryError" if exhausted else type(error).__name__, first[:2000])
        if exhausted:
            self.oom_count += 1
        elif not isinstance(error, (ValueError, FileNotFoundError, UnusableModelError)):
            last = traceback.extract_tb(error.__traceback__)[-1:]
            log.error("*** at %s", "".join(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in last))
        traceback.clear_frames(error.__traceback__)
        error.__traceback__ = None
        release_memory()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: on the device, or on the CPU, where torch and oneDNN raise a plain RuntimeError."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    signs = ("can't allocate memory", "out of memory", "could not create a primitive")
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in signs)
