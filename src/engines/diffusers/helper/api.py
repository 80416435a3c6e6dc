"""Routes that run or steer jobs: txt2img, img2img, progress, interrupt, skip, model loads, options, health.

Handlers only await futures, so any number of waiting requests leaves /progress and /interrupt free. Decoding and
encoding of pictures runs on worker threads; only denoising runs on the device thread.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

from fastapi import APIRouter, Body, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response

import counters
import delivery
import pictures
from core import Engine
from device_thread import Job
from errors import BasicAuth, BodyLimit, add_handlers, error_body, failure
from latents import preview
from listings import listing_routes
from options import OptionError, check
from schema import Generation, Img2Img, Txt2Img, Txt2ImgBatch
from task import Outcome, Task
from templates import MergedUnusableError
from waits import Wait


def create_app(engine: Engine) -> FastAPI:
    """The whole HTTP application."""
    app = FastAPI(title="fettle diffusers engine", description="A1111's /sdapi/v1 API on diffusers.")
    add_handlers(app)
    app.include_router(health_routes(engine))
    for router in (job_routes(engine), model_routes(engine), listing_routes(engine)):
        app.include_router(router, prefix="/sdapi/v1")
    if engine.settings.api_auth:
        app.add_middleware(BasicAuth, users=engine.settings.api_auth)
    app.add_middleware(BodyLimit, max_bytes=engine.settings.max_body_bytes)
    return app


def health_routes(engine: Engine) -> APIRouter:
    router = APIRouter()

    @router.get("/internal/ping")
    async def ping() -> dict[str, Any]:
        return {}

    @router.get("/internal/metrics")
    async def metrics() -> dict[str, Any]:
        """What was counted here; fettle shows it in its own /metrics."""
        return {"metrics": counters.shown()}

    @router.get("/internal/ready")
    async def ready() -> JSONResponse:
        model = engine.model
        body = {
            "ready": engine.is_ready,
            "model": engine.load_state,
            "checkpoint": model.checkpoint.title if model else None,
            "error": engine.load_error,
        }
        return JSONResponse(body, 200 if engine.is_ready else 503)

    return router


def check_request(engine: Engine, body: Generation) -> None:
    """What can be refused before the queue: scripts, overrides of a wrong kind, pictures beyond the pixel limit."""
    if body.fettle_template is not None and engine.templates is None:
        raise HTTPException(422, "fettle_template: this engine was started without templates")
    for name in [body.script_name, *body.alwayson_scripts]:
        if name:
            raise HTTPException(422, f"Script '{name[:200]}' not found")
    for name, value in (body.override_settings or {}).items():
        try:
            check(name, value)
        except OptionError as error:
            raise HTTPException(422, f"override_settings: {error}") from error
    scale = 1.0
    if isinstance(body, Txt2Img) and body.enable_hr:
        resized = body.hr_resize_x * body.hr_resize_y / max(body.width * body.height, 1)
        scale = max(resized or body.hr_scale**2, 1.0)
    pixels = body.width * body.height * max(body.batch_size, 1) * scale
    if pixels > engine.settings.max_pixels:
        raise HTTPException(422, f"{int(pixels)} pixels in one batch are more than this engine takes ({engine.settings.max_pixels})")


async def run_task(engine: Engine, task: Task, name: str, task_id: str) -> Outcome | None:
    """Waits for the template's files first, then for its turn; None when it was interrupted before that."""
    from generation import generate

    if task.body.fettle_template is not None:
        task.template = await engine.resolve(task.body.fettle_template, task_id)
        if task.template is None:
            return None
    job = engine.submit(name, lambda job: generate(engine, task, job), task_id)
    return await asyncio.wrap_future(job.future)


