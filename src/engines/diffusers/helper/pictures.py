"""Pictures in and out: base64, fitting a picture to a size, masks, grids. Pillow only; knows nothing of models."""

from __future__ import annotations

import base64
import binascii
import io
import math

from PIL import Image, ImageChops, ImageFilter, ImageOps


class PictureError(Exception):
    """A picture that cannot be used; the message is A1111's own."""


def decode(text: str) -> Image.Image:
    """A picture from base64, with or without a data: prefix."""
    if text.startswith(("http://", "https://")):
        # A1111 fetches these unless its option api_enable_requests is off. Here nothing is fetched, ever.
        raise PictureError("Requests not allowed")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        image = Image.open(io.BytesIO(base64.b64decode(text)))
        image.load()
    except (binascii.Error, ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise PictureError("Invalid encoded image") from error
    return ImageOps.exif_transpose(image)


def flatten(image: Image.Image) -> Image.Image:
    """RGB on a white ground, as A1111 does with transparent pictures."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")


def fit(image: Image.Image, width: int, height: int, mode: int) -> Image.Image:
    """Brings a picture to a size. Mode 0 stretches, 1 crops what is over, 2 fills what is missing from the edges."""
    if image.size == (width, height):
        return image.copy()
    if mode == 1:
        return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    if mode == 2:
        inner = ImageOps.contain(image, (width, height), Image.Resampling.LANCZOS)
        left, top = (width - inner.width) // 2, (height - inner.height) // 2
        # Stretching the outermost row or column over the empty margin, as A1111 does.
        result = Image.new(image.mode, (width, height))
        if top:
            result.paste(inner.crop((0, 0, inner.width, 1)).resize((width, height // 2)), (0, 0))
            bottom = inner.crop((0, inner.height - 1, inner.width, inner.height))
            result.paste(bottom.resize((width, height - height // 2)), (0, height // 2))
        elif left:
            result.paste(inner.crop((0, 0, 1, inner.height)).resize((width // 2, height)), (0, 0))
            right = inner.crop((inner.width - 1, 0, inner.width, inner.height))
            result.paste(right.resize((width - width // 2, height)), (width // 2, 0))
        result.paste(inner, (left, top))
        return result
    return image.resize((width, height), Image.Resampling.LANCZOS)


def prepare_mask(mask: Image.Image, size: tuple[int, int], blur_x: float, blur_y: float, invert: bool) -> Image.Image:
    """An "L" mask of the given size: white is painted anew. A transparent mask counts by its alpha."""
    if mask.mode in ("RGBA", "LA") and mask.getchannel("A").getextrema()[0] < 255:
        grey = ImageChops.multiply(mask.convert("L"), mask.getchannel("A"))
    else:
        grey = mask.convert("L")
    grey = grey.resize(size, Image.Resampling.LANCZOS) if grey.size != size else grey
    if invert:
        grey = ImageOps.invert(grey)
    return grey.filter(ImageFilter.GaussianBlur((blur_x, blur_y))) if blur_x or blur_y else grey


def crop_region(mask: Image.Image, padding: int, width: int, height: int) -> tuple[int, int, int, int] | None:
    """The box around the white of a mask, padded, and widened to the proportions width:height where it fits."""
    box = mask.point(lambda value: 255 if value > 0 else 0).getbbox()
    if box is None:
        return None
    left, top = max(box[0] - padding, 0), max(box[1] - padding, 0)
    right, bottom = min(box[2] + padding, mask.width), min(box[3] + padding, mask.height)
    wanted, actual = width / height, (right - left) / (bottom - top)
    if wanted > actual:
        left, right = _widen(left, right, round((bottom - top) * wanted), mask.width)
    else:
        top, bottom = _widen(top, bottom, round((right - left) / wanted), mask.height)
    return left, top, right, bottom


def _widen(low: int, high: int, wanted: int, limit: int) -> tuple[int, int]:
    wanted = min(max(wanted, high - low), limit)
    low = max(0, low - (wanted - (high - low)) // 2)
    high = min(limit, low + wanted)
    return high - wanted, high


def fill_masked(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Replaces what the mask covers by the colours around it, coarse first: A1111's inpainting_fill 0."""
    clear = Image.new("RGBa", image.size)
    clear.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask))
    result = Image.new("RGBa", image.size)
    for radius, times in ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2)):
        blurred = clear.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            result = Image.alpha_composite(result.convert("RGBA"), blurred).convert("RGBa")
    return Image.composite(image, result.convert("RGB"), ImageOps.invert(mask))


def grid(images: list[Image.Image], batch_size: int) -> Image.Image:
    """All pictures on one sheet, a row a batch where there are several, else as near a square as can be."""
    count = len(images)
    columns = batch_size if 1 < batch_size < count else math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    width, height = images[0].size
    sheet = Image.new("RGB", (columns * width, rows * height))
    for index, image in enumerate(images):
        sheet.paste(image, ((index % columns) * width, (index // columns) * height))
    return sheet


def encode(image: Image.Image, file_format: str, infotext: str, quality: int, lossless: bool) -> bytes:
    """A picture file with its infotext inside: a `parameters` chunk in PNG, an EXIF user comment in JPEG and WebP."""
    from PIL.PngImagePlugin import PngInfo

    buffer = io.BytesIO()
    if file_format == "png":
        chunks = PngInfo()
        if infotext:
            chunks.add_text("parameters", infotext)
        image.save(buffer, "PNG", pnginfo=chunks)
        return buffer.getvalue()
    exif = Image.Exif()
    if infotext:
        # An EXIF block ends at 64 kB.
        exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + infotext[:30_000].encode("utf-16-be")
    if file_format == "webp":
        image.save(buffer, "WEBP", exif=exif, quality=quality, lossless=lossless)
    else:
        image.save(buffer, "JPEG", exif=exif, quality=quality)
    return buffer.getvalue()


def read_infotext(image: Image.Image) -> tuple[str, dict[str, str]]:
    """The infotext inside a picture file, and its other text items."""
    items = {key: value for key, value in image.info.items() if isinstance(key, str) and isinstance(value, str)}
    if "parameters" in items:
        return items["parameters"], items
    comment = image.getexif().get_ifd(0x8769).get(0x9286)
    if isinstance(comment, bytes) and comment.startswith(b"UNICODE\0"):
        text = comment[8:].decode("utf-16-be", "replace")
        return text, {**items, "parameters": text}
    if isinstance(comment, str):
        return comment, {**items, "parameters": comment}
    return "", items
