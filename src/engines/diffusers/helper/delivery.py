"""From an Outcome to the HTTP response: picture files with infotext, the grid, saving on disk, the request's echo."""

from __future__ import annotations

import base64
import io
import json
import logging
import time
from pathlib import Path
from typing import Any

from fastapi.responses import Response
from PIL import Image

import description
import pictures
from arguments import Settings
from counters import count
from schema import Img2Img
from task import Outcome, Task

log = logging.getLogger("engine")
SUFFIXES = {"png": "png", "jpg": "jpg", "jpeg": "jpg", "webp": "webp"}


def to_base64(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def respond(settings: Settings, task: Task, outcome: Outcome | None) -> Response:
    """The 200 of a job. None stands for a job that was dropped from the queue by its task id: no picture exists."""
    if outcome is None:
        dropped = {"all_seeds": [], "infotexts": [], "index_of_first_image": 0, "interrupted": True, "warnings": []}
        return json_response(task, [], dropped, None)
    plan, body = outcome.plan, task.body
    suffix = SUFFIXES.get(str(plan.options["samples_format"]).lower(), "png")
    images, texts, first = list(outcome.images), list(outcome.infotexts), 0
    if body.save_images and settings.output_dir is None:
        plan.warnings.append("save_images is ignored: the engine was started without --output-dir.")
    saving = body.save_images and settings.output_dir is not None
    if saving and len(images) > 1 and plan.options["return_grid"] and not body.do_not_save_grid:
        images.insert(0, pictures.grid(images, plan.batch_size))
        texts.insert(0, texts[0])
        first = 1
    files = [
        pictures.encode(
            image, suffix, text if plan.options["enable_pnginfo"] else "",
            int(plan.options["jpeg_quality"]), bool(plan.options["webp_lossless"]),
        )
        for image, text in zip(images, texts, strict=True)
    ]  # fmt: skip
    if saving and settings.output_dir is not None:
        kind = "img2img" if task.is_img2img else "txt2img"
        if first and body.do_not_save_samples:
            save(settings.output_dir, f"{kind}-grids", "grid", files[:1], [plan.seeds[0]], suffix)
        else:
            if first:
                save(settings.output_dir, f"{kind}-grids", "grid", files[:1], [plan.seeds[0]], suffix)
            if not body.do_not_save_samples:
                save(settings.output_dir, f"{kind}-images", "", files[first:], plan.seeds, suffix)
    sent = [base64.b64encode(file).decode("ascii") for file in files] if body.send_images else []
    count("fettle_images_encoded_total", len(sent), outcome="encoded")
    return json_response(task, sent, description.info(outcome, texts, first), plan.template)


def json_response(task: Task, images: list[str], info: dict[str, Any], template: dict[str, Any] | None) -> Response:
    """ASCII-only JSON: it can carry every character a client sent, also half of a surrogate pair."""
    body = {"images": images, "parameters": echo(task), "info": json.dumps(info)}
    if template is not None:
        body |= {"template": template, "warnings": info["warnings"]}
    return Response(json.dumps(body), media_type="application/json")


def echo(task: Task) -> dict[str, Any]:
    """The request as A1111 repeats it: with its defaults, and without the pictures unless they were asked for."""
    body = task.body
    values = {name: getattr(body, name) for name in type(body).model_fields if not name.startswith("fettle_")}
    if isinstance(body, Img2Img) and not body.include_init_images:
        values["init_images"] = values["mask"] = None
    return values


def save(folder: Path, kind: str, prefix: str, files: list[bytes], seeds: list[int], suffix: str) -> None:
    """Writes files as A1111 does: OUT/txt2img-images/2025-01-31/00007-SEED.png. A full disk fails no job."""
    place = folder / kind / time.strftime("%Y-%m-%d")
    try:
        place.mkdir(parents=True, exist_ok=True)
        number = max((int(file.stem.removeprefix("grid-").split("-")[0]) for file in place.glob("*-*.*")
                      if file.stem.removeprefix("grid-").split("-")[0].isdigit()), default=-1) + 1  # fmt: skip
        for file, seed in zip(files, seeds, strict=False):
            name = f"grid-{number:04d}" if prefix else f"{number:05d}-{seed}"
            while (place / f"{name}.{suffix}").exists():
                number += 1
                name = f"grid-{number:04d}" if prefix else f"{number:05d}-{seed}"
            (place / f"{name}.{suffix}").write_bytes(file)
            number += 1
    except OSError as error:
        log.error("Cannot save a picture below %s: %s.", folder, error)
