"""The bundled diffusers engine: serves Stable Diffusion 1.5 and SDXL over AUTOMATIC1111's /sdapi/v1 API.

Owns the process: command line, listening socket, log lines, signals. Takes flags (`engine.py --help`) and the
environment's OMP_NUM_THREADS, HF_HOME and FETTLE_API_AUTH; gives the API and one line of log per fact on stderr. It
listens within a second and imports torch and loads the model behind that; it never opens a network connection of its
own. Must not know who launches it. Files here, by the way a request goes:

    engine.py → api.py, listings.py, errors.py, schema.py    argv, routes, error bodies, request models
              → core.py, device_thread.py, options.py        the loaded model, the one device thread, the options
              → generation.py, batch.py, passes.py, inpainting.py    a request's rounds; passes through diffusers pipelines
              → prompt.py, samplers.py, latents.py, pictures.py
              → description.py, infotext.py, delivery.py     info, infotext, the response
    checkpoints.py, single_file.py, tokenizer_search.py, loader.py    finding and loading models
    tiny_model.py, tiny_layout.py, ldm_layout.py                      making the demo's model

Exit codes: 0 after SIGTERM or SIGINT, 1 when it cannot listen, 2 for a wrong command line, 3 when a package is missing.
"""

from __future__ import annotations

import sys
import time

STARTED = time.monotonic()

import asyncio  # noqa: E402 - the clock above must start first
import contextlib  # noqa: E402
import ctypes  # noqa: E402
import importlib.util  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from arguments import Settings, parse_arguments  # noqa: E402

log = logging.getLogger("engine")

PACKAGES = {  # import name → name to install
    "torch": "torch", "diffusers": "diffusers", "transformers": "transformers", "safetensors": "safetensors",
    "fastapi": "fastapi", "uvicorn": "uvicorn", "PIL": "pillow", "numpy": "numpy",
}  # fmt: skip
STOP_S = 1.5  # from the signal to the end of the process, whatever the device is doing
PR_SET_PDEATHSIG = 1


def missing_packages() -> list[str]:
    """Looks for the packages without importing them (importing torch alone takes seconds)."""
    return [pip for name, pip in PACKAGES.items() if importlib.util.find_spec(name) is None]


def quiet_libraries() -> None:
    """Offline for good, and no progress bars or banners between the log lines. Must precede the imports."""
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    }
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


class OneLine(logging.Formatter):
    """Keeps each record on one line, so that whoever reads the log can count on lines."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", " | ")


def start_logging(access_log: bool) -> None:
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(OneLine("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[shown], force=True)
    log.setLevel(logging.INFO)
    logging.getLogger("uvicorn.access").setLevel(logging.INFO if access_log else logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)


def die_with_parent(pid: int) -> None:
    """Asks the kernel for SIGTERM when the parent ends. The parent may be gone already: then ends at once."""
    before = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != before or (pid and os.getppid() != pid):
        os._exit(0)


def bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named; without it every answer on a kept connection waits 40 ms for an ACK.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except OSError:
        listening.close()
        raise
    listening.set_inheritable(True)
    return listening


def exit_now(code: int = 0) -> None:
    """Ends without waiting for threads: a denoising step or an import cannot be interrupted from outside."""
    sys.stderr.flush()
    os._exit(code)


def serve(settings: Settings, listening: socket.socket) -> None:
    """Runs the server until a signal. Returns when every answer is sent; the caller then ends the process."""
    import uvicorn

    from api import create_app
    from core import Engine

    imported = time.monotonic()
    engine = Engine(settings)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{listening.getsockname()[1]}"

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """uvicorn would end by the signal itself (exit 143); this engine ends with 0."""
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop)
            yield

        def stop(self) -> None:
            if engine.stopping.is_set():
                exit_now()
            log.info("Stopping.")
            engine.stop()
            self.should_exit = True
            # An alarm, since it needs no new thread: the machine may be out of memory or of threads.
            signal.signal(signal.SIGALRM, lambda *_: exit_now())
            signal.setitimer(signal.ITIMER_REAL, STOP_S)

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            log.info("Uvicorn running on %s", url)
            now = time.monotonic()
            log.info("Startup time: %.1fs (import: %.1fs, listen: %.1fs).", now - STARTED, imported - STARTED, now - imported)
            engine.start()

    options: dict[str, Any] = {"log_config": None, "lifespan": "off", "timeout_graceful_shutdown": 1, "loop": "asyncio"}
    config = uvicorn.Config(create_app(engine), access_log=settings.access_log, server_header=False, **options)
    Server(config).run(sockets=[listening])


def main(argv: list[str]) -> int:
    # Until the server has its own handlers, a signal ends the process at once and well.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: exit_now())
    settings = parse_arguments(argv)
    if settings.die_with_parent is not None:
        die_with_parent(settings.die_with_parent)
    missing = missing_packages()
    if missing:
        file = Path(__file__).with_name("requirements.txt")
        which = f"-r {file}" if file.is_file() else " ".join(missing)
        print(
            f"Cannot start the diffusers engine: missing Python package{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}. Try: {sys.executable} -m pip install {which}",
            file=sys.stderr,
        )
        return 3
    quiet_libraries()
    start_logging(settings.access_log)
    try:
        listening = bind(settings.host, settings.port)
    except OSError as error:
        print(f"Cannot listen on {settings.host}:{settings.port}: {error.strerror or error}.", file=sys.stderr)
        return 1
    serve(settings, listening)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    exit_now(code)
