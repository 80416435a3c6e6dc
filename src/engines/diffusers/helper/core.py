"""The engine itself: which model is loaded, the options, the device thread. The API calls it; it knows nothing of HTTP."""

from __future__ import annotations

import logging
import threading
import time
import traceback
import uuid
from typing import Any

from arguments import Settings
from checkpoints import Catalogue, Checkpoint, UnusableModelError
from device_thread import DeviceThread, Job
from options import Options

log = logging.getLogger("engine")


class Engine:
    """One device, at most one loaded model. Methods named `*_on_device` run on the device thread only."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.options = Options()
        self.catalogue = Catalogue(settings.models, settings.models_dirs, settings.allow_pickle)
        self.device = DeviceThread(settings.queue_size, self._recover)
        self.model: Any = None
        self.device_name: str | None = None  # set once torch is imported, so that nobody else waits for that import
        self.load_state = "waiting"  # waiting | loading | loaded | none | failed
        self.load_error: str | None = None
        self.was_loaded = False  # the first load has ended; unloading, or another model, takes no readiness back
        self.oom_count = 0
        self.stopping = threading.Event()
        self.scanned = threading.Event()

    def start(self) -> None:
        """Begins with what takes long (imports, the first load), all of it behind the listening socket."""
        threading.Thread(target=self._scan, name="scan", daemon=True).start()
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

    def submit(self, name: str, run: Any, task_id: str | None = None, counts: bool = True) -> Job:
        job = Job(task_id or f"task({name}-{uuid.uuid4().hex[:12]})", name, run, counts=counts)
        self.device.submit(job)
        return job

    def stop(self) -> None:
        self.stopping.set()
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
        log.info("Device: %s, %s, %d threads.", device, str(dtype).removeprefix("torch."), torch.get_num_threads())
        checkpoint = self.selected()
        if checkpoint is None:
            self.load_state, self.was_loaded = "none", True
            log.warning("No model found. Give --model PATH or --models-dir DIR.")
            return
        try:
            self.use_on_device(checkpoint)
        except Exception as error:
            self._recover(error)

    def use_on_device(self, checkpoint: Checkpoint | None) -> Any:
        """Makes `checkpoint` the loaded model (frees the one before first) and gives it."""
        if checkpoint is None:
            places = [str(path) for path in (*self.settings.models, *self.settings.models_dirs)]
            reasons = "; ".join(self.catalogue.refused.values())
            raise FileNotFoundError(
                f"No checkpoints found. Searched: {', '.join(places) or 'nowhere (give --model or --models-dir)'}."
                + (f" Passed over: {reasons}" if reasons else "")
            )
        if self.model is not None and self.model.checkpoint.path == checkpoint.path:
            return self.model
        from loader import load

        self.unload_on_device()
        self.load_state = "loading"
        try:
            self.model = load(checkpoint, self.settings)
        except BaseException as error:
            self.load_state, self.load_error = "failed", f"{type(error).__name__}: {error}"
            raise
        self.load_state, self.load_error, self.was_loaded = "loaded", None, True
        return self.model

    def unload_on_device(self) -> None:
        from loader import release_memory

        if self.model is not None:
            # A traceback or a late callback may still hold the model; its pipelines need not stay for that.
            self.model.pipelines.clear()
            self.model = None
            self.load_state = "waiting"
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
