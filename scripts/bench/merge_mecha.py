"""The same with sd-mecha, for `scripts/bench merge`: its recipe for LoRAs, merged in float32 and streamed to a float16 file.
Usage: merge_mecha.py BASE OUT LORA:SCALE…"""

from __future__ import annotations

import sys

import sd_mecha
import torch

base_path, out, *loras = sys.argv[1:]
base = sd_mecha.model(base_path)
recipe = base
for lora in loras:
    path, _, scale = lora.rpartition(":")
    recipe = recipe + sd_mecha.convert(sd_mecha.model(path), base) * float(scale)
sd_mecha.merge(recipe, fallback_model=base, merge_dtype=torch.float32, output_dtype=torch.float16, threads=2, output=out)
