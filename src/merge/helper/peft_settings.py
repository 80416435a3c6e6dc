"""What PEFT says of a LoRA beside its tensors: diffusers in the file's metadata, PEFT itself in adapter_config.json in the same folder. Without
it, a LoRA whose alpha differs from its rank is off by a factor."""

from __future__ import annotations

import json
import os
import re
from typing import Any

from lora_names import PEFT_PREFIX
from refusal import Refusal
from safetensors_file import TensorFile

RAW = "base_model.model."
CONFIG = "adapter_config.json"
METADATA = "lora_adapter_metadata"


def peft_settings(file: TensorFile) -> tuple[dict[str, Any], str | None]:
    """(settings under `unet.`, `text_encoder.` …, a note for the user)."""
    text = file.metadata.get(METADATA)
    if text is not None:
        return parse(text, f"{file.path}: {METADATA}"), None
    if not any(name.startswith(RAW) for name in file.tensors):
        return {}, None
    path = os.path.join(os.path.dirname(file.path), CONFIG)
    try:
        with open(path, encoding="utf-8", errors="replace") as config:
            own = parse(config.read(1_000_000), path)
    except OSError:
        return {}, f"there is no {CONFIG} beside it, so its alpha counts as its rank"
    # One adapter, one part: whichever that is, these are its settings.
    return {f"{prefix}.{key}": value for prefix in ("unet", "transformer", *PEFT_PREFIX.values()) for key, value in own.items()}, None


def parse(text: str, place: str) -> dict[str, Any]:
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{place} is not JSON", code="merge.invalid-input") from error
    if not isinstance(settings, dict):
        raise Refusal(f"{place} is not an object", code="merge.invalid-input")
    return settings


def peft_alpha(name: str, prefix: str, rank: int, settings: dict[str, Any]) -> float:
    pattern = settings.get(f"{prefix}.alpha_pattern")
    for key, value in pattern.items() if isinstance(pattern, dict) else ():
        if is_number(value) and means(key, name):
            return float(value)
    value = settings.get(f"{prefix}.lora_alpha")
    return float(value) if is_number(value) else float(rank)


def means(key: str, name: str) -> bool:
    """PEFT takes a key for a pattern of the name's end."""
    if name == key or name.endswith(f".{key}"):
        return True
    try:
        return len(key) < 1000 and re.fullmatch(rf"(?:.*\.)?(?:{key})", name) is not None
    except re.error:
        return False


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
