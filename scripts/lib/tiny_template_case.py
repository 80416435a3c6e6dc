"""Writes a tiny SDXL, a LoRA for it and templates.json into a folder: a template that the bundled engine can serve once it is merged."""

import json
import re
import sys
from pathlib import Path

import numpy
from safetensors.numpy import load_file, save_file

folder = Path(sys.argv[1])
sys.path.append(str(Path(__file__).parents[2] / "src/engines/diffusers/helper"))

from tiny_model import build  # noqa: E402 - found through the path above

build(folder / "base", "sdxl", 0, None)
random = numpy.random.default_rng(0)
tensors = {}
for name, value in load_file(folder / "base/unet/diffusion_pytorch_model.fp16.safetensors").items():
    if re.search(r"attn\d\.to_[qkv]\.weight$", name):
        out, width = value.shape
        stem = f"unet.{name.removesuffix('.weight')}"
        tensors[f"{stem}.lora_A.weight"] = (random.standard_normal((2, width)) / width**0.5).astype(numpy.float32)
        tensors[f"{stem}.lora_B.weight"] = random.standard_normal((out, 2)).astype(numpy.float32)
save_file(tensors, folder / "style.safetensors", {"format": "pt"})
template = {
    "checkpoint": "base",
    "loras": [{"path": "style.safetensors", "scale": 0.8}],
    # Its own once more: a template that names one does without the profile's, which would have to be fetched.
    "vae": "base/vae/diffusion_pytorch_model.fp16.safetensors",
    "format": "diffusers",
    "parameters": {"steps": 2, "width": 64, "height": 64},
}
(folder / "templates.json").write_text(json.dumps({"templates": {"styled": template}}, indent=2), encoding="utf-8")
