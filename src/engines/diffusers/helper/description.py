"""What goes with the pictures of a request: A1111's `info` object, the infotexts, and the list of what was ignored."""

from __future__ import annotations

from typing import Any

import infotext as infotexts
from arguments import VERSION
from samplers import AUTOMATIC, shown_schedule
from schema import Generation, Img2Img, Txt2Img

# The options that change something here, and so mean something in override_settings.
EFFECTIVE_OPTIONS = frozenset(
    """
    sd_model_checkpoint CLIP_stop_at_last_layers samples_format eta_ddim show_progress_every_n_steps
    live_previews_enable add_version_to_infotext enable_pnginfo jpeg_quality webp_lossless return_grid
    """.split()  # noqa: SIM905 - words, not Python
)


def ignored(body: Generation, overrides: dict[str, Any]) -> list[str]:
    """One warning for each field and override that A1111 would act on and this engine does not."""
    found = [f"override_settings.{name} has no effect here." for name in overrides if name not in EFFECTIVE_OPTIONS]
    if body.styles:
        found.append("styles are ignored: this engine keeps none.")
    for name in ("restore_faces", "tiling", "refiner_checkpoint", "firstpass_image"):
        if getattr(body, name):
            found.append(f"{name} is ignored.")
    if body.seed_resize_from_w > 0 or body.seed_resize_from_h > 0:
        found.append("seed_resize_from_w and seed_resize_from_h are ignored.")
    if isinstance(body, Txt2Img) and body.enable_hr:
        for name in ("hr_checkpoint_name", "hr_sampler_name", "hr_scheduler", "hr_prompt", "hr_negative_prompt"):
            if getattr(body, name):
                found.append(f"{name} is ignored.")
    if isinstance(body, Img2Img):
        if body.resize_mode not in (0, 1, 2):
            found.append("resize_mode 3 (latent upscale) is done as 0 (just resize).")
        if body.latent_mask:
            found.append("latent_mask is ignored.")
    return found


def infotext(plan: Any, index: int) -> str:
    """The infotext of one picture."""
    body, checkpoint = plan.task.body, plan.model.checkpoint
    varied = body.subseed_strength != 0
    clip_skip = int(plan.options["CLIP_stop_at_last_layers"])
    parameters = {
        "Steps": body.steps,
        "Sampler": plan.sampler.name,
        "Schedule type": shown_schedule(plan.sampler, plan.schedule),
        "CFG scale": body.cfg_scale,
        "Seed": plan.seeds[index],
        "Size": f"{body.width}x{body.height}",
        "Model hash": checkpoint.short_hash,
        "Model": checkpoint.model_name,
        "Variation seed": plan.subseeds[index] if varied else None,
        "Variation seed strength": body.subseed_strength if varied else None,
        "Denoising strength": plan.strength if is_denoised(plan) else None,
        "Clip skip": clip_skip if clip_skip > 1 else None,
        "RNG": "CPU",
        **plan.extra,
        "Version": VERSION if plan.options["add_version_to_infotext"] else None,
    }
    return infotexts.write(body.prompt, body.negative_prompt, parameters)


def is_denoised(plan: Any) -> bool:
    body = plan.task.body
    return plan.task.is_img2img or (isinstance(body, Txt2Img) and body.enable_hr)


def extra(plan: Any) -> dict[str, Any]:
    """A1111's `extra_generation_params`: what only some requests have."""
    schedule = shown_schedule(plan.sampler, plan.schedule)
    found = {
        "Schedule type": schedule if schedule != AUTOMATIC.label else None,
        "Denoising strength": plan.strength if is_denoised(plan) else None,
        **plan.extra,
    }
    return {key: value for key, value in found.items() if value is not None}


def info(outcome: Any, texts: list[str], first_image: int) -> dict[str, Any]:
    """A1111's `info`, and three fields of ours: `warnings`, `interrupted`, `rendered_width`/`rendered_height`."""
    plan = outcome.plan
    body, checkpoint = plan.task.body, plan.model.checkpoint
    count = len(plan.seeds)
    return {
        "prompt": body.prompt,
        "all_prompts": [body.prompt] * count,
        "negative_prompt": body.negative_prompt,
        "all_negative_prompts": [body.negative_prompt] * count,
        "seed": plan.seeds[0],
        "all_seeds": plan.seeds,
        "subseed": plan.subseeds[0],
        "all_subseeds": plan.subseeds,
        "subseed_strength": body.subseed_strength,
        "width": body.width,
        "height": body.height,
        "sampler_name": plan.sampler.name,
        "cfg_scale": body.cfg_scale,
        "steps": body.steps,
        "batch_size": plan.batch_size,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": checkpoint.model_name,
        "sd_model_hash": checkpoint.short_hash,
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": body.seed_resize_from_w,
        "seed_resize_from_h": body.seed_resize_from_h,
        "denoising_strength": plan.strength if plan.task.is_img2img else body.denoising_strength,
        "extra_generation_params": extra(plan),
        "index_of_first_image": first_image,
        "infotexts": texts,
        "styles": [],
        "job_timestamp": outcome.plan.job.timestamp,
        "clip_skip": int(plan.options["CLIP_stop_at_last_layers"]),
        "is_using_inpainting_conditioning": plan.model.unet.config.in_channels == 9,
        "version": VERSION,
        "scheduler": shown_schedule(plan.sampler, plan.schedule),
        "rendered_width": plan.width,
        "rendered_height": plan.height,
        "interrupted": outcome.plan.job.interrupted,
        "warnings": plan.warnings,
    }
