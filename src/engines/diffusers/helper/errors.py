"""Failures in A1111's shapes, and the two ASGI layers in front of everything: the body limit and HTTP Basic."""

from __future__ import annotations

import base64
import binascii
import logging
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from core import is_out_of_memory
from device_thread import EngineStoppingError, QueueFullError
from pictures import PictureError

log = logging.getLogger("engine")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def error_body(error: str, detail: Any = "", errors: str = "") -> dict[str, Any]:
    return {"error": error, "detail": detail, "body": "", "errors": errors}


def failure(error: BaseException) -> JSONResponse:
    """The response for a job or request that failed."""
    if isinstance(error, QueueFullError):
        headers = {"Retry-After": "5"}
        return JSONResponse(error_body("QueueFullError", str(error), str(error)), 503, headers=headers)
    if isinstance(error, EngineStoppingError):
        return JSONResponse(error_body("EngineStoppingError", str(error), str(error)), 503)
    if isinstance(error, PictureError):
        return JSONResponse(error_body("HTTPException", str(error)), 500)
    name = "OutOfMemoryError" if is_out_of_memory(error) else type(error).__name__
    return JSONResponse(error_body(name, "", str(error)[:10_000] or name), 500)


def short(value: Any) -> Any:
    """Part of an error's location or message, kept short: the key or value at fault may be megabytes long."""
    text = str(value)
    return value if isinstance(value, int) else text if len(text) <= 200 else text[:200] + "…"


def add_handlers(app: FastAPI) -> None:
    """A1111's error bodies. Unknown routes and methods keep FastAPI's plain form, as there."""

    @app.exception_handler(HTTPException)
    async def on_http(_request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(error_body("HTTPException", error.detail), error.status_code)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        detail = [{"loc": [short(part) for part in item["loc"]], "msg": short(item["msg"]), "type": item["type"]} for item in error.errors()[:100]]
        return JSONResponse({"detail": detail}, 422)

    @app.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> JSONResponse:
        log.error("*** API error: %s %s: %s: %s", request.method, request.url.path, type(error).__name__, short(error))
        return failure(error)


async def answer(send: Send, status: int, error: str, detail: str) -> None:
    response = JSONResponse(error_body(error, detail), status)
    await send({"type": "http.response.start", "status": status, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body})


class BodyTooLarge(Exception):
    pass


class BodyLimit:
    """Refuses a request body above `max_bytes` with 413, before it is held in memory."""

    def __init__(self, app: App, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        detail = f"The request body is larger than {self.max_bytes} bytes."
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.max_bytes:
            await answer(send, 413, "HTTPException", detail)
            return
        received, started = 0, False

        async def counted() -> MutableMapping[str, Any]:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise BodyTooLarge
            return message

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except BodyTooLarge:
            if not started:
                await answer(send, 413, "HTTPException", detail)


class BasicAuth:
    """HTTP Basic for the API, when users were given. The documentation and the health routes stay open, as in A1111."""

    def __init__(self, app: App, users: tuple[tuple[str, str], ...]) -> None:
        self.app = app
        self.users = [f"{user}:{password}".encode() for user, password in users]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/sdapi/"):
            await self.app(scope, receive, send)
            return
        scheme, _, value = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"basic":
            await answer(send, 401, "HTTPException", "Not authenticated")
            return
        try:
            given = base64.b64decode(value.strip(), validate=True)
        except (binascii.Error, ValueError):
            given = b""
        matches = [secrets.compare_digest(given, user) for user in self.users]
        if not any(matches):
            await answer(send, 401, "HTTPException", "Incorrect username or password")
            return
        await self.app(scope, receive, send)
