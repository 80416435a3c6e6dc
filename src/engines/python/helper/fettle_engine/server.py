"""The door: HTTP/1.1 on one address, a thread for each connection, none of which ever runs a handler.

GET  /ready        200 when jobs can be taken, else 503; {"engine": "python", "state", "slots", "running"}
POST /run          {"attempt": id, "job": {"id", "input", …}} → frames until its end, one JSON line each:
                   {"type":"progress","value"} · {"type":"partial","value"} · {"type":"slots","value"}, and at last one of
                   {"type":"result","refresh","sizeBytes"?} · {"type":"error",…,"sizeBytes"?} · {"type":"cancelled"};
                   sizeBytes: so many bytes of JSON follow, the output. Blank lines mean nothing.
POST /cancel       {"attempt"?: id} → {"cancelled": count}; without an attempt all of them
POST /free-memory  {} → drops what nobody uses any more, torch's cache included
"""

from __future__ import annotations

import gc
import json
import os
import socket
import socketserver
import sys
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

from .host import Host
from .run import Run


class Door(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, host: Host, address: str, port: int) -> None:
        self.host = host
        self.connections: set[socket.socket] = set()
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), Visit)
        # A process that the handler forks must hold neither our port nor a caller's connection: its end could not be seen.
        os.register_at_fork(after_in_child=self._close_in_child)

    def _close_in_child(self) -> None:
        for one in [self.socket, *self.connections]:
            with suppress(OSError):
                os.close(one.detach())
        import signal

        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) == self.host._on_stop:
                with suppress(ValueError):
                    signal.signal(number, signal.SIG_DFL)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that is gone is no news."""


class Visit(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Door

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        super().setup()
        self.server.connections.add(self.request)

    def finish(self) -> None:
        self.server.connections.discard(self.request)
        super().finish()

    def do_GET(self) -> None:
        host = self.server.host
        if self.path != "/ready":
            return self._answer(404, {"error": f"there is no {self.path}"})
        told = {"engine": "python", "state": host.state, "slots": host.slots, "running": host.running, "handler": host.path}
        # A broken handler is only served while developing: its jobs are answered with what is wrong.
        return self._answer(200 if host.state in ("serving", "broken") else 503, told)

    def do_POST(self) -> None:
        # A page in a browser can post to loopback, but not with this type.
        if self.headers.get_content_type() != "application/json":
            self.close_connection = True
            return self._answer(415, {"error": "the body must be application/json"})
        try:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", ""))))
        except (ValueError, RecursionError) as error:
            self.close_connection = True
            return self._answer(400, {"error": f"the body cannot be read: {error}"})
        if not isinstance(body, dict):
            return self._answer(400, {"error": "the body must be an object"})
        if self.path == "/run":
            return self._run(body)
        if self.path == "/cancel":
            return self._answer(200, {"cancelled": self.server.host.cancel(body.get("attempt"))})
        if self.path == "/free-memory":
            free_memory()
            return self._answer(200, {})
        return self._answer(404, {"error": f"there is no {self.path}"})

    def _run(self, body: dict[str, Any]) -> None:
        attempt, job = body.get("attempt"), body.get("job")
        if not isinstance(attempt, str) or not isinstance(job, dict):
            return self._answer(400, {"error": "expected attempt and job"})
        host = self.server.host
        run = Run(attempt, job)
        if not host.submit(run):
            return self._answer(409, {"error": "it is stopping" if host.wants_end else f"attempt {attempt} is here already"})
        self.close_connection = True
        try:
            self.send_response(200)
            self.send_header("Content-Type", "application/x-ndjson")
            self.send_header("Connection", "close")
            self.send_header("X-Fettle-Slots", str(host.slots))
            self.send_header("X-Fettle-Stream", "true" if host.streams else "false")
            self.end_headers()
            for frame in run.frames():
                self.wfile.write(frame.line)
                if frame.body is not None:
                    self.wfile.write(frame.body)
        except OSError:
            # Nobody is left to take the result.
            host.cancel(attempt)
            run.release()
            run.ended.wait()
        finally:
            host.forget(run)
        return None

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode("ascii")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every few milliseconds; nothing here is worth a line."""


def free_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    with suppress(Exception):
        torch.cuda.empty_cache()  # type: ignore[union-attr]
        torch.cuda.ipc_collect()  # type: ignore[union-attr]
