"""Writes a tiny checkpoint, a LoRA for it and a recipe into a folder: the case that the image's template layer merges."""

import json
import sys
from pathlib import Path

import numpy
from safetensors.numpy import save_file

folder = Path(sys.argv[1])
random = numpy.random.default_rng(0)
key = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q"
save_file({f"{key}.weight": random.standard_normal((32, 32)).astype(numpy.float16)}, folder / "base.safetensors")
lora = "lora_unet_" + key.removeprefix("model.diffusion_model.").replace(".", "_")
save_file(
    {
        f"{lora}.lora_down.weight": random.standard_normal((4, 32)).astype(numpy.float16),
        f"{lora}.lora_up.weight": random.standard_normal((32, 4)).astype(numpy.float16),
        f"{lora}.alpha": numpy.array(4, dtype=numpy.float16),
    },
    folder / "lora.safetensors",
)
loras = [{"path": "lora.safetensors", "scale": 0.8}]
template = {"checkpoint": "base.safetensors", "loras": loras, "output": "/models/merged.safetensors"}
(folder / "templates.json").write_text(json.dumps({"templates": {"merged": template}}, indent=2), encoding="utf-8")
