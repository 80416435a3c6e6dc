"""Re-encodes and checks pictures: one request as JSON on standard input, one answer as JSON on standard output.

Request: {"images": [{"path", "index", "parameters"?}], "format"?, "qualities"?: [..], "dir"?, "fit"?: {"bytes", "times": [..]}}
With a format each picture is written to DIR/INDEX.EXT at the first of the qualities; with "fit" at the first quality
with which all of them in base64, each taken so many times, are no larger than so many bytes. Without a format they are only decoded.
Answer: {"images": [{"path", "sizeBytes", "sha256", "width", "height", "warning"?} or {"kept", "warning"} or {"width", "height", "black"}], "quality"} or
{"error", "index"?, "missing"?}.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import exif

try:
    from PIL import Image, PngImagePlugin
except ImportError as error:
    # Pillow's own parts may be broken too; whatever it is, a new installation is the way out.
    json.dump({"error": f"Pillow cannot be imported ({error})", "missing": "pillow"}, sys.stdout)
    sys.exit(0)

EXTENSIONS = {"png": "png", "jpeg": "jpg", "webp": "webp"}
# The most that an answer's images may have; beyond twice of it Pillow refuses a picture.
Image.MAX_IMAGE_PIXELS = 2**28
JPEG_SIDE, WEBP_SIDE = 65_500, 16_383
# A JPEG's marker ends at 64 kB, its own head included.
JPEG_BLOCK = 65_533


class Refused(Exception):
    """What is wrong with one picture; the reason ends a sentence that begins "image 2"."""

    def __init__(self, reason: str, index: int) -> None:
        super().__init__(reason)
        self.reason, self.index = reason, index


def main() -> None:
    # The worker that waits for this answers others meanwhile, on the same few cores.
    os.nice(10)
    request = json.load(sys.stdin.buffer)
    try:
        answer = run(request)
    except Refused as error:
        answer = {"error": error.reason, "index": error.index}
    json.dump(answer, sys.stdout)


def run(request: dict[str, Any]) -> dict[str, Any]:
    images = request["images"]
    kind = request.get("format")
    if kind is None:
        return {"images": [describe(open_picture(one)) for one in images], "quality": None}
    fit = request.get("fit")
    files: list[dict[str, Any]] = []
    for quality in request["qualities"]:
        files = [convert(one, kind, quality, Path(request["dir"])) for one in images]
        if fit is None or sum((file.get("sizeBytes", 0) + 2) // 3 * 4 * times for file, times in zip(files, fit["times"], strict=True)) <= fit["bytes"]:
            return {"images": files, "quality": quality}
    return {"images": files, "quality": None}


def open_picture(one: dict[str, Any]) -> Image.Image:
    try:
        image = Image.open(one["path"])
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Refused(f"cannot be decoded ({error})", one["index"]) from error
    return image


def describe(image: Image.Image) -> dict[str, Any]:
    # The rounding of a lossy format may leave a trace.
    most = 2 if image.format in ("JPEG", "WEBP") else 0
    extrema = image.convert("RGB").getextrema()
    return {"width": image.width, "height": image.height, "black": all(high <= most for _, high in extrema)}


def convert(one: dict[str, Any], kind: str, quality: int, folder: Path) -> dict[str, Any]:
    index = one["index"]
    image = open_picture(one)
    if getattr(image, "is_animated", False):
        return {"kept": True, "warning": "an animation stays as it is"}
    info = image.info
    block = info.get("exif") if isinstance(info.get("exif"), bytes) else b""
    # What the picture itself says goes before what the answer says of it.
    parameters = clean(info.get("parameters") or exif.read_parameters(block) or one.get("parameters") or "")
    texts = {key: clean(info[key]) for key in ("prompt", "workflow") if isinstance(info.get(key), str)}
    warning = None
    side = {"jpeg": JPEG_SIDE, "webp": WEBP_SIDE}.get(kind, 0)
    if side and max(image.size) > side:
        raise Refused(f"has a side of more than {side} pixels, the most that {kind} can hold", index)
    options: dict[str, Any] = {"icc_profile": info.get("icc_profile")}
    if kind == "png":
        chunks = PngImagePlugin.PngInfo()
        for key, value in {"parameters": parameters, **texts}.items():
            if value:
                chunks.add_text(key, value)
        options |= {"pnginfo": chunks}
    else:
        image = prepare(image, kind)
        if block:
            # A WebP holds its block without the head that a JPEG's must have.
            block = exif.HEAD + block.removeprefix(exif.HEAD)
        else:
            block = exif.build(parameters, texts) if parameters or texts else b""
        if kind == "jpeg" and len(block) > JPEG_BLOCK and texts:
            block, warning = exif.build(parameters, {}), "its workflow does not fit into a JPEG"
        if kind == "jpeg" and len(block) > JPEG_BLOCK:
            block, warning = b"", "its parameters do not fit into a JPEG"
        options |= {"quality": quality} | ({"exif": block} if block else {})
    out = io.BytesIO()
    try:
        image.save(out, kind.upper(), **options)
    except (OSError, ValueError, KeyError) as error:
        raise Refused(f"cannot be written as {kind} ({error})", index) from error
    data = out.getvalue()
    path = folder / f"{index}.{EXTENSIONS[kind]}"
    path.write_bytes(data)
    facts = {"path": str(path), "sizeBytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "width": image.width, "height": image.height}
    return facts | ({"warning": warning} if warning else {})


def clean(text: Any) -> str:
    """Half of a surrogate pair can be in JSON, but in no file."""
    return str(text).encode("utf-8", "replace").decode("utf-8")


def prepare(image: Image.Image, kind: str) -> Image.Image:
    """A mode that the format can hold. Transparency stays in WebP; a JPEG gets a white ground."""
    if image.mode.startswith("I;16") or image.mode == "I":
        return image.point(lambda value: value * (255 / 65_535)).convert("L")
    sees_through = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    if kind == "webp":
        return image.convert("RGBA" if sees_through else "RGB")
    if image.mode == "L":
        return image
    if sees_through:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return image.convert("RGB")


if __name__ == "__main__":
    main()
