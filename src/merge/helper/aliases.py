"""Which rows of which tensors a LoRA's module means. No underscore is ever parsed: every weight and bias of the model is listed under all
the names that trainers use for it (both layouts, with "." as "_"), and a module is looked up there.

A name is (part, path, leaf): part is unet (also a transformer), te1, te2 or te3; path has underscores only; leaf is weight or bias."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clip_names import clip_name, from_openclip
from model import Model
from safetensors_file import Tensor
from transformer_names import FLUX, SD3, stacked_name, unstack
from unet_names import to_diffusers, to_ldm


@dataclass(frozen=True, slots=True)
class Place:
    """Rows first…last of a tensor are the module's rows from `module_first` on. Transposed: the tensor holds the module's matrix turned."""

    tensor: Tensor
    first: int
    last: int
    module_first: int = 0
    transposed: bool = False


Names = dict[tuple[str, str, str], tuple[Place, ...]]
Stacked = dict[tuple[str, str], dict[int, tuple[Tensor, bool]]]
"""(stacked module, leaf) → {its place in the stack: (tensor, halves swapped)}, for a model whose q, k and v stand alone."""

UNET_PREFIXES = ("unet/", "transformer/", "model.diffusion_model.", "diffusion_model.", "")
DENOISER = ("input_blocks.", "down_blocks.", "double_blocks.", "joint_blocks.", "transformer_blocks.", "single_blocks.", "single_transformer_blocks.")
# prefix → part; both CLIP (Hugging Face's names) and OpenCLIP occur at each place.
TEXT_PREFIXES = {
    "conditioner.embedders.0.transformer.": "te1", "conditioner.embedders.0.model.": "te1",
    "conditioner.embedders.1.transformer.": "te2", "conditioner.embedders.1.model.": "te2",
    "cond_stage_model.transformer.": "te1", "cond_stage_model.model.": "te1",
    "text_encoder/": "te1", "text_encoder_2/": "te2", "text_encoder_3/": "te3",
    "text_encoders.clip_l.transformer.": "te1", "text_encoders.clip_g.transformer.": "te2", "text_encoders.t5xxl.transformer.": "te3",
}  # fmt: skip


def list_names(model: Model) -> Names:
    """Every name under which a LoRA may mean a weight of this model."""
    names: Names = {}
    prefix = next((one for one in UNET_PREFIXES if any(name.startswith(tuple(one + block for block in DENOISER)) for name in model.tensors)), None)
    stacked: Stacked = {}
    for name, tensor in model.tensors.items():
        text = next(((one, part) for one, part in TEXT_PREFIXES.items() if name.startswith(one)), None)
        if text is not None:
            add_text(names, text[1], name.removeprefix(text[0]), tensor, openclip=text[0].endswith(".model."))
        elif prefix is not None and name.startswith(prefix):
            stem, _, leaf = name.removeprefix(prefix).rpartition(".")
            leaf = "weight" if leaf == "scale" else leaf  # Flux's norms
            if leaf in ("weight", "bias"):
                add_denoiser(names, stacked, model, prefix, stem, leaf, tensor)
    for (path, leaf), parts in stacked.items():
        places, at = [], 0
        for _, (tensor, swapped) in sorted(parts.items()):
            places += swap(tensor, 0, tensor.rows, at, swapped)
            at += tensor.rows
        names.setdefault(key_of("unet", path, leaf), tuple(places))
    return names


def key_of(part: str, path: str, leaf: str) -> tuple[str, str, str]:
    return part, path.replace(".", "_"), leaf


def add_text(names: Names, part: str, name: str, tensor: Tensor, *, openclip: bool) -> None:
    if openclip:
        found = list(from_openclip(name, tensor.rows))
    elif re.search(r"\bblock\.\d+\.layer\.", name):  # T5: its LoRAs call it te2 (Flux) or te3 (SD3)
        found = [(name, 0, tensor.rows, False)]
    else:
        found = [(clip_name(name), 0, tensor.rows, False)]
    for full, first, last, transposed in found:
        stem, _, leaf = full.rpartition(".")
        places = (Place(tensor, first, last, 0, transposed),)
        for path in {stem, stem.removeprefix("text_model.")}:
            names[key_of(part, path, leaf)] = places
            if not full.startswith(("text_model.", "text_projection")):
                names.setdefault(key_of("te3" if part == "te2" else "te2", path, leaf), places)


def add_denoiser(names: Names, stacked: Stacked, model: Model, prefix: str, stem: str, leaf: str, tensor: Tensor) -> None:
    whole = (Place(tensor, 0, tensor.rows),)
    names[key_of("unet", stem, leaf)] = whole
    other = to_diffusers(stem) or to_ldm(stem)
    if other:
        names[key_of("unet", other, leaf)] = whole
        return
    weight = model.tensors.get(f"{prefix}{stem}.weight", tensor)
    for table in (FLUX, SD3):
        for path, first, last, swapped in unstack(table, stem, tensor.rows, weight.columns):
            names.setdefault(key_of("unet", path, leaf), swap(tensor, first, last, 0, swapped))
        into = stacked_name(table, stem)
        if into is not None and into[0] != stem:
            # Both tables know some diffusers paths; only the model's own kind has the stacked name's LoRAs.
            swapped = into[2] or (stem.endswith("norm1_context.linear") and table is SD3 and tensor.rows == 2 * weight.columns)
            stacked.setdefault((into[0], leaf), {})[into[1]] = (tensor, swapped)


def swap(tensor: Tensor, first: int, last: int, module_first: int, swapped: bool) -> tuple[Place, ...]:
    if not swapped:
        return (Place(tensor, first, last, module_first),)
    middle = (first + last) // 2
    return Place(tensor, middle, last, module_first), Place(tensor, first, middle, module_first + last - middle)
