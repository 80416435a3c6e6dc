"""The usual way, for `scripts/bench merge`: from_single_file, load the LoRAs, fuse in float32, save as float16.
Usage: merge_diffusers.py BASE CONFIGS OUT LORA:SCALE…"""

from __future__ import annotations

import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from diffusers import StableDiffusionXLPipeline

base, configs, out, *loras = sys.argv[1:]
torch.set_num_threads(2)
pipe = StableDiffusionXLPipeline.from_single_file(base, config=configs, local_files_only=True, torch_dtype=torch.float32, add_watermarker=False)
names = []
for number, lora in enumerate(loras):
    path, _, scale = lora.rpartition(":")
    names.append((f"lora{number}", float(scale)))
    pipe.load_lora_weights(path, adapter_name=names[-1][0])
pipe.set_adapters([name for name, _ in names], [scale for _, scale in names])
pipe.fuse_lora()
pipe.unload_lora_weights()
pipe.to(torch.float16)
pipe.save_pretrained(out, variant="fp16", safe_serialization=True)
