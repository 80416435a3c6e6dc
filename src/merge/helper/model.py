"""The model that is merged into: one file, or a diffusers directory with its components' files. Its tensors have names of their own kind:
those of the file, or COMPONENT/name in a directory."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from typing import Any

from refusal import Refusal, system_refusal
from safetensors_file import INVALID, Tensor, TensorFile, open_safetensors

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
SHARD = re.compile(r"-\d{5}-of-\d{5}$")


@dataclass
class Model:
    path: str
    files: list[TensorFile]
    tensors: dict[str, Tensor]
    folder: bool = False
    metadata: dict[str, str] = field(default_factory=dict)
    index: dict[str, Any] = field(default_factory=dict)
    """model_index.json of a directory."""
    beside: Model | None = None
    """The folder that a Flux or SD3 file takes its other components from; their tensors are among `tensors`, too."""

    @property
    def kind(self) -> str:
        return describe(self.tensors)


def open_tensors(path: str) -> TensorFile:
    if path.lower().endswith(PICKLES):
        from pickle_file import open_pickle

        return open_pickle(path)
    return open_safetensors(path)


def open_model(path: str, *, variant: str | None = None) -> Model:
    try:
        directory = os.path.isdir(path)
    except OSError as error:
        raise system_refusal(error, path) from error
    if directory:
        return open_folder(path, variant)
    file = open_tensors(path)
    if not file.tensors:
        raise Refusal(f"{path} holds no tensors", code=INVALID)
    return Model(path, [file], dict(file.tensors), metadata=file.metadata)


def open_folder(path: str, variant: str | None) -> Model:
    index = read_json(os.path.join(path, "model_index.json"))
    model = open_components(path, index, variant, set(index))
    if not model.tensors:
        raise Refusal(f"{path} has a model_index.json and no .safetensors weights", code=INVALID)
    return model


def open_components(path: str, index: dict[str, Any], variant: str | None, wanted: set[str]) -> Model:
    files: list[TensorFile] = []
    tensors: dict[str, Tensor] = {}
    for component in sorted(wanted & set(index)):
        folder = os.path.join(path, component)
        if component.startswith("_") or not os.path.isdir(folder):
            continue
        for name in weight_files(folder, variant):
            file = open_safetensors(os.path.join(folder, name))
            files.append(file)
            for tensor in file.tensors.values():
                key = f"{component}/{tensor.name}"
                if key in tensors:
                    raise Refusal(f"{folder} holds {tensor.name} in two files", code=INVALID)
                tensors[key] = tensor
    return Model(path, files, tensors, folder=True, index=index)


def weight_files(folder: str, variant: str | None) -> list[str]:
    """The safetensors of one component in one variant: the one asked for, else the plain one, else the only one there is."""
    by_variant: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".safetensors"):
            continue
        stem = SHARD.sub("", name.removesuffix(".safetensors"))
        # model-00001-of-00002.fp16 is how diffusers wrote shards of a variant once; now it is model.fp16-00001-of-00002.
        stem = re.sub(r"-\d{5}-of-\d{5}(?=\.|$)", "", stem)
        by_variant.setdefault(stem.partition(".")[2], []).append(name)
    for wanted in (variant or "", "", "fp16", "bf16"):
        if wanted in by_variant:
            return by_variant[wanted]
    return next(iter(by_variant.values()), [])


def read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except FileNotFoundError as error:
        reason = f"{os.path.dirname(path)} is a folder without {os.path.basename(path)}"
        raise Refusal(reason, hint="Give a diffusers directory or a file.", code=INVALID) from error
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{path} is not JSON: {str(error)[:200]}", code=INVALID) from error
    except OSError as error:
        raise system_refusal(error, path) from error
    if not isinstance(value, dict):
        raise Refusal(f"{path} is not a JSON object", code=INVALID)
    return value


def describe(tensors: dict[str, Tensor]) -> str:
    """The kind of model by its shapes: metadata is often absent or wrong."""
    for name, tensor in tensors.items():
        # SD3.5 medium has an attn2 as well, beside its attn.add_q_proj.
        if name.endswith("attn2.to_k.weight") and len(tensor.shape) == 2 and name.replace("attn2.to_k", "attn.add_q_proj") not in tensors:
            return {768: "SD 1.5", 1024: "SD 2", 2048: "SDXL", 1280: "SDXL refiner"}.get(tensor.shape[1], f"cross-attention width {tensor.shape[1]}")
        if "joint_blocks.0." in name or re.search(r"\btransformer_blocks\.0\.attn\.add_q_proj\.", name):
            flux = any("single_transformer_blocks.0." in one for one in tensors)
            return "Flux" if flux else "SD3"
        if "double_blocks.0.img_attn" in name or "single_blocks.0.linear1" in name:
            return "Flux"
    return "unknown"


def is_sdxl(model: Model) -> bool:
    """By its parts, not by its widths: tiny SDXL models are SDXL too."""
    signs = ("label_emb.0.0", "add_embedding.linear_1")
    return any(name.startswith(("conditioner.embedders.1.", "text_encoder_2/")) or any(sign in name for sign in signs) for name in model.tensors)
