"""Between pictures and latents: seeded noise, VAE encode and decode, the check for NaN, the cheap preview."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from PIL import Image

from counters import count

log = logging.getLogger("engine")

# Least-squares maps from four latent channels to RGB, published for previews (SDXL: diffusers' docs on callbacks).
_PREVIEW = {
    "sdxl": ([[60, -60, 25, -70], [60, -5, 15, -50], [60, 10, -5, -35]], [150, 140, 130]),
    "sd15": ([[38, 24, -20, -24], [27, 36, 24, -35], [27, 22, 34, -60]], [128, 128, 128]),
}


class NansException(Exception):
    """A network produced NaN, so there is no picture."""


def nan_message(where: str) -> str:
    advice = "--no-half" if where == "Unet" else "--no-half-vae"
    return (
        f"A tensor with NaNs was produced in {where}. The precision may not suffice for this model or prompt. "
        f"Try {advice}. Use --disable-nan-check to get the picture anyway."
    )


def seeded(seed: int) -> Any:
    """A generator on the CPU, so that a seed gives the same picture on every device."""
    import torch

    return torch.Generator("cpu").manual_seed(seed)


def noise(shape: tuple[int, int, int], generator: Any, subseed: int, strength: float) -> Any:
    """Initial noise of one picture; with a subseed strength, on the great circle between two seeds."""
    import torch

    first = torch.randn(shape, generator=generator)
    if strength == 0:
        return first
    second = torch.randn(shape, generator=seeded(subseed))
    low, high = first / first.norm(), second / second.norm()
    dot = (low * high).sum().clamp(-1, 1)
    if dot.abs() > 0.9995:
        return first * (1 - strength) + second * strength
    angle = torch.acos(dot)
    return (torch.sin((1 - strength) * angle) * first + torch.sin(strength * angle) * second) / torch.sin(angle)


def encode(model: Any, image: Image.Image) -> Any:
    """Scaled latents (1, 4, h, w) of an RGB picture."""
    import torch

    pixels = torch.from_numpy(np.asarray(image, dtype=np.float32).transpose(2, 0, 1)[None] / 127.5 - 1)
    config = model.vae.config
    with torch.no_grad():
        latents = model.vae.encode(pixels.to(model.device, model.vae.dtype)).latent_dist.mode()
    if getattr(config, "latents_mean", None) is not None and getattr(config, "latents_std", None) is not None:
        mean, std = (torch.tensor(v, device=latents.device).view(1, -1, 1, 1) for v in (config.latents_mean, config.latents_std))
        return ((latents - mean) * config.scaling_factor / std).to(model.dtype)
    return (latents * config.scaling_factor).to(model.dtype)


def decode(model: Any, latents: Any, check_nan: bool) -> list[Image.Image]:
    """Pictures of a batch of latents, one at a time to keep memory low.

    When a half-precision VAE gives NaN it is moved to float32 for good and the picture is decoded again.
    """
    import torch

    if check_nan and bool(torch.isnan(latents).any()):
        count("fettle_image_faults_total", fault="nan")
        raise NansException(nan_message("Unet"))
    config = model.vae.config
    if getattr(config, "latents_mean", None) is not None and getattr(config, "latents_std", None) is not None:
        mean, std = (torch.tensor(v, device=latents.device).view(1, -1, 1, 1) for v in (config.latents_mean, config.latents_std))
        latents = latents * std / config.scaling_factor + mean
    else:
        latents = latents / config.scaling_factor
    images = []
    for latent in latents.split(1):
        with torch.no_grad():
            pixels = model.vae.decode(latent.to(model.vae.dtype), return_dict=False)[0]
            broken = bool(torch.isnan(pixels).any())
            if broken:
                count("fettle_image_faults_total", fault="nan")
            if broken and use_float32(model, "The VAE produced NaN"):
                count("fettle_vae_float32_total", cause="nan")
                pixels = model.vae.decode(latent.float(), return_dict=False)[0]
        if check_nan and bool(torch.isnan(pixels).any()):
            raise NansException(nan_message("VAE"))
        array = ((pixels[0].float() / 2 + 0.5).nan_to_num().clamp(0, 1) * 255).round().byte()
        images.append(Image.fromarray(array.permute(1, 2, 0).cpu().numpy()))
        if not array.any():
            count("fettle_image_faults_total", fault="black")
    return images


def use_float32(model: Any, why: str) -> bool:
    """Moves the VAE to float32 for good; False when it is there already."""
    import torch

    if model.vae.dtype is torch.float32:
        return False
    log.warning("%s in %s; the VAE runs in float32 from now on (see --no-half-vae).", why, model.vae.dtype)
    model.vae.to(torch.float32)
    return True


def preview(kind: str, latent: Any) -> Image.Image:
    """A small rough picture of one latent, by a linear map: costs nothing and needs no device."""
    factors, base = _PREVIEW[kind]
    values = np.tensordot(np.asarray(factors, np.float32), latent.numpy(), axes=1)
    values += np.asarray(base, np.float32)[:, None, None]
    return Image.fromarray(np.nan_to_num(values).clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
