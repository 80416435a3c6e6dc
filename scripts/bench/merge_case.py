"""Makes what `scripts/bench merge` merges: a single-file SDXL with every tensor's real shape (6.9 GB, random float16) and two LoRAs of rank 32
over all 986 modules; or with --tiny the bundled tiny SDXL's shapes. Usage: merge_case.py FOLDER [--tiny]"""

from __future__ import annotations

import json
import math
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src/engines/diffusers/helper"))

import ldm_layout  # noqa: E402
import tiny_layout  # noqa: E402

Shapes = dict[str, tuple[int, ...]]
RANDOM = (np.random.default_rng(0).standard_normal(8 * 1024 * 1024) * 0.02).astype(np.float16)


def real_layout() -> Any:
    """The tiny model's tables with SDXL's own numbers."""
    tiny_layout.VAE_CHANNELS, tiny_layout.VAE_LAYERS = (128, 256, 512, 512), 2
    encoders = (tiny_layout.TextEncoder("text_encoder", 768, False, "quick_gelu"), tiny_layout.TextEncoder("text_encoder_2", 1280, True, "gelu"))
    return tiny_layout.Layout(
        kind="sdxl", channels=(320, 640, 1280), attention=(False, True, True), heads=(5, 10, 20), depth=(1, 2, 10), linear_projection=True,
        encoders=encoders, time_ids_width=256, vae_scaling=0.13025, sample_size=128,
    )  # fmt: skip


def shapes_of(tiny: bool) -> tuple[Shapes, dict[str, tuple[int, ...]]]:
    """(LDM name → shape, kohya module → shape)."""
    layout = tiny_layout.LAYOUTS["sdxl"] if tiny else real_layout()
    up = list(reversed(layout.attention))
    out: Shapes = {}
    modules: dict[str, tuple[int, ...]] = {}
    for name, shape in tiny_layout.unet_shapes(layout).items():
        ldm = ldm_layout.unet_name(name, 2, up)
        out[f"model.diffusion_model.{ldm}"] = shape
        attention = "attentions." in name  # what kohya trains by default
        if name.endswith(".weight") and len(shape) > 1 and attention:
            modules["lora_unet_" + ldm.removesuffix(".weight").replace(".", "_")] = shape
    for name, shape in tiny_layout.vae_shapes().items():
        out[f"first_stage_model.{ldm_layout.vae_name(name, 4)}"] = (*shape, 1, 1) if "attentions" in name and len(shape) == 2 else shape
    for number, encoder in enumerate(layout.encoders):
        tiny_layout.TEXT_LAYERS = 3 if tiny else (12, 32)[number]
        text = tiny_layout.text_shapes(encoder, 605 if tiny else 49408)
        if not tiny:
            text = {name: tuple(2 * one if one == encoder.width * 2 else one for one in shape) for name, shape in text.items()}
        for name, shape in text.items():
            if name.endswith(".weight") and ".layers." in name and len(shape) == 2:
                modules[f"lora_te{number + 1}_" + name.removesuffix(".weight").replace(".", "_")] = shape
        if number == 0:
            out |= {f"conditioner.embedders.0.transformer.{name}": shape for name, shape in text.items()}
        else:
            arrays = {name: np.broadcast_to(np.float16(0), shape) for name, shape in text.items()}
            out |= {f"conditioner.embedders.1.model.{name}": value for name, value in open_clip_shapes(arrays).items()}
    return out, modules


def open_clip_shapes(arrays: dict[str, Any]) -> Shapes:
    return {name: tuple(value.shape) for name, value in ldm_layout.open_clip(arrays).items()}


def write(path: Path, shapes: Shapes, alphas: dict[str, float] | None = None) -> None:
    header: dict[str, Any] = {}
    at = 0
    every: list[tuple[str, tuple[int, ...]]] = [*shapes.items(), *((name, ()) for name in alphas or {})]
    for name, shape in every:
        size = math.prod(shape) * 2
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for number, (name, shape) in enumerate(every):
            if alphas and name in alphas:
                file.write(np.float16(alphas[name]).tobytes())
                continue
            left, start = math.prod(shape), (number * 7919) % 4096
            while left > 0:
                part = RANDOM[start : start + left]
                file.write(part.data)
                left -= len(part)
                start = 0


def write_configs(folder: Path, shapes: Shapes, tiny: bool) -> None:
    """The folder of configs and tokenizers that has the base's name."""
    configs = folder / "base"
    shutil.rmtree(configs, ignore_errors=True)
    if tiny:
        import tiny_model

        tiny_model.build(folder / "tiny", "sdxl", 0, None)
        shutil.copytree(folder / "tiny", configs, ignore=shutil.ignore_patterns("*.safetensors"))
        shutil.rmtree(folder / "tiny")
    else:
        from single_file import write_config_folder

        write_config_folder(configs, folder / "base.safetensors", "sdxl", {name: list(shape) for name, shape in shapes.items()})


def main(folder: Path, tiny: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shapes, modules = shapes_of(tiny)
    write(folder / "base.safetensors", shapes)
    rank = 4 if tiny else 32
    for name in ("one", "two"):
        factors: Shapes = {}
        for module, shape in modules.items():
            factors[f"{module}.lora_down.weight"] = (rank, *shape[1:])
            factors[f"{module}.lora_up.weight"] = (shape[0], rank, *(1 for _ in shape[2:]))
        write(folder / f"{name}.safetensors", factors, {f"{module}.alpha": rank / 2 for module in modules})
    write_configs(folder, shapes, tiny)
    touched = sum(math.prod(shape) for shape in modules.values())
    print(json.dumps({"tensors": len(shapes), "modules": len(modules), "elements": sum(map(math.prod, shapes.values())), "touched": touched}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--tiny" in sys.argv)
