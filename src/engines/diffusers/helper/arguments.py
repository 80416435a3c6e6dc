"""Command line of the engine → one frozen Settings value. Words follow A1111's own flags where it has them."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

VERSION = "fettle-diffusers-1"
AUTH_VARIABLE = "FETTLE_API_AUTH"


@dataclass(frozen=True)
class Settings:
    """What the engine was asked to be. Everything here is fixed for the life of the process."""

    host: str
    port: int
    models: tuple[Path, ...]
    models_dirs: tuple[Path, ...]
    config_dir: Path | None
    output_dir: Path | None
    device: str
    dtype: str
    no_half_vae: bool
    disable_nan_check: bool
    allow_pickle: bool
    no_hashing: bool
    preload: bool
    queue_size: int
    max_pixels: int
    max_body_bytes: int
    access_log: bool
    die_with_parent: int | None
    api_auth: tuple[tuple[str, str], ...]
    templates: Path | None = None
    template: str | None = None
    template_resolver: list[str] = field(default_factory=list)
    keep_merged: bool = False
    # As it was before the libraries were told to stay offline: what fetches models must not be.
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    model_memory: int | None = 0  # bytes; None: as much as is safe

    def shown(self) -> dict[str, Any]:
        """The settings as GET /cmd-flags shows them: A1111's names beside ours, passwords left out."""
        values: dict[str, Any] = {}
        for item in fields(self):
            if item.name == "environment":
                continue
            value = getattr(self, item.name)
            if isinstance(value, tuple):
                value = [str(part) for part in value]
            values[item.name] = str(value) if isinstance(value, Path) else value
        values["api_auth"] = "***" if self.api_auth else None
        first = self.models[0] if self.models else None
        values |= {
            "api": True,
            "nowebui": True,
            "ckpt": str(first) if first else None,
            "ckpt_dir": str(self.models_dirs[0]) if self.models_dirs else None,
            "listen": self.host == "0.0.0.0",
            "no_half": self.dtype == "float32",
        }
        return values


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="engine.py", description="Serves Stable Diffusion 1.5 and SDXL over A1111's /sdapi/v1 API.", allow_abbrev=False)
    net = parser.add_argument_group("network")
    net.add_argument("--host", "--server-name", default="127.0.0.1", help="address to listen on (default %(default)s)")
    net.add_argument("--listen", action="store_true", help="listen on every address, as --host 0.0.0.0")
    net.add_argument("--port", type=int, default=7861, help="0 takes a free one and prints it (default %(default)s)")
    net.add_argument("--api-auth", metavar="USER:PASSWORD[,…]", help=f"ask for HTTP Basic; better given as ${AUTH_VARIABLE}")
    net.add_argument("--access-log", action="store_true", help="log each request")
    net.add_argument("--max-body-mb", type=int, default=256, help="largest request body (default %(default)s)")
    net.add_argument("--api", "--nowebui", action="store_true", help="accepted for A1111's sake; always so here")

    model = parser.add_argument_group("models")
    model.add_argument(
        "--model", "--ckpt", action="append", default=[], type=Path, metavar="PATH",
        help="a diffusers directory or a checkpoint file; repeatable, the first is loaded at start",
    )  # fmt: skip
    model.add_argument(
        "--models-dir", "--ckpt-dir", action="append", default=[], type=Path, metavar="DIR",
        help="folder that is searched for models; repeatable",
    )  # fmt: skip
    model.add_argument(
        "--config-dir", type=Path, metavar="DIR",
        help="configs and tokenizers for single-file checkpoints: one model's folder, or one with sd15/ and sdxl/",
    )  # fmt: skip
    model.add_argument("--allow-pickle", action="store_true", help="also load .ckpt and .bin files, which can run code")
    model.add_argument("--no-hashing", action="store_true", help="do not compute checkpoints' sha256")
    model.add_argument("--preload", action="store_true", help="/internal/ready answers 200 only once the model is loaded")

    model.add_argument(
        "--model-memory", default="0", metavar="auto|MB",
        help="keep models on the device while they fit into this together; 0: one at a time (default)",
    )  # fmt: skip
    model.add_argument("--templates", type=Path, metavar="FILE", help="the templates that jobs may name as fettle_template")
    model.add_argument("--template", metavar="NAME", help="the template that is loaded at start, unless there is a --model; empty: the first")
    model.add_argument("--template-resolver", metavar="JSON", help="the argv, as a JSON list, of what finds a template's files")

    model.add_argument("--keep-merged", action="store_true", help="merge a template in the background once its LoRAs were used")

    run = parser.add_argument_group("running")
    run.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:N]", help="default %(default)s")
    run.add_argument("--dtype", default="auto", choices=["auto", "float16", "bfloat16", "float32"])
    run.add_argument("--no-half", action="store_true", help="as --dtype float32")
    run.add_argument("--no-half-vae", action="store_true", help="run the VAE in float32")
    run.add_argument("--disable-nan-check", action="store_true", help="return pictures even when they hold NaN")
    run.add_argument("--queue-size", type=int, default=32, help="jobs that may wait; more get 503 (default %(default)s)")
    run.add_argument(
        "--max-pixels", type=int, default=64 * 1024 * 1024,
        help="largest width × height × batch size that is tried (default %(default)s)",
    )  # fmt: skip
    run.add_argument("--output-dir", type=Path, metavar="DIR", help="where save_images writes; without it nothing is saved")
    run.add_argument(
        "--die-with-parent", nargs="?", type=int, const=0, metavar="PID",
        help="end when the parent process ends (Linux); with its PID the start is safe against a race",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=VERSION)
    return parser