async def run_generation(engine: Engine, task: Task) -> Response:
    """Queues a task, waits for its pictures, and gives the response; what goes wrong becomes A1111's error body."""
    body = task.body
    name = "img2img" if task.is_img2img else "txt2img"
    task_id = body.force_task_id or f"task({name}-{uuid.uuid4().hex[:12]})"
    try:
        try:
            outcome = await run_task(engine, task, name, task_id)
        except MergedUnusableError:  # told and remembered; this time the template's own files are used
            outcome = await run_task(engine, task, name, task_id)
        return await asyncio.to_thread(delivery.respond, engine.settings, task, outcome)
    except Exception as error:
        return failure(error)


async def run_batch(engine: Engine, body: Txt2ImgBatch) -> Response:
    """Queues requests that share a pass; all of them fail together."""
    from batch import check_alike, generate_batch

    try:
        check_alike(body.requests)
        if sum(request.width * request.height for request in body.requests) > engine.settings.max_pixels:
            raise HTTPException(422, "the requests together have more pixels than this engine takes in one batch")
        tasks = [Task(request) for request in body.requests]
        template = body.requests[0].fettle_template
        if template is not None:
            found = await engine.resolve(template, body.force_task_id or "")
            if found is None:
                return batch_answer([delivery.respond(engine.settings, task, None) for task in tasks])
            for task in tasks:
                task.template = found
        job = engine.submit("txt2img", lambda job: generate_batch(engine, tasks, job), body.force_task_id)
        outcomes = await asyncio.wrap_future(job.future) or [None] * len(tasks)
        answers = [await asyncio.to_thread(delivery.respond, engine.settings, task, one) for task, one in zip(tasks, outcomes, strict=True)]
        return batch_answer(answers)
    except HTTPException:
        raise
    except Exception as error:
        return failure(error)


def batch_answer(answers: list[Response]) -> Response:
    return Response(b"\n".join(bytes(answer.body) for answer in answers), media_type="application/x-ndjson")


def job_routes(engine: Engine) -> APIRouter:
    router = APIRouter()

    @router.post("/txt2img")
    async def txt2img(body: Txt2Img) -> Response:
        check_request(engine, body)
        return await run_generation(engine, Task(body))

    @router.post("/txt2img-batch")
    async def txt2img_batch(body: Txt2ImgBatch) -> Response:
        """One line of JSON for each request, in order; each is what txt2img would have answered."""
        for request in body.requests:
            check_request(engine, request)
        return await run_batch(engine, body)

    @router.post("/img2img")
    async def img2img(body: Img2Img) -> Response:
        if not body.init_images:
            raise HTTPException(404, "Init image not found")
        check_request(engine, body)
        try:
            task = await asyncio.to_thread(_open_pictures, body)
        except pictures.PictureError as error:
            return failure(error)
        return await run_generation(engine, task)

    @router.get("/progress")
    async def progress(skip_current_image: bool = False) -> dict[str, Any]:
        running = engine.device.running
        active = running if running is not None and running.counts else None
        shown = active or engine.device.last
        fraction = active.progress() if active else 0.0
        elapsed = time.monotonic() - active.started_at if active else 0.0
        picture = None
        if active and not skip_current_image:
            active.preview_asked_at = time.monotonic()
        wait = engine.waits.first if active is None else None
        if wait is not None:
            return _waiting(wait, engine)
        held = active.preview if active and not skip_current_image else None
        if held is not None:
            picture = delivery.to_base64(preview(*held))
        return {
            "progress": fraction,
            "eta_relative": elapsed / fraction - elapsed if fraction else 0.0,
            "state": _state(active, shown),
            "current_image": picture,
            "textinfo": None,
            "current_task": active.task_id if active else None,
            "queued": engine.device.waiting,
        }

    @router.post("/interrupt")
    async def interrupt(request: Request, force_task_id: str | None = None) -> dict[str, Any]:
        task_id = force_task_id or await _task_id_in_body(request)
        hit = engine.device.interrupt(task_id) or ("queued" if engine.waits.interrupt(task_id) else None)
        return {} if task_id is None else {"interrupted": hit is not None, "was": hit}

    @router.post("/skip")
    async def skip() -> None:
        engine.device.skip()

    return router


