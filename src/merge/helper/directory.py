"""A diffusers directory as output: of a directory (its own names and configs), or of a single file, converted on the way. The conversion only
renames, cuts stacked rows, swaps halves and turns one matrix, so it costs no pass of its own."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from beside import json_bytes, small_files
from clip_names import clip_name, from_openclip
from configs import config_files
from model import Model, is_sdxl, weight_files
from refusal import Refusal
from request import Request
from safetensors_file import Tensor
from shape import OutFile, OutTensor, out_dtype, shard, whole
from transformer_folder import TEXTS, convert_transformer_file, vae_tensor
from unet_names import to_diffusers, vae_levels

DIFFUSERS = "diffusion_pytorch_model"
STEMS = {"unet": DIFFUSERS, "transformer": DIFFUSERS, "vae": DIFFUSERS, "controlnet": DIFFUSERS}


@dataclass
class Directory:
    files: list[OutFile]
    texts: dict[str, bytes] = field(default_factory=dict)
    """Small files: path inside the folder → content."""
    copies: dict[str, str] = field(default_factory=dict)
    """Path inside the folder → the file to copy."""
    left_out: list[str] = field(default_factory=list)


def plan_directory(model: Model, request: Request, vae_config: dict[str, Any] | None) -> Directory:
    directory = Directory([])
    if model.folder:
        components = from_folder(model, request)
        copy_rest(model, directory, set(components))
    elif model.kind in TEXTS:
        components, directory.left_out = convert_transformer_file(model, request)
        made = small_files(model, components)
        directory.texts, directory.copies = made.texts, made.copies
        directory.left_out[:0] = [f"{one}: not in the file" for one in made.missing]
    else:
        components = from_single_file(model, request, directory)
        directory.texts, directory.copies = config_files(model, request)
    for component, tensors in components.items():
        stem = STEMS.get(component, "model")
        extension = f"{'.' + request.variant if request.variant else ''}"
        files, index = shard(component, f"{stem}{extension}", ".safetensors", tensors, request.shard_bytes)
        directory.files += files
        if index is not None:
            name = f"{component}/{stem}.safetensors.index{extension}.json"
            directory.texts[name] = json_bytes(index)
    set_vae_config(directory, request, vae_config)
    return directory


def from_folder(model: Model, request: Request) -> dict[str, list[OutTensor]]:
    components: dict[str, list[OutTensor]] = {}
    for key, tensor in model.tensors.items():
        component, _, name = key.partition("/")
        dtype = out_dtype(tensor, request.dtype, denoiser=component in ("unet", "transformer"))
        # transformers from 5.6 on may leave "text_model." out; older ones do not read that.
        full = clip_name(name) if component == "text_encoder" and name.startswith(("encoder.layers.", "embeddings.", "final_layer_norm.")) else name
        components.setdefault(component, []).append(whole(full, tensor, dtype))
    return components


def from_single_file(model: Model, request: Request, directory: Directory) -> dict[str, list[OutTensor]]:
    if not any(name.startswith("model.diffusion_model.input_blocks.") for name in model.tensors):
        reason = f"{model.path} ({model.kind}) cannot be written as a diffusers directory"
        raise Refusal(reason, hint="Single files of SD 1.5, SDXL, Flux and SD3 can be converted.", code="merge.no-match")
    components: dict[str, list[OutTensor]] = {"unet": [], "vae": [], "text_encoder": []}
    texts = {"conditioner.embedders.0.transformer.": "text_encoder", "cond_stage_model.transformer.": "text_encoder"}
    if is_sdxl(model):
        components["text_encoder_2"] = []
    levels = vae_levels([name.removeprefix("first_stage_model.") for name in model.tensors if name.startswith("first_stage_model.")])
    for name, tensor in model.tensors.items():
        prefix = next((one for one in texts if name.startswith(one)), None)
        if name.startswith("model.diffusion_model."):
            stem, _, leaf = name.removeprefix("model.diffusion_model.").rpartition(".")
            path = to_diffusers(stem)
            if path is None:
                raise Refusal(f"{model.path}: {name} is no tensor of an SD 1.5 or SDXL UNet", code="merge.no-match")
            components["unet"].append(whole(f"{path}.{leaf}", tensor, out_dtype(tensor, request.dtype, denoiser=True)))
        elif name.startswith("first_stage_model."):
            components["vae"].append(vae_tensor(name.removeprefix("first_stage_model."), tensor, levels, request.dtype))
        elif prefix is not None and not name.endswith("position_ids"):
            full = clip_name(name.removeprefix(prefix))
            components[texts[prefix]].append(whole(full, tensor, out_dtype(tensor, request.dtype, denoiser=False)))
        elif name.startswith("conditioner.embedders.1.model."):
            found = list(from_openclip(name.removeprefix("conditioner.embedders.1.model."), tensor.rows))
            components["text_encoder_2"] += [piece(one, tensor, request.dtype) for one in found]
            directory.left_out += [] if found else [name]
        else:
            directory.left_out.append(name)
    empty = [component for component, tensors in components.items() if not tensors]
    if empty:
        reason = f"{model.path} holds no {' and no '.join(empty)}, which a diffusers directory needs"
        raise Refusal(reason, hint="Use a whole checkpoint.", code="merge.no-match")
    return components


def piece(found: tuple[str, int, int, bool], tensor: Tensor, wanted: str | None) -> OutTensor:
    name, first, last, transposed = found
    shape = (*tensor.shape[:0], last - first, *tensor.shape[1:])
    return OutTensor(name, out_dtype(tensor, wanted, denoiser=False), shape[::-1] if transposed else shape, tensor, first, last, transposed)


def copy_rest(model: Model, directory: Directory, components: set[str]) -> None:
    """Configs, tokenizers and the scheduler of the directory that was read; no other weights and no old index."""
    for folder, folders, files in os.walk(model.path):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        inside = os.path.relpath(folder, model.path)
        if inside == "." or inside.split(os.sep)[0] in model.index:
            for name in sorted(files):
                place = name if inside == "." else os.path.join(inside, name)
                if name.startswith(".") or name.endswith((".safetensors", ".bin", ".ckpt", ".msgpack", ".onnx", ".onnx_data")) or ".index." in name:
                    continue
                if inside == "." and name not in ("model_index.json", "README.md", "LICENSE.md", "LICENSE"):
                    continue
                directory.copies[place] = os.path.join(folder, name)
    for component in model.index:
        # A component with files of its own kind and no safetensors would be missing in the result.
        folder = os.path.join(model.path, component)
        if component in components or not os.path.isdir(folder) or weight_files(folder, None):
            continue
        if any(one.endswith((".bin", ".ckpt")) for one in os.listdir(folder)):
            raise Refusal(f"{folder} has its weights in a pickle only", hint="Convert it to safetensors first.", code="merge.unsafe-pickle")


def set_vae_config(directory: Directory, request: Request, config: dict[str, Any] | None) -> None:
    """The config of the VAE that was put in; of a bare file only what it is made for: fp16 without upcast."""
    if request.vae is None:
        return
    name = "vae/config.json"
    if config is None:
        if "fp16" not in os.path.basename(request.vae).lower():
            return
        if name in directory.texts:
            config = json.loads(directory.texts[name])
        elif name in directory.copies:
            with open(directory.copies[name], encoding="utf-8") as file:
                config = json.load(file)
        config = {**(config or {}), "force_upcast": False}
    directory.copies.pop(name, None)
    directory.texts[name] = json_bytes(config)