def parse_auth(text: str | None) -> tuple[tuple[str, str], ...]:
    pairs = []
    for entry in (text or "").split(","):
        user, colon, password = entry.strip().partition(":")
        if user and colon:
            pairs.append((user, password))
        elif entry.strip():
            raise ValueError("expected USER:PASSWORD")
    return tuple(pairs)


def parse_arguments(argv: list[str]) -> Settings:
    """Reads the command line; a mistake ends the process with code 2 and says what was wrong."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        auth = parse_auth(args.api_auth or os.environ.get(AUTH_VARIABLE))
    except ValueError as error:
        parser.error(f"--api-auth: {error}")
    if not 0 <= args.port <= 65535:
        parser.error(f"--port: {args.port} is not a port")
    if args.device not in ("auto", "cpu", "cuda") and not args.device.removeprefix("cuda:").isdigit():
        parser.error(f"--device: {args.device!r} is none of auto, cpu, cuda, cuda:N")
    for name in ("queue_size", "max_pixels", "max_body_mb"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: must be at least 1")
    if args.model_memory != "auto" and not args.model_memory.isdigit():
        parser.error(f"--model-memory: {args.model_memory!r} is neither auto nor a number")
    if args.templates and not args.template_resolver:
        parser.error("--templates: needs --template-resolver")
    resolver = parse_argv(parser, args.template_resolver)
    for path in args.model:
        if not path.exists():
            parser.error(f"--model: {path} does not exist")
    return Settings(
        host="0.0.0.0" if args.listen else args.host,
        port=args.port,
        models=tuple(path.absolute() for path in args.model),
        models_dirs=tuple(path.absolute() for path in args.models_dir),
        config_dir=args.config_dir and args.config_dir.absolute(),
        output_dir=args.output_dir and args.output_dir.absolute(),
        device=args.device,
        dtype="float32" if args.no_half else args.dtype,
        no_half_vae=args.no_half_vae,
        disable_nan_check=args.disable_nan_check,
        allow_pickle=args.allow_pickle,
        no_hashing=args.no_hashing,
        preload=args.preload,
        queue_size=args.queue_size,
        max_pixels=args.max_pixels,
        max_body_bytes=args.max_body_mb * 1024 * 1024,
        access_log=args.access_log,
        die_with_parent=args.die_with_parent,
        api_auth=auth,
        templates=args.templates and args.templates.absolute(),
        template=args.template,
        template_resolver=resolver,
        keep_merged=args.keep_merged,
        environment=dict(os.environ),
        model_memory=None if args.model_memory == "auto" else int(args.model_memory) * 1024 * 1024,
    )


def parse_argv(parser: argparse.ArgumentParser, text: str | None) -> list[str]:
    try:
        value = json.loads(text or "[]")
    except ValueError:
        value = None
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        parser.error("--template-resolver: expected a JSON list of texts")
    return value