def _open_pictures(body: Img2Img) -> Task:
    images = [pictures.flatten(pictures.decode(text)) for text in body.init_images or []]
    return Task(body, images, pictures.decode(body.mask) if body.mask else None)


def _waiting(wait: Wait, engine: Engine) -> dict[str, Any]:
    """A job whose model is being fetched: it runs, and moves as the bytes come, but has made no step."""
    state = {**_state(None, None), "job": "scripts_fetch", "job_count": 1}
    shown = {"progress": 0.001 + 0.018 * wait.fetch.fraction, "eta_relative": 0.0, "state": state, "current_image": None, "textinfo": None}
    return {**shown, "current_task": wait.task_id, "queued": engine.device.waiting + engine.waits.count - 1}


def _state(active: Job | None, shown: Job | None) -> dict[str, Any]:
    """A1111's `state`. As there, the old step and `interrupted` linger between jobs: idle is job_count 0."""
    return {
        "skipped": bool(shown and shown.skipped),
        "interrupted": bool(shown and shown.interrupted),
        "stopping_generation": False,
        "job": f"scripts_{active.name}" if active else "",
        "job_count": active.job_count if active else 0,
        "job_timestamp": shown.timestamp if shown else "0",
        "job_no": shown.job_no if shown else 0,
        "sampling_step": shown.sampling_step if shown else 0,
        "sampling_steps": shown.sampling_steps if shown else 0,
    }


async def _task_id_in_body(request: Request) -> str | None:
    """The task id in an optional JSON body; anything else in the body is nobody's business, as in A1111."""
    try:
        value = await request.json()
    except Exception:
        return None
    found = value.get("force_task_id") if isinstance(value, dict) else None
    return found if isinstance(found, str) and found else None


def model_routes(engine: Engine) -> APIRouter:
    router = APIRouter()

    async def on_device(name: str, work: Any) -> Response | None:
        try:
            await asyncio.wrap_future(engine.submit(name, work, counts=False).future)
        except Exception as error:
            return failure(error)
        return None

    @router.get("/options")
    async def options() -> dict[str, Any]:
        selected = await asyncio.to_thread(engine.selected)
        values = engine.options.all()
        values["sd_model_checkpoint"] = selected.title if selected else None
        values["sd_checkpoint_hash"] = (selected.sha256 if selected else None) or ""
        return values

    @router.post("/options", response_model=None)
    async def set_options(values: dict[str, Any] = Body(...)) -> Response | None:  # noqa: B008 - FastAPI's own form
        wanted = values.get("sd_model_checkpoint")
        if wanted is not None:
            await asyncio.to_thread(engine.scanned.wait)
            found = engine.catalogue.find(str(wanted))
            if found is None:
                return JSONResponse(error_body("RuntimeError", "", f"model {str(wanted)[:200]!r} not found"), 500)
        try:
            engine.options.update(values)
        except OptionError as error:
            raise HTTPException(422, str(error)) from error
        if wanted is None:
            return None
        return await on_device("load", lambda _job: engine.use_on_device(found))

    @router.post("/unload-checkpoint", response_model=None)
    async def unload() -> Response | dict[str, Any]:
        return await on_device("unload", lambda _job: engine.unload_on_device()) or {}

    @router.post("/free-memory", response_model=None)
    async def free_memory() -> Response | dict[str, Any]:
        """Not A1111's: drops the model and all that was made of it, and empties the device's cache, behind what runs now."""
        return await on_device("free", lambda _job: engine.unload_on_device()) or {}

    @router.post("/reload-checkpoint", response_model=None)
    async def reload() -> Response | dict[str, Any]:
        return await on_device("load", lambda _job: engine.use_on_device(engine.selected())) or {}

    @router.post("/refresh-checkpoints")
    async def refresh() -> None:
        await asyncio.to_thread(engine.rescan)

    return router
