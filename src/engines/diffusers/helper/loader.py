"""Loads one checkpoint onto the device as a set of diffusers components, and frees it again.

Owns precision: float16 on CUDA, float32 on the CPU (where half is many times slower), the VAE in float32 where half
would overflow. Runs on the device thread only; never opens a network connection.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arguments import Settings
from checkpoints import Checkpoint, UnusableModelError, kind_of_header, read_header
from single_file import find_config_folder, write_config_folder
from vae import replaced

log = logging.getLogger("engine")


@dataclass
class LoadedModel:
    """A model on the device. `pipelines` caches the pipelines made of the same components."""

    checkpoint: Checkpoint
    kind: str
    components: dict[str, Any]
    device: Any
    dtype: Any
    vae_dtype: Any
    scheduler_config: dict[str, Any]
    pipelines: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what each result made with it should say
    _adapters: Any = None

    @property
    def unet(self) -> Any:
        return self.components["unet"]

    @property
    def vae(self) -> Any:
        return self.components["vae"]

    @property
    def has_adapters(self) -> bool:
        return self._adapters is not None

    def adapters(self, create: Callable[[LoadedModel, bool], Any], allow_pickle: bool) -> Any:
        """The LoRAs on this model; made when the first job wants any."""
        if self._adapters is None:
            self._adapters = create(self, allow_pickle)
        return self._adapters

    def pipeline(self, purpose: str) -> Any:
        """The pipeline for "txt2img", "img2img" or "inpaint"; all share the same weights."""
        if purpose not in self.pipelines:
            import diffusers

            family = "StableDiffusionXL" if self.kind == "sdxl" else "StableDiffusion"
            suffix = {"txt2img": "", "img2img": "Img2Img", "inpaint": "Inpaint"}[purpose]
            cls = getattr(diffusers, f"{family}{suffix}Pipeline")
            extra = {"add_watermarker": False} if self.kind == "sdxl" else {"requires_safety_checker": False}
            pipeline = cls(**self.components, **extra)
            pipeline.set_progress_bar_config(disable=True)
            self.pipelines[purpose] = pipeline
        return self.pipelines[purpose]


def pick_device(settings: Settings) -> tuple[Any, Any]:
    """The torch device and the precision of the big networks."""
    import torch

    name = settings.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise RuntimeError(f"--device {name} was asked for, but torch {torch.__version__} sees no CUDA device.")
    device = torch.device(name)
    if settings.dtype != "auto":
        return device, getattr(torch, settings.dtype)
    return device, torch.float16 if device.type == "cuda" else torch.float32


def load(checkpoint: Checkpoint, settings: Settings, vae: Path | None = None) -> LoadedModel:
    """Loads a checkpoint. Raises UnusableModelError with a hint when files for it are missing."""
    started = time.monotonic()
    device, dtype = pick_device(settings)
    if not settings.no_hashing:
        checkpoint.start_hashing()
    if checkpoint.path.is_dir():
        pipeline = _load_directory(checkpoint, settings, dtype)
    else:
        pipeline = _load_file(checkpoint, settings, dtype)
    kind = "sdxl" if hasattr(pipeline, "text_encoder_2") else "sd15"
    checkpoint.kind = kind
    components = {name: part for name, part in pipeline.components.items() if name != "image_encoder"}
    components |= {"image_encoder": None, "feature_extractor": None}
    if kind == "sd15":
        components["safety_checker"] = None
    notes: list[str] = []
    if kind == "sdxl":
        components["vae"] = replaced(pipeline.vae, vae, notes)
    model = LoadedModel(
        checkpoint=checkpoint,
        kind=kind,
        components=components,
        device=device,
        dtype=dtype,
        vae_dtype=_vae_dtype(components["vae"], kind, dtype, settings),
        scheduler_config=dict(pipeline.scheduler.config),
        notes=notes,
    )
    for name, part in components.items():
        if hasattr(part, "to") and hasattr(part, "parameters"):
            part.to(device=device, dtype=model.vae_dtype if name == "vae" else dtype)
            part.eval()
            part.requires_grad_(False)
    # Precision of the VAE is decided here alone; the SDXL pipelines would otherwise cast it to and fro on their own.
    model.vae.register_to_config(force_upcast=False)
    model.vae.enable_slicing()
    log.info(
        "Model loaded in %.1fs (%s, %s, %s on %s).",
        time.monotonic() - started, checkpoint.name, kind, str(dtype).removeprefix("torch."), device,
    )  # fmt: skip
    return model


def _vae_dtype(vae: Any, kind: str, dtype: Any, settings: Settings) -> Any:
    """SDXL's original VAE overflows in float16 and says so in its config; SD 1.x's default says it without need."""
    import torch

    if dtype is torch.float16 and (settings.no_half_vae or (kind == "sdxl" and vae.config.force_upcast)):
        return torch.float32
    return dtype if not settings.no_half_vae else torch.float32


def _load_directory(checkpoint: Checkpoint, settings: Settings, dtype: Any) -> Any:
    import torch
    from diffusers import DiffusionPipeline

    folder = checkpoint.path
    half = any(folder.glob("unet/*.fp16.*"))
    whole = any(file for file in folder.glob("unet/*.safetensors") if ".fp16." not in file.name)
    variant = "fp16" if half and (dtype is not torch.float32 or not whole) else None
    extra: dict[str, Any] = {"add_watermarker": False}
    if checkpoint.kind == "sd15":
        extra = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return DiffusionPipeline.from_pretrained(
        folder,
        variant=variant,
        dtype=dtype,
        use_safetensors=None if settings.allow_pickle else True,
        local_files_only=True,
        **extra,
    )


def _load_file(checkpoint: Checkpoint, settings: Settings, dtype: Any) -> Any:
    import diffusers

    path = checkpoint.path
    shapes = _shapes(path, settings)
    kind = kind_of_header(shapes, path.name)
    cls = diffusers.StableDiffusionXLPipeline if kind == "sdxl" else diffusers.StableDiffusionPipeline
    with contextlib.ExitStack() as stack:
        folder = find_config_folder(path, kind, settings.config_dir)
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fettle-configs-")))
            write_config_folder(folder, path, kind, shapes)
        extra = {"add_watermarker": False} if kind == "sdxl" else {"safety_checker": None, "feature_extractor": None}
        return cls.from_single_file(str(path), config=str(folder), dtype=dtype, local_files_only=True, **extra)


def _shapes(path: Path, settings: Settings) -> dict[str, list[int]]:
    if path.suffix == ".safetensors":
        header = read_header(path)
        return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    if not settings.allow_pickle:
        raise UnusableModelError(f"{path.name} is a pickle; start with --allow-pickle if you trust it.")
    import torch

    weights = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    weights = weights.get("state_dict", weights)
    return {name: list(value.shape) for name, value in weights.items() if hasattr(value, "shape")}


def release_memory() -> None:
    """Gives freed memory back to the device, so that the next load or job can have it."""
    import sys

    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
