"""What is counted here for /metrics: the monitoring points of templates at run time. Named and explained in docs/templates.md.

Takes counts from any thread; gives one list of families, which fettle's own /metrics shows with the engine's name as a label.
"""

from __future__ import annotations

import threading
from typing import Any

# name → (type, help). A name that is not here cannot be counted.
FAMILIES: dict[str, tuple[str, str]] = {
    "fettle_template_jobs_total": ("counter", "Jobs by template and what they ran on: merged, loras or base."),
    "fettle_template_fallbacks_total": ("counter", "Something less than asked for was used: merged to loras, lora to base, vae to default, prompt to plain."),
    "fettle_template_resolutions_total": ("counter", "Looks at a template's files, by outcome."),
    "fettle_template_merges_total": ("counter", "Templates merged in the background (keepMerged), by outcome."),
    "fettle_model_downloads_total": ("counter", "Files of templates by kind and outcome: there, downloaded or failed, with the error code."),
    "fettle_model_download_bytes_total": ("counter", "Bytes of downloaded files."),
    "fettle_model_download_seconds_total": ("counter", "Seconds that downloads took, together."),
    "fettle_model_authentication": ("gauge", "1 for the state of a provider's key: missing, set, accepted or refused."),
    "fettle_hf_transfer_enabled": ("gauge", "1 when HF_HUB_ENABLE_HF_TRANSFER is set; fettle's own downloads do not need it."),
    "fettle_hf_transfer_available": ("gauge", "1 when the Python package hf_transfer is installed."),
    "fettle_peft_available": ("gauge", "1 when PEFT is installed, which LoRAs at run time need; its version is a label."),
    "fettle_peft_warnings_total": ("counter", "Warnings while LoRAs were loaded and set."),
    "fettle_lora_loads_total": ("counter", "LoRA files by outcome: loaded or failed."),
    "fettle_lora_names_total": ("counter", "Adapter names by what was done to them: kept, sanitised or numbered."),
    "fettle_lora_duplicates_total": ("counter", "LoRAs that were not loaded a second time: there already, or named twice by a template."),
    "fettle_adapter_weights_total": ("counter", "Settings of adapter weights by outcome: set or failed."),
    "fettle_model_loads_total": ("counter", "Models put on the device, by outcome: loaded or failed."),
    "fettle_model_cache_evictions_total": ("counter", "Models that gave way to others."),
    "fettle_model_cache_models": ("gauge", "Models on the device now."),
    "fettle_model_cache_bytes": ("gauge", "Bytes of the models on the device."),
    "fettle_model_cache_limit_bytes": ("gauge", "The bound of the above; 0: one model at a time."),
    "fettle_image_faults_total": ("counter", "Pictures that held NaN or were all black."),
    "fettle_vae_float32_total": ("counter", "Moves of a VAE to float32, by cause: nan or black."),
    "fettle_images_encoded_total": ("counter", "Pictures encoded to base64, by outcome."),
    "fettle_long_prompts_total": ("counter", "Prompts of more than 77 tokens, by outcome: chunked or plain."),
}

_lock = threading.Lock()
_values: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}


def count(name: str, by: float = 1, **labels: str) -> None:
    _check(name)
    key = tuple(sorted(labels.items()))
    with _lock:
        family = _values.setdefault(name, {})
        family[key] = family.get(key, 0) + by


def gauge(name: str, value: float, **labels: str) -> None:
    _check(name)
    with _lock:
        _values.setdefault(name, {})[tuple(sorted(labels.items()))] = value


def set_state(name: str, state: str, **labels: str) -> None:
    """A gauge that is 1 for one state and gone for the others."""
    _check(name)
    key = tuple(sorted(labels.items()))
    with _lock:
        family = _values.setdefault(name, {})
        for other in [one for one in family if tuple(pair for pair in one if pair[0] != "state") == key]:
            del family[other]
        family[tuple(sorted({**labels, "state": state}.items()))] = 1


def shown() -> list[dict[str, Any]]:
    with _lock:
        return [
            {"name": name, "type": FAMILIES[name][0], "help": FAMILIES[name][1], "samples": [[dict(labels), value] for labels, value in family.items()]}
            for name, family in _values.items()
        ]


def _check(name: str) -> None:
    if name not in FAMILIES:
        raise KeyError(name)
