"""One merge from request to output: open, plan, say, write, check, put in place."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from beside import take_along
from blend import Blend
from compute import Watch, cut
from directory import Directory, plan_directory
from done import MANIFEST, is_done, manifest
from estimate import estimate_ms
from identity import identify_files, metadata_of, recipe_of
from kernel import choose_kernel
from lora_file import Lora
from model import Model, open_model, open_tensors, weight_files
from output import Target
from plan import Changes, Coverage, plan_changes
from progress import Progress
from refusal import Refusal
from request import Request
from safetensors_file import TensorFile
from shape import OutFile, same_layout
from vae_swap import open_vae, replace_vae
from verify import verify
from write import Job, fill, plan_job

Say = Callable[..., None]


def run(request: Request, say: Say, stop: threading.Event) -> None:
    began = time.monotonic()
    refuse_own_input(request)
    base, request = take_along(open_model(request.base, variant=request.variant), request)
    terms = [(open_model(one.path, variant=request.variant), one.weight) for one in request.terms]
    if request.base_weight != 1 and not terms:
        raise Refusal("a base weight without other checkpoints would only scale the model", code="merge.invalid-recipe")
    blend = Blend(base, request.base_weight, terms)
    changes, loras, coverages = plan_changes(base, request.loras, allow_unmatched=request.allow_unmatched)
    models = [base, *([base.beside] if base.beside else []), *(model for model, _ in terms)]
    identifying = Identifying(request, {**{one.path: one.files for one in models}, **{one.path: [one.file] for one in loras}}, stop)
    if not request.dry_run:
        identifying.start()
    directory = shape_output(base, request)
    swap_vae(base, request, directory.files)
    jobs = plan_jobs(directory.files, changes, blend)
    table = [one.to_json() for one in coverages]
    segments = [segment for job in jobs for segment in job.segments]
    total = sum(job.file.data_bytes for job in jobs)
    kernel = choose_kernel(request.kernel)
    say(
        type="plan", kind=base.kind, tensors=sum(job.file.count for job in jobs), changed=len({id(one.out) for one in segments}),
        sizeBytes=total, touchedBytes=sum(one.size for one in segments), kernel=kernel.name, leftOut=directory.left_out,
        alone=blend.alone, coverage=table, files=[job.file.path for job in jobs],
        **({"estimateMs": estimate_ms(jobs, kernel, request.threads)} if request.dry_run else {}),
    )  # fmt: skip
    if request.dry_run:
        return

    if os.path.lexists(request.out) and not request.force:
        inputs = identifying.inputs()
        if is_done(request.out, recipe_of(request, inputs), request.recipe, folder=request.format == "diffusers"):
            say(type="done", out=request.out, upToDate=True, sizeBytes=total, afterMs=elapsed(began), inputs=inputs, sha256=known_hashes(inputs))
            return
    target = Target(request.out, folder=request.format == "diffusers", size=total)
    try:
        inputs = identifying.inputs()  # some tenths of a second beside the opening; the header needs it
        recipe = recipe_of(request, inputs)
        create(target, jobs, directory, base, request, recipe)
        watch = fill(jobs, blend, kernel, threads=request.threads, on_bytes=Progress(total, say), stop=stop)
        refuse_stopped(stop)
        refuse_idle(watch, loras, coverages, table)
        verified = {"verified": verify(jobs, blend, stop).to_json()} if request.verify else {}
        refuse_stopped(stop)
        target.commit(sync=request.sync)
    finally:
        target.discard()
    say(type="done", out=request.out, sizeBytes=total, afterMs=elapsed(began), inputs=inputs, sha256=known_hashes(inputs), **verified)


def known_hashes(inputs: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {path: one["sha256"] for path, one in inputs.items() if "sha256" in one}


def elapsed(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


def refuse_stopped(stop: threading.Event) -> None:
    if stop.is_set():
        raise Refusal("it was interrupted", code="merge.interrupted")


def refuse_idle(watch: Watch, loras: list[Lora], coverages: list[Coverage], table: list[dict[str, Any]]) -> None:
    """A LoRA whose weights are all 0 was never trained, or its file is not what it seems."""
    for lora, one in zip(loras, coverages, strict=True):
        if lora not in watch.active and one.idle < sum(one.matched.values()):
            raise Refusal(f"{one.path} changes nothing: all its weights are 0", details={"coverage": table}, code="merge.no-match")
    if watch.active and not watch.changed:
        raise Refusal("the LoRAs change nothing: what they add is below the precision of the output", details={"coverage": table}, code="merge.no-match")


def shape_output(base: Model, request: Request) -> Directory:
    if request.format == "diffusers":
        config = open_vae(request.vae, request.variant)[1] if request.vae else None
        return plan_directory(base, request, config)
    if base.folder:
        hint = "Ask for the format diffusers, or give the single file."
        raise Refusal(f"{request.base} is a directory; it cannot be written as a single file", hint=hint, code="merge.invalid-recipe")
    prefixes = ("model.diffusion_model.", "diffusion_model.", "double_blocks.", "single_blocks.", "joint_blocks.", "input_blocks.", "output_blocks.")
    return Directory([OutFile(request.out, same_layout(base.tensors, request.dtype, prefixes))])


def swap_vae(base: Model, request: Request, files: list[OutFile]) -> None:
    if request.vae is None:
        return
    instead = replace_vae(base, request.vae, request.variant)
    for file in files:
        for tensor in file.tensors:
            tensor.source = instead.get(tensor.source, tensor.source)


def plan_jobs(files: list[OutFile], changes: Changes, blend: Blend) -> list[Job]:
    jobs = []
    for file in files:
        file.place()
        segments = [one for tensor in file.tensors for one in cut(tensor, changes.get(tensor.source, []), blend)]
        jobs.append(plan_job(file, segments))
    return jobs


class Identifying(threading.Thread):
    """Hashes the inputs beside the other work."""

    def __init__(self, request: Request, opened: dict[str, list[TensorFile]], stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.request, self.opened, self.stop = request, opened, stop
        self.found: dict[str, dict[str, Any]] = {}
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            for path in self.request.inputs:
                if path not in self.found:
                    files = self.opened.get(path) or open_model_files(path)
                    self.found[path] = identify_files(path, files, self.request.sha256.get(path), whole=self.request.hash_inputs, stop=self.stop)
        except BaseException as error:
            self.failure = error

    def inputs(self) -> dict[str, dict[str, Any]]:
        """By path, when all are known."""
        self.join()
        if self.failure:
            raise self.failure
        return self.found


def open_model_files(path: str) -> list[TensorFile]:
    """Of a VAE, which is no whole model."""
    if not os.path.isdir(path):
        return [open_tensors(path)]
    folder = os.path.join(path, "vae") if os.path.isdir(os.path.join(path, "vae")) else path
    return [open_tensors(os.path.join(folder, name)) for name in weight_files(folder, None)]


def create(target: Target, jobs: list[Job], directory: Directory, base: Model, request: Request, recipe: dict[str, Any]) -> None:
    from output import write_all

    sizes: dict[str, int] = {}
    metadata = metadata_of(request, base, recipe)
    for job in jobs:
        job.file.metadata = metadata if not target.folder else {"format": "pt", **metadata}
        header = job.file.header()
        job.data_start = len(header)
        size = len(header) + job.file.data_bytes
        job.descriptor = target.create(job.file.path, size)
        write_all(job.descriptor, memoryview(header), 0)
        sizes[job.file.path] = size
    for name, content in sorted(directory.texts.items()):
        target.write_text(name, content)
    for name, source in sorted(directory.copies.items()):
        target.copy_file(name, source)
    if target.folder:
        target.write_text(MANIFEST, manifest(recipe, request.recipe, sizes))


def refuse_own_input(request: Request) -> None:
    for path in request.inputs:
        if os.path.exists(request.out) and os.path.exists(path) and os.path.samefile(path, request.out):
            raise Refusal(f"{request.out} is one of its own inputs", hint="Name another output.", code="merge.invalid-recipe")
