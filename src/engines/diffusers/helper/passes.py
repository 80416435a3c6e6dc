"""Single passes through a diffusers pipeline: the denoising run itself, img2img, and the second pass of hires fix."""

from __future__ import annotations

import math
from typing import Any

from PIL import Image

import latents as latent_space
import samplers
from counters import count
from schema import Txt2Img
from task import Plan

LATENT_UPSCALERS = {
    "Latent": ("bilinear", False),
    "Latent (antialiased)": ("bilinear", True),
    "Latent (bicubic)": ("bicubic", False),
    "Latent (bicubic antialiased)": ("bicubic", True),
    "Latent (nearest)": ("nearest", False),
    "Latent (nearest-exact)": ("nearest-exact", False),
}
IMAGE_UPSCALERS = {
    "None": Image.Resampling.LANCZOS,
    "Lanczos": Image.Resampling.LANCZOS,
    "Nearest": Image.Resampling.NEAREST,
}


def run(plan: Plan, purpose: str, generators: list[Any], steps: int, *, prompts: int = 1, **arguments: Any) -> Any:
    """One pass of a diffusers pipeline; gives latents. Ends at the next step when the job is to end.

    `prompts`: how many the plan's embeddings hold; the generators are shared out among them.
    """
    pipeline = plan.model.pipeline(purpose)
    pipeline.scheduler = samplers.build_scheduler(plan.sampler, plan.schedule, plan.model.scheduler_config)
    job = plan.job
    every = int(plan.options["show_progress_every_n_steps"]) if plan.options["live_previews_enable"] else 0

    def after_step(pipe: Any, index: int, _timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        total = getattr(pipe, "_num_timesteps", None) or steps
        shown = job.sampling_steps
        job.sampling_step = min(math.ceil((index + 1) * shown / total), shown)
        if job.ends_now or job.skipped:
            pipe._interrupt = True
        elif every > 0 and (job.is_watched or (index + 1) % every == 0):
            job.preview = (plan.model.kind, values["latents"][0].detach().float().cpu())
        return values

    return pipeline(
        **plan.embeds,
        num_images_per_prompt=len(generators) // prompts,
        num_inference_steps=steps,
        guidance_scale=plan.task.body.cfg_scale,
        eta=plan.eta,
        generator=generators,
        output_type="latent",
        callback_on_step_end=after_step,
        callback_on_step_end_tensor_inputs=["latents"],
        **arguments,
    ).images


def img2img(plan: Plan, images: list[Image.Image] | Any, generators: list[Any], strength: float, steps: int) -> Any:
    """Denoises pictures (or latents) from part of the way; gives latents."""
    import torch

    start = images
    if isinstance(images, list):
        start = torch.cat([latent_space.encode(plan.model, image) for image in images])
    # At least one step: with less, diffusers has nothing to do and says so with an exception.
    strength = max(strength, 1 / steps)
    plan.job.sampling_steps = max(min(int(steps * strength), steps), 1)
    return run(plan, "img2img", generators, steps, image=start, strength=strength)


def second_pass(plan: Plan, found: Any, generators: list[Any]) -> Any:
    """Hires fix: enlarge the first pass (its latents or its picture) and denoise it again."""
    import torch

    body = plan.task.body
    if not isinstance(body, Txt2Img):
        raise TypeError("only txt2img has a second pass")
    upscaler = body.hr_upscaler or "Latent"
    if upscaler not in LATENT_UPSCALERS and upscaler not in IMAGE_UPSCALERS:
        raise ValueError(f"could not find upscaler named {upscaler}")
    width, height = _second_size(plan)
    steps = body.hr_second_pass_steps or body.steps
    plan.extra |= {
        "Hires upscale": body.hr_scale if not (body.hr_resize_x or body.hr_resize_y) else None,
        "Hires resize": f"{body.hr_resize_x}x{body.hr_resize_y}" if body.hr_resize_x or body.hr_resize_y else None,
        "Hires steps": body.hr_second_pass_steps or None,
        "Hires upscaler": upscaler,
    }
    if upscaler in LATENT_UPSCALERS:
        mode, antialias = LATENT_UPSCALERS[upscaler]
        large = torch.nn.functional.interpolate(found.float(), size=(height // 8, width // 8), mode=mode, **({"antialias": True} if antialias else {}))
        return img2img(plan, large.to(found.dtype), generators, plan.strength, steps)
    images = finish(plan, found)
    enlarged = [image.resize((width, height), IMAGE_UPSCALERS[upscaler]) for image in images]
    return img2img(plan, enlarged, generators, plan.strength, steps)


def _second_size(plan: Plan) -> tuple[int, int]:
    body = plan.task.body
    if not isinstance(body, Txt2Img):
        raise TypeError("only txt2img has a second pass")
    x, y = body.hr_resize_x, body.hr_resize_y
    if x or y:
        width = x or round(y * plan.width / plan.height)
        height = y or round(x * plan.height / plan.width)
    else:
        width, height = int(plan.width * body.hr_scale), int(plan.height * body.hr_scale)
    return max(width // 8 * 8, 8), max(height // 8 * 8, 8)


def finish(plan: Plan, found: Any) -> list[Image.Image]:
    """Latents to pictures."""
    if plan.task.body.fettle_vae_dtype == "float32" and latent_space.use_float32(plan.model, "A picture came out black"):
        count("fettle_vae_float32_total", cause="black")
    return latent_space.decode(plan.model, found, plan.check_nan)
