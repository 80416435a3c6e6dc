"""Several txt2img requests in one pass of the network: alike but for prompt, negative prompt and seed.

Takes tasks; gives one Outcome for each, with its own plan, so that each request gets its own answer. What cannot share a
pass raises BatchError, and the caller sends the requests one by one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import description
import latents as latent_space
import passes
from core import Engine
from device_thread import Job
from generation import plan_of
from schema import Txt2Img
from task import Outcome, Plan, Task

OWN_FIELDS = {"prompt", "negative_prompt", "seed", "force_task_id"}


class BatchError(ValueError):
    """These requests cannot share a pass."""


def check_alike(bodies: list[Txt2Img]) -> None:
    """Raises BatchError unless the requests differ in their own fields alone and each wants one picture of one pass."""
    first = bodies[0].model_dump(exclude=OWN_FIELDS)
    for number, body in enumerate(bodies):
        if body.model_dump(exclude=OWN_FIELDS) != first:
            raise BatchError(f"request {number} differs from the first in more than prompt, negative_prompt and seed")
        if body.batch_size != 1 or body.n_iter != 1 or body.enable_hr or body.subseed_strength != 0 or body.save_images:
            raise BatchError("only requests for one picture of one pass can share it")


def generate_batch(engine: Engine, tasks: list[Task], job: Job) -> list[Outcome]:
    """Runs the requests in one pass, or to the step at which they were interrupted."""
    plans = [plan_of(engine, task, job) for task in tasks]
    first = plans[0]
    steps = first.task.body.steps
    shared = replace(first, embeds=_stack_embeds(plans))
    job.begin_round(0, steps)
    generators = [latent_space.seeded(plan.seeds[0]) for plan in plans]
    import torch

    shape = (4, first.height // 8, first.width // 8)
    starts = torch.stack([latent_space.noise(shape, generator, 0, 0) for generator in generators]).to(first.model.device, first.model.dtype)
    size = {"width": first.width, "height": first.height}
    found = passes.run(shared, "txt2img", generators, steps, prompts=len(plans), latents=starts, **size)
    images = passes.finish(shared, found)
    first.model.checkpoint.wait_for_hash(30)
    return [Outcome(plan, [image], [description.infotext(plan, 0)]) for plan, image in zip(plans, images, strict=True)]


def _stack_embeds(plans: list[Plan]) -> dict[str, Any]:
    """The prompts' embeddings in one batch. A longer prompt has more windows, and those have no common shape."""
    import torch

    names = plans[0].embeds
    if any(isinstance(value, str) for plan in plans for value in plan.embeds.values()):
        raise BatchError("a prompt cannot be embedded")
    if any(plan.embeds[name].shape != names[name].shape for plan in plans for name in names):
        raise BatchError("the prompts have different lengths")
    return {name: torch.cat([plan.embeds[name] for plan in plans]) for name in names}
