"""Makes LoRAs of several types for the tiny checkpoint, over its attention, its 3×3 convolutions and its text encoder, in kohya's names for
SD 1.5 and strong enough to be seen.

    COMFYUI_PYTHON tiny_comfy_lora.py CHECKPOINT.safetensors FOLDER

FOLDER gets lora, loha, lokr and dora (.safetensors). The DoRA's scales are over columns: over rows ComfyUI divides by another norm.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]

RANK = 8
ALPHA = 4.0
CHANGE = 0.5  # of a change, beside the weights that it is for
TEXT = "cond_stage_model.transformer."
BLOCKS = {
    "input_blocks.1.0": "down_blocks.0.resnets.0",
    "input_blocks.1.1": "down_blocks.0.attentions.0",
    "middle_block.0": "mid_block.resnets.0",
    "middle_block.1": "mid_block.attentions.0",
    "middle_block.2": "mid_block.resnets.1",
    "output_blocks.0.0": "up_blocks.0.resnets.0",
    "output_blocks.0.1": "up_blocks.0.attentions.0",
    "output_blocks.1.0": "up_blocks.0.resnets.1",
    "output_blocks.1.1": "up_blocks.0.attentions.1",
}
CONVOLUTIONS = {"in_layers.2": "conv1", "out_layers.3": "conv2"}


def module_of(name: str) -> str | None:
    """kohya's name of a weight's module, or None when these LoRAs leave it alone."""
    path = name.removesuffix(".weight")
    if path.startswith(TEXT) and ".encoder.layers." in path and not path.endswith(("layer_norm1", "layer_norm2")):
        return "lora_te_" + path.removeprefix(TEXT).replace(".", "_")
    for ldm, theirs in BLOCKS.items():
        prefix = f"model.diffusion_model.{ldm}."
        rest = path.removeprefix(prefix)
        if path.startswith(prefix) and "norm" not in rest and ("attentions" in theirs or rest in CONVOLUTIONS):
            return f"lora_unet_{theirs}.{CONVOLUTIONS.get(rest, rest)}".replace(".", "_")
    return None


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape)


def factors(shape: tuple[int, ...], down: str, up: str, std: float) -> Tensors:
    """Two factors whose product times alpha / rank has the deviation `std`."""
    scale = math.sqrt(std / math.sqrt(RANK) * RANK / ALPHA)
    return {down: random(RANK, *shape[1:]) * scale, up: random(shape[0], RANK, *(1 for _ in shape[2:])) * scale}


def lora(weight: torch.Tensor, std: float) -> Tensors:
    return factors(tuple(weight.shape), "lora_down.weight", "lora_up.weight", std)


def loha(weight: torch.Tensor, std: float) -> Tensors:
    out, into = weight.shape[0], weight[0].numel()
    scale = math.sqrt(math.sqrt(std * RANK / ALPHA) / math.sqrt(RANK))
    return {f"hada_w{number}_{part}": random(*size) * scale for number in (1, 2) for part, size in (("a", (out, RANK)), ("b", (RANK, into)))}


def lokr(weight: torch.Tensor, std: float) -> Tensors:
    """Whole factors, for which alpha does not count."""
    out, into, *kernel = weight.shape
    return {"lokr_w1": random(8, 8), "lokr_w2": random(out // 8, into // 8, *kernel) * std}


def dora(weight: torch.Tensor, std: float) -> Tensors:
    norm = weight.transpose(0, 1).flatten(1).norm(dim=1).reshape(1, -1, *(1 for _ in weight.shape[2:]))
    return lora(weight, std) | {"dora_scale": norm * (1 + 0.2 * torch.randn(norm.shape))}


def main(checkpoint: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weights = load_file(checkpoint)
    modules = {module: weight.float() for name, weight in weights.items() if name.endswith(".weight") and (module := module_of(name))}
    for make in (lora, loha, lokr, dora):
        torch.manual_seed(2)
        tensors: Tensors = {}
        for module, weight in modules.items():
            for name, value in {**make(weight, float(weight.std()) * CHANGE), "alpha": torch.tensor(ALPHA)}.items():
                tensors[f"{module}.{name}"] = value.to(torch.float16).contiguous()
        save_file(tensors, str(folder / f"{make.__name__}.safetensors"))
    print(f"{len(modules)} modules, {sum(module.startswith('lora_te_') for module in modules)} of them in the text encoder")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
