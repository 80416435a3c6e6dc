"""Masked img2img: which part is painted anew, at what size, and how it is put back into the picture."""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageChops, ImageOps

import latents as latent_space
import passes
import pictures
from task import Plan

# A1111's words for inpainting_fill; 1, the original, has none.
_MASKED_CONTENT = {0: "fill", 2: "latent noise", 3: "latent nothing"}


def paint(plan: Plan, generators: list[Any]) -> list[Image.Image]:
    """One batch of inpainting. With `inpaint_full_res` (A1111's default) only the masked region is worked on, enlarged
    to the asked size, and pasted back into the picture at its own size."""
    import torch

    body, model = plan.task.body, plan.model
    source = plan.task.images[0] if len(plan.task.images) == 1 else None
    if source is None:
        raise ValueError("a mask works with one init image")
    blur_x = body.mask_blur if body.mask_blur is not None else body.mask_blur_x
    blur_y = body.mask_blur if body.mask_blur is not None else body.mask_blur_y
    region = None
    size = (plan.width, plan.height)
    if body.inpaint_full_res:
        soft = pictures.prepare_mask(plan.task.mask, source.size, blur_x, blur_y, bool(body.inpainting_mask_invert))
        region = pictures.crop_region(soft, body.inpaint_full_res_padding, *size)
    if region is not None:
        image, mask = source.crop(region).resize(size, Image.Resampling.LANCZOS), soft.crop(region).resize(size)
        plan.extra |= {"Inpaint area": "Only masked", "Masked area padding": body.inpaint_full_res_padding}
    else:
        image = pictures.fit(source, *size, body.resize_mode)
        fitted = pictures.fit(plan.task.mask, *size, body.resize_mode)
        mask = pictures.prepare_mask(fitted, size, blur_x, blur_y, bool(body.inpainting_mask_invert))
    plan.extra |= {"Mask blur": blur_x if blur_x or blur_y else None, "Masked content": _MASKED_CONTENT.get(body.inpainting_fill)}
    start = latent_space.encode(model, starting_picture(plan, image, mask)).repeat(len(generators), 1, 1, 1)
    if model.unet.config.in_channels == 9:
        hidden = ImageChops.multiply(image, ImageOps.invert(mask.point(_hard)).convert("RGB"))
        covered = latent_space.encode(model, hidden).repeat(len(generators), 1, 1, 1)
    else:
        covered = torch.zeros_like(start)
    steps = body.steps
    strength = max(plan.strength, 1 / steps)
    plan.job.sampling_steps = max(min(int(steps * strength), steps), 1)
    found = passes.run(
        plan, "inpaint", generators, steps, image=start, mask_image=mask, masked_image_latents=covered,
        strength=strength, width=plan.width, height=plan.height,
    )  # fmt: skip
    made = passes.finish(plan, found)
    if region is None:
        return [Image.composite(picture, image, mask) for picture in made]
    results = []
    for picture in made:
        whole = source.copy()
        whole.paste(picture.resize((region[2] - region[0], region[3] - region[1]), Image.Resampling.LANCZOS), region[:2])
        results.append(Image.composite(whole, source, soft))
    return results


def starting_picture(plan: Plan, image: Image.Image, mask: Image.Image) -> Image.Image:
    """What the masked part holds before denoising: A1111's inpainting_fill."""
    choice = plan.task.body.inpainting_fill
    if choice == 1:
        return image
    if choice in (2, 3):
        warning = "inpainting_fill 2 and 3 (latent noise, latent nothing) are done as a grey fill here."
        if warning not in plan.warnings:
            plan.warnings.append(warning)
        return Image.composite(Image.new("RGB", image.size, (128, 128, 128)), image, mask)
    return pictures.fill_masked(image, mask)


def _hard(value: int) -> int:
    return 255 if value >= 128 else 0
