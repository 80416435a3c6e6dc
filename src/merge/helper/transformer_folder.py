"""Flux and SD3: a single file's tensors → the components of a diffusers directory. Published files hold the transformer alone, or with the VAE and
the text encoders (whose names are Hugging Face's already). What the file lacks comes from the folder that was taken along."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy

from aliases import DENOISER
from clip_names import clip_name
from model import Model
from refusal import Refusal
from request import Request
from safetensors_file import Tensor, TensorFile
from shape import OutTensor, out_dtype, rows_of, whole
from transformer_names import FLUX, SD3, stacked_name, unstack
from unet_names import vae_levels, vae_to_diffusers

TABLES = {"Flux": FLUX, "SD3": SD3}
PREFIXES = ("model.diffusion_model.", "diffusion_model.", "")
VAE_PREFIXES = ("first_stage_model.", "vae.")
TEXTS = {
    "Flux": {"clip_l": "text_encoder", "t5xxl": "text_encoder_2"},
    "SD3": {"clip_l": "text_encoder", "clip_g": "text_encoder_2", "t5xxl": "text_encoder_3"},
}
POSITIONS = "pos_embed.pos_embed"
ONE = {"F16": b"\x00\x3c", "BF16": b"\x80\x3f", "F32": b"\x00\x00\x80\x3f"}

Components = dict[str, list[OutTensor]]


def convert_transformer_file(model: Model, request: Request) -> tuple[Components, list[str]]:
    """({component: its tensors}, names that have no place there)."""
    kind = model.kind
    components: Components = {"transformer": []}
    left_out: list[str] = []
    beside = model.beside.tensors if model.beside else {}
    texts = {f"text_encoders.{name}.transformer.": component for name, component in TEXTS[kind].items()}
    prefix = next((one for one in PREFIXES if any(name.startswith(tuple(one + block for block in DENOISER)) for name in model.tensors)), None)
    if prefix is None:
        raise Refusal(f"{model.path} ({kind}) has names of no known layout", hint="Give the original file.", code="merge.no-match")
    vae_prefix = next((one for one in VAE_PREFIXES if any(name.startswith(one) for name in model.tensors)), None)
    levels = vae_levels([name.removeprefix(vae_prefix) for name in model.tensors if name.startswith(vae_prefix)]) if vae_prefix else 0
    for name, tensor in model.tensors.items():
        text = next((one for one in texts if name.startswith(one)), None)
        if name in beside:
            component, _, own = name.partition("/")
            # transformers from 5.6 on may leave "text_model." out; older ones do not read that.
            bare = component.startswith("text_encoder") and own.startswith(("encoder.layers.", "embeddings.", "final_layer_norm."))
            components.setdefault(component, []).append(whole(clip_name(own) if bare else own, tensor, out_dtype(tensor, request.dtype, denoiser=False)))
        elif text is not None:
            own = text_name(kind, texts[text], name.removeprefix(text))
            if own is not None:
                components.setdefault(texts[text], []).append(whole(own, tensor, out_dtype(tensor, request.dtype, denoiser=False)))
            elif not name.endswith("position_ids"):
                left_out.append(name)
        elif vae_prefix is not None and name.startswith(vae_prefix):
            components.setdefault("vae", []).append(vae_tensor(name.removeprefix(vae_prefix), tensor, levels, request.dtype))
        elif name.startswith(prefix) and not name.startswith("text_encoders."):
            components["transformer"] += transformer_tensor(model, kind, prefix, name, tensor, request.dtype)
        else:
            left_out.append(name)
    refuse_gaps(model.path, kind, components["transformer"])
    if kind == "SD3" and any(name.startswith("text_encoders.clip_l.transformer.") for name in model.tensors):
        components["text_encoder"].append(no_projection(model, components["text_encoder"], request.dtype))
    refuse_twice(model, components)
    return components, left_out


def transformer_tensor(model: Model, kind: str, prefix: str, name: str, tensor: Tensor, wanted: str | None) -> Iterator[OutTensor]:
    table = TABLES[kind]
    bare = name.removeprefix(prefix)
    stem, _, leaf = bare.rpartition(".")
    dtype = out_dtype(tensor, wanted, denoiser=True)
    if kind == "SD3" and bare in ("pos_embed", POSITIONS):
        yield whole(POSITIONS, tensor, dtype)
        return
    if leaf in ("weight", "bias", "scale"):
        # A bias is cut as its weight is, whose width tells where.
        width = model.tensors.get(f"{prefix}{stem}.weight", tensor).columns
        full = "weight" if leaf == "scale" else leaf
        found = list(unstack(table, stem, tensor.rows, width))
        for path, first, last, swapped in found:
            yield from rows_of(f"{path}.{full}", tensor, dtype, first, last, swapped=swapped)
        if found:
            return
        if stacked_name(table, stem) is not None and leaf != "scale":
            yield whole(bare, tensor, dtype)  # diffusers' name already
            return
    reason = f"{model.path}: {name} is no tensor of a {kind} transformer"
    hint = "Models of another architecture and scaled or quantized ones cannot be converted: give the original file."
    raise Refusal(reason, hint=hint, code="merge.no-match")


def refuse_gaps(file: str, model_kind: str, tensors: list[OutTensor]) -> None:
    """diffusers would fill what is missing with random numbers."""
    names = {one.name for one in tensors}
    blocks: dict[str, dict[int, set[str]]] = {}
    for name in names:
        kind, number, rest = name.split(".", 2) if "transformer_blocks." in name else ("", "0", name)
        blocks.setdefault(kind, {}).setdefault(int(number), set()).add(rest)
    needed: dict[str, set[str]] = {"": {POSITIONS} if model_kind == "SD3" else set()}
    for path in (path.removeprefix("~") for paths in TABLES[model_kind].values() for path in paths):
        kind, _, rest = path.rpartition(".{n}.")
        # schnell has no guidance, SD3 before 3.5 no norms.
        optional = next((one for one in ("guidance_embedder.", *(("attn.norm_", "attn2.norm_") if model_kind == "SD3" else ())) if one in path), None)
        if optional is None or any(optional in name for name in names):
            needed.setdefault(kind, set()).update({f"{rest}.weight"} if ".norm_" in rest else {f"{rest}.weight", f"{rest}.bias"})
    for kind, rests in needed.items():
        count = len(blocks.get(kind, {}))
        for number in range(max(1, count)):
            own = blocks.get(kind, {}).get(number, set())
            absent = ("attn2.",) if not any(one.startswith("attn2.") for one in own) else ()
            if model_kind == "SD3" and number == count - 1:
                absent += ("attn.to_add_out.", "ff_context.")  # it gives nothing more to the text
            missing = sorted(one for one in rests - own if not one.startswith(absent))
            if missing:
                name = f"{kind}.{number}.{missing[0]}" if kind else missing[0]
                raise Refusal(f"{file} is no whole {model_kind} transformer: it has no {name}", hint="Use a whole checkpoint.", code="merge.no-match")


def refuse_twice(model: Model, components: Components) -> None:
    for component, tensors in components.items():
        sources: dict[str, Tensor] = {}
        for one in tensors:
            if sources.setdefault(one.name, one.source) is not one.source:
                reason = f"{model.path} holds {component}/{one.name} twice, as {sources[one.name].name} and as {one.source.name}"
                raise Refusal(reason, code="merge.invalid-input")


def text_name(kind: str, component: str, name: str) -> str | None:
    """None: has no place in that encoder."""
    if name.startswith(("shared.", "encoder.block.", "encoder.final_layer_norm.", "encoder.embed_tokens.")):
        return name
    if name.endswith("position_ids") or name.startswith("logit_scale"):
        return None
    if name.startswith("text_projection"):
        return name if kind == "SD3" and component == "text_encoder_2" else None
    return clip_name(name)


def no_projection(model: Model, encoder: list[OutTensor], wanted: str | None) -> OutTensor:
    """SD3 takes CLIP-L's pooled output unprojected; in diffusers that is a projection by the identity matrix, which no file holds."""
    sample = next((one for one in encoder if one.name == "text_model.final_layer_norm.weight"), None)
    if sample is None:
        raise Refusal(f"{model.path} holds only a part of its text encoder clip_l", hint="Use a whole checkpoint.", code="merge.no-match")
    width, dtype = sample.shape[0], sample.source.dtype if sample.source.dtype in ONE else "F32"
    one = numpy.frombuffer(ONE[dtype], numpy.uint8)
    matrix = numpy.zeros((width, width, len(one)), numpy.uint8)
    matrix[numpy.arange(width), numpy.arange(width)] = one
    descriptor = os.memfd_create("fettle-identity", os.MFD_CLOEXEC)
    os.write(descriptor, matrix.tobytes())
    tensor = Tensor(TensorFile("identity", descriptor, matrix.nbytes), "text_projection.weight", dtype, (width, width), 0)
    return whole(tensor.name, tensor, out_dtype(tensor, wanted, denoiser=False))


def vae_tensor(name: str, tensor: Tensor, levels: int, wanted: str | None) -> OutTensor:
    """The middle attention is a 1×1 convolution in LDM and a matrix in diffusers: the same bytes."""
    path = vae_to_diffusers(name, levels)
    out = whole(path, tensor, out_dtype(tensor, wanted, denoiser=False))
    if ".mid_block.attentions." in path and len(tensor.shape) == 4:
        out.shape = tensor.shape[:2]
    return out
