"""The values that travel through one request: Task (what was asked), Plan (every default filled in), Outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from PIL import Image

import samplers
from device_thread import Job
from schema import Img2Img, Txt2Img
from templates import Resolved


@dataclass
class Task:
    """A request as the device thread gets it: pictures already decoded."""

    body: Txt2Img | Img2Img
    images: list[Image.Image] = field(default_factory=list)
    mask: Image.Image | None = None
    template: Resolved | None = None

    @property
    def is_img2img(self) -> bool:
        return isinstance(self.body, Img2Img)


@dataclass
class Plan:
    """A request with every default filled in and every name resolved."""

    task: Task
    job: Job
    model: Any
    options: dict[str, Any]
    check_nan: bool
    sampler: samplers.Sampler
    schedule: samplers.Schedule
    embeds: dict[str, Any]
    width: int
    height: int
    batch_size: int
    strength: float
    eta: float
    seeds: list[int]
    subseeds: list[int]
    warnings: list[str]
    extra: dict[str, Any] = field(default_factory=dict)
    template: dict[str, Any] | None = None  # what the answer says of it


@dataclass
class Outcome:
    """The pictures of one request in order, each with its seed's number, and the plan they came from."""

    plan: Plan
    images: list[Image.Image]
    infotexts: list[str]
