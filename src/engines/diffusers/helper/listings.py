"""Routes that only tell something: models, samplers, memory, and the lists that clients ask for when they start."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

import infotext
import pictures
from core import Engine
from delivery import to_base64
from errors import failure
from passes import IMAGE_UPSCALERS, LATENT_UPSCALERS
from samplers import SAMPLERS, SCHEDULES
from schema import PngInfo, Upscale

# What A1111 has and this engine has none of: clients ask at their start and must get a list, not a 404.
EMPTY_LISTS = ("sd-vae", "loras", "hypernetworks", "face-restorers", "prompt-styles", "realesrgan-models",
               "script-info", "extensions")  # fmt: skip


def listing_routes(engine: Engine) -> APIRouter:
    router = APIRouter()

    @router.get("/sd-models")
    async def sd_models() -> list[dict[str, Any]]:
        await asyncio.to_thread(engine.scanned.wait)
        return [checkpoint.listed() for checkpoint in engine.catalogue.all()]

    @router.get("/samplers")
    async def list_samplers() -> list[dict[str, Any]]:
        return [{"name": item.name, "aliases": list(item.aliases), "options": item.options()} for item in SAMPLERS]

    @router.get("/schedulers")
    async def list_schedules() -> list[dict[str, Any]]:
        return [
            {
                "name": item.name,
                "label": item.label,
                "aliases": list(item.aliases) if item.aliases else None,
                "default_rho": item.default_rho,
                "need_inner_model": False,
            }
            for item in SCHEDULES
        ]

    @router.get("/upscalers")
    async def upscalers() -> list[dict[str, Any]]:
        return [{"name": name, "model_name": None, "model_path": None, "model_url": None, "scale": 4} for name in IMAGE_UPSCALERS]

    @router.get("/latent-upscale-modes")
    async def latent_upscale_modes() -> list[dict[str, str]]:
        return [{"name": name} for name in LATENT_UPSCALERS]

    @router.get("/embeddings")
    async def embeddings() -> dict[str, Any]:
        return {"loaded": {}, "skipped": {}}

    @router.get("/scripts")
    async def scripts() -> dict[str, list[str]]:
        return {"txt2img": [], "img2img": []}

    @router.get("/cmd-flags")
    async def cmd_flags() -> dict[str, Any]:
        return engine.settings.shown()

    def add_empty(name: str) -> None:
        @router.get(f"/{name}", name=name)
        async def empty() -> list[Any]:
            return []

    for name in EMPTY_LISTS:
        add_empty(name)

    @router.get("/memory")
    async def memory() -> dict[str, Any]:
        return {"ram": ram(), "cuda": cuda(engine)}

    @router.post("/png-info", response_model=None)
    async def png_info(body: PngInfo) -> Response | dict[str, Any]:
        try:
            image = await asyncio.to_thread(pictures.decode, body.image.strip())
        except pictures.PictureError as error:
            return failure(error)
        text, items = pictures.read_infotext(image)
        return {"info": text, "items": items, "parameters": infotext.read(text)}

    @router.post("/extra-single-image", response_model=None)
    async def extra_single_image(body: Upscale) -> Response | dict[str, Any]:
        try:
            return await asyncio.to_thread(enlarge, engine, body)
        except Exception as error:
            return failure(error)

    return router


def enlarge(engine: Engine, body: Upscale) -> dict[str, Any]:
    """Enlarges a picture with a plain filter; there are no upscaling networks here."""
    if body.upscaler_1 not in IMAGE_UPSCALERS:
        raise ValueError(f"could not find upscaler named {body.upscaler_1}")
    image = pictures.flatten(pictures.decode(body.image))
    if body.resize_mode == 0:
        width, height = round(image.width * body.upscaling_resize), round(image.height * body.upscaling_resize)
    else:
        width, height = body.upscaling_resize_w, body.upscaling_resize_h
    if width * height > engine.settings.max_pixels:
        raise ValueError(f"{width}x{height} is more than this engine takes ({engine.settings.max_pixels} pixels)")
    if body.resize_mode == 1 and body.upscaling_crop:
        result = pictures.fit(image, width, height, 1)
    else:
        result = image.resize((max(width, 1), max(height, 1)), IMAGE_UPSCALERS[body.upscaler_1])
    return {"html_info": "", "image": to_base64(result)}


def ram() -> dict[str, Any]:
    """Memory of this process against the machine's, as A1111 counts it."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = os.sysconf("SC_PHYS_PAGES") * page
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[1]) * page
    except (OSError, ValueError, IndexError):
        return {"error": "unavailable"}
    return {"free": total - used, "used": used, "total": total}


def cuda(engine: Engine) -> dict[str, Any]:
    """Memory of the CUDA device. Asks torch only when it is fully imported: its import would make this wait."""
    torch = sys.modules.get("torch")
    if torch is None or not (engine.device_name or "").startswith("cuda"):
        return {"error": "unavailable"}
    free, total = torch.cuda.mem_get_info()
    stats = dict(torch.cuda.memory_stats())

    def pair(name: str) -> dict[str, int]:
        return {"current": stats.get(f"{name}.all.current", 0), "peak": stats.get(f"{name}.all.peak", 0)}

    return {
        "system": {"free": free, "used": total - free, "total": total},
        "active": pair("active_bytes"),
        "allocated": pair("allocated_bytes"),
        "reserved": pair("reserved_bytes"),
        "inactive": pair("inactive_split_bytes"),
        "events": {"retries": stats.get("num_alloc_retries", 0), "oom": max(stats.get("num_ooms", 0), engine.oom_count)},
    }
