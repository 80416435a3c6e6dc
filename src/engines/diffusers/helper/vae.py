"""A VAE in the place of a model's own: SDXL's overflows in float16, and the well-known fix is another set of weights."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

from adapters import first_line
from counters import count

log = logging.getLogger("engine")


def replaced(own: Any, path: Path | None, notes: list[str]) -> Any:
    """The VAE at `path`, or the model's own: where none is asked for, where its own is one that needs no float32, or where the other cannot
    be loaded (then with a note)."""
    if path is None or own.config.get("force_upcast") is False:
        return own
    try:
        vae = _load(own, path)
    except Exception as error:
        count("fettle_template_fallbacks_total", **{"from": "vae", "to": "default"})
        log.warning("The VAE %s cannot be loaded: %s", path, first_line(error))
        notes.append(f"The VAE {path.name} cannot be loaded ({first_line(error)}); the model's own was used.")
        return own
    log.info("VAE: %s.", path)
    return vae


def _load(own: Any, path: Path) -> Any:
    from diffusers import AutoencoderKL
    from safetensors.torch import load_file

    if path.is_dir():
        folder = path / "vae" if (path / "vae" / "config.json").is_file() else path
        variant = "fp16" if any(folder.glob("*.fp16.safetensors")) and not (folder / "diffusion_pytorch_model.safetensors").is_file() else None
        return AutoencoderKL.from_pretrained(folder, variant=variant, dtype=own.dtype, use_safetensors=True, local_files_only=True)
    state = load_file(path)
    if any(name.startswith("encoder.down_blocks.") for name in state):
        vae = AutoencoderKL.from_config(dict(own.config))
        vae.load_state_dict(state)
    else:
        with tempfile.TemporaryDirectory(prefix="fettle-vae-") as folder:
            config = {key: value for key, value in own.config.items() if not key.startswith("_")} | {"_class_name": "AutoencoderKL"}
            (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
            vae = AutoencoderKL.from_single_file(str(path), config=folder, local_files_only=True)
    # Of a bare file nothing tells what it was made for; whoever names one for SDXL means the one that needs no float32.
    vae.register_to_config(force_upcast=False)
    return vae.to(own.dtype)
