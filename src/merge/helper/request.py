"""The request, as `fettle merge` sends it: one JSON object (merge-request.ts is its description and its other end)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from block_weights import factor_of, parse_blocks
from kernel import KERNELS
from refusal import Refusal

DTYPES = {"keep": None, "fp16": "F16", "bf16": "BF16", "fp32": "F32", "fp8_e4m3fn": "F8_E4M3", "fp8_e5m2": "F8_E5M2"}


@dataclass(frozen=True)
class LoraRequest:
    path: str
    unet: float
    te: tuple[float, float, float]
    blocks: dict[str, float] | None = None

    def strength(self, part: str, stem: str) -> float:
        own = self.unet if part == "unet" else self.te[int(part[2]) - 1]
        return own * factor_of(self.blocks, part, stem)

    @property
    def idle(self) -> bool:
        """The user's own wish that it does nothing."""
        return self.unet == 0 and not any(self.te)


@dataclass(frozen=True)
class Term:
    """weight × another checkpoint, added."""

    path: str
    weight: float


@dataclass(frozen=True)
class Request:
    base: str
    out: str
    loras: list[LoraRequest] = field(default_factory=list)
    base_weight: float = 1.0
    terms: list[Term] = field(default_factory=list)
    format: str = "single"
    dtype: str | None = None
    variant: str | None = None
    shard_bytes: int = 10_000_000_000
    vae: str | None = None
    config_dir: str | None = None
    components: str | None = None
    """The folder whose weights complete a Flux or SD3 single file; found, not asked for."""
    title: str | None = None
    recipe: str | None = None
    sha256: dict[str, str] = field(default_factory=dict)
    """Hashes that are known, by path."""
    allow_unmatched: bool = False
    dry_run: bool = False
    verify: bool = False
    force: bool = False
    sync: bool = True
    hash_inputs: bool = False
    threads: int = 2
    kernel: str = "auto"

    @property
    def inputs(self) -> list[str]:
        """Paths, base first."""
        return [self.base, *(one.path for one in (*self.terms, *self.loras)), *(one for one in (self.vae, self.components) if one)]


def parse_request(raw: dict[str, Any]) -> Request:
    dtype = raw.get("dtype") or "keep"
    if dtype not in DTYPES:
        raise Refusal(f"the dtype {dtype} is unknown", hint=f"Give one of {', '.join(DTYPES)}.", code="merge.invalid-recipe")
    layout = raw.get("format") or "single"
    if layout not in ("single", "diffusers"):
        raise Refusal(f"the format {layout} is unknown", hint="Give single or diffusers.", code="merge.invalid-recipe")
    kernel = raw.get("kernel") or "auto"
    if kernel not in KERNELS:
        raise Refusal(f"the kernel {kernel} is unknown", hint=f"Give one of {', '.join(KERNELS)}.", code="merge.invalid-recipe")
    hashes = {os.path.abspath(path): value for path, value in (raw.get("sha256") or {}).items()}
    return Request(
        base=os.path.abspath(raw["base"]),
        out=os.path.abspath(raw["out"]),
        loras=[parse_lora(one) for one in raw.get("loras") or []],
        base_weight=float(raw.get("baseWeight", 1)),
        terms=[Term(os.path.abspath(one["path"]), float(one["weight"])) for one in raw.get("terms") or []],
        format=layout,
        dtype=DTYPES[dtype],
        variant=raw.get("variant", "fp16" if dtype == "fp16" else None),
        shard_bytes=int(raw.get("shardBytes") or 10_000_000_000),
        vae=os.path.abspath(raw["vae"]) if raw.get("vae") else None,
        config_dir=os.path.abspath(raw["configDir"]) if raw.get("configDir") else None,
        title=raw.get("title"),
        recipe=raw.get("recipe"),
        sha256=hashes,
        allow_unmatched=bool(raw.get("allowUnmatched")),
        dry_run=bool(raw.get("dryRun")),
        verify=bool(raw.get("verify")),
        force=bool(raw.get("force")),
        sync=raw.get("sync", True) is not False,
        hash_inputs=bool(raw.get("hashInputs")),
        threads=max(1, int(raw.get("threads") or 2)),
        kernel=kernel,
    )


def parse_lora(raw: dict[str, Any]) -> LoraRequest:
    te = float(raw.get("te", 1))
    each = tuple(float(raw[f"te{number}"] if raw.get(f"te{number}") is not None else te) for number in (1, 2, 3))
    path = os.path.abspath(raw["path"])
    return LoraRequest(path, float(raw.get("unet", 1)), each, parse_blocks(raw.get("blocks"), path))  # type: ignore[arg-type]
