"""One txt2img or img2img request from prompt to pictures, on the device thread.

Takes a Task (the request, its pictures already decoded); gives an Outcome (pictures and what describes them). Rounds,
seeds, overrides and their restoring follow A1111 1.10; what it would ignore in silence is told in `warnings`.
"""

from __future__ import annotations

import random
from typing import Any

from PIL import Image

import description
import inpainting
import latents as latent_space
import passes
import pictures
import prompt as prompts
import samplers
import template_models
from core import Engine
from device_thread import Job
from schema import Img2Img, Txt2Img
from task import Outcome, Plan, Task


def generate(engine: Engine, task: Task, job: Job) -> Outcome:
    """Runs one request to its end, or to the step at which it was interrupted (then with what exists)."""
    body = task.body
    plan = plan_of(engine, task, job)
    images: list[Image.Image] = []
    numbers: list[int] = []
    rounds_each = 2 if isinstance(body, Txt2Img) and body.enable_hr else 1
    job.job_count = body.n_iter * rounds_each
    for number in range(body.n_iter):
        if job.ends_now:
            break
        job.begin_round(number * rounds_each, body.steps)
        made = _round(plan, number)
        images += made
        numbers += range(number * plan.batch_size, number * plan.batch_size + len(made))
    plan.model.checkpoint.wait_for_hash(30)
    infotexts = [description.infotext(plan, index) for index in numbers]
    return Outcome(plan, images, infotexts)


def plan_of(engine: Engine, task: Task, job: Job) -> Plan:
    """The request with its model loaded and every default filled in."""
    body = task.body
    overrides = dict(body.override_settings or {})
    warnings: list[str] = []
    wanted = overrides.get("sd_model_checkpoint")
    if task.template is not None:
        if wanted is not None:
            overrides.pop("sd_model_checkpoint")
            warnings.append("override_settings.sd_model_checkpoint is ignored: the template names the checkpoint.")
        chosen = template_models.choose(engine, task.template)
        plan = _plan(engine, task, job, overrides, chosen.model, warnings + chosen.warnings)
        plan.template = chosen.shown
        plan.extra["Template"] = task.template.name
        return plan
    if wanted is not None and engine.catalogue.find(str(wanted)) is None:
        overrides.pop("sd_model_checkpoint")
        warnings.append(f"Model {wanted!r} was not found; used the current one.")
    if overrides and not body.override_settings_restore_afterwards:
        engine.options.update(overrides)
    options = engine.options.all() | overrides
    found = engine.catalogue.find(str(options["sd_model_checkpoint"])) if options["sd_model_checkpoint"] else None
    model = engine.use_on_device(found or engine.selected())
    template_models.without(engine, model)
    return _plan(engine, task, job, overrides, model, warnings)


def _plan(engine: Engine, task: Task, job: Job, overrides: dict[str, Any], model: Any, warnings: list[str]) -> Plan:
    body = task.body
    options = engine.options.all() | overrides
    width, height = body.width // 8 * 8, body.height // 8 * 8
    for name, value in (("width", width), ("height", height), ("steps", body.steps)):
        if value < 1:
            raise ValueError(f"{name} must be at least {1 if name == 'steps' else 8}, not {getattr(body, name)}")
    for name in ("batch_size", "n_iter"):
        if getattr(body, name) < 1:
            raise ValueError(f"{name} must be at least 1")
    sampler, schedule, notes = samplers.choose(body.sampler_name or body.sampler_index, body.scheduler)
    embeds, more = prompts.encode_or_plain(model, body.prompt, body.negative_prompt, int(options["CLIP_stop_at_last_layers"]))
    batch_size = body.batch_size
    if len(task.images) > 1:
        if len(task.images) > batch_size:
            raise RuntimeError(f"bad number of images passed: {len(task.images)}; expecting {batch_size} or less")
        batch_size = len(task.images)
    count = batch_size * body.n_iter
    seed = random.randrange(4294967294) if body.seed == -1 else body.seed
    subseed = random.randrange(4294967294) if body.subseed == -1 else body.subseed
    varied = body.subseed_strength != 0
    if varied and task.is_img2img:
        warnings.append("subseed_strength has no effect on img2img here.")
    eta = body.eta if body.eta is not None else float(options["eta_ddim"])
    return Plan(
        task=task, job=job, model=model, options=options, check_nan=not engine.settings.disable_nan_check,
        sampler=sampler, schedule=schedule, embeds=embeds, width=width, height=height, batch_size=batch_size,
        strength=0.75 if body.denoising_strength is None else body.denoising_strength, eta=min(max(eta, 0.0), 1.0),
        seeds=[seed if varied else (seed + index) for index in range(count)],
        subseeds=[subseed + index for index in range(count)],
        warnings=warnings + notes + more + description.ignored(body, overrides),
    )  # fmt: skip


def _round(plan: Plan, number: int) -> list[Image.Image]:
    """One batch: `batch_size` pictures with consecutive seeds."""
    body = plan.task.body
    first = number * plan.batch_size
    seeds = plan.seeds[first : first + plan.batch_size]
    generators = [latent_space.seeded(seed) for seed in seeds]
    if isinstance(body, Img2Img):
        if plan.task.mask is not None:
            return inpainting.paint(plan, generators)
        images = plan.task.images if len(plan.task.images) > 1 else plan.task.images * plan.batch_size
        fitted = [pictures.fit(image, plan.width, plan.height, body.resize_mode) for image in images]
        return passes.finish(plan, passes.img2img(plan, fitted, generators, plan.strength, body.steps))
    shape = (4, plan.height // 8, plan.width // 8)
    starts = [latent_space.noise(shape, generator, plan.subseeds[first + index], body.subseed_strength) for index, generator in enumerate(generators)]
    found = passes.run(plan, "txt2img", generators, body.steps, latents=_stack(plan, starts), width=plan.width, height=plan.height)
    if body.enable_hr and not plan.job.ends_now and not plan.job.skipped:
        plan.job.begin_round(number * 2 + 1, body.hr_second_pass_steps or body.steps)
        found = passes.second_pass(plan, found, generators)
    return passes.finish(plan, found)


def _stack(plan: Plan, starts: list[Any]) -> Any:
    import torch

    return torch.stack(starts).to(plan.model.device, plan.model.dtype)
