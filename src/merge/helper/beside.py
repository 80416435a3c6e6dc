"""What a Flux or SD3 single file lacks on its way to a diffusers directory: the other components, from the folder that was named or that lies beside
the file with its name; and the small files of all components."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from configs import ENGINE, config_copies
from model import Model, open_components, read_json
from refusal import Refusal
from request import Request
from shape import OutTensor, parts_by_name
from transformer_configs import CLASSES, ENCODERS, PIPELINES, TOKENIZERS, Shapes, encoder_config, scheduler_config, transformer_config, vae_config
from transformer_folder import TEXTS, VAE_PREFIXES


def take_along(model: Model, request: Request) -> tuple[Model, Request]:
    """The model with the tensors of the other components, so that LoRAs, dtype and VAE reach them; and the request with the folder as an input."""
    kind = model.kind
    if request.format != "diffusers" or model.folder or kind not in CLASSES:
        return model, request
    folder = find_beside(model.path, kind, request)
    if folder is None:
        return model, request
    index = read_json(os.path.join(folder, "model_index.json"))
    others = open_components(folder, index, request.variant, set(index) - own_components(model, kind))
    if others.files:
        request = replace(request, components=folder)
    return replace(model, tensors={**model.tensors, **others.tensors}, beside=others), request


def own_components(model: Model, kind: str) -> set[str]:
    parts = {"vae": VAE_PREFIXES, **{component: (f"text_encoders.{name}.",) for name, component in TEXTS[kind].items()}}
    return {"transformer", *(one for one, prefixes in parts.items() if any(name.startswith(prefixes) for name in model.tensors))}


def find_beside(path: str, kind: str, request: Request) -> str | None:
    family = re.compile({"Flux": r"Flux(?!2)", "SD3": "StableDiffusion3"}[kind])  # FluxFillPipeline and the like are of it, too
    named = request.config_dir
    for place in (named, os.path.join(named, kind.lower())) if named else (os.path.splitext(path)[0],):
        if not os.path.isfile(os.path.join(place, "model_index.json")):
            continue
        if not family.match(str(read_json(os.path.join(place, "model_index.json")).get("_class_name"))):
            continue
        if not os.path.exists(request.out) or not os.path.samefile(place, request.out):
            return place
        if named:
            raise Refusal(f"{request.out} is one of its own inputs", hint="Name another output.", code="merge.invalid-recipe")
        # An output beside its input may have the input's name.
    if named:
        raise Refusal(f"{named} is no diffusers directory of a {kind} model", hint="Name the folder that has its model_index.json.", code="merge.no-match")
    return None


@dataclass
class SmallFiles:
    texts: dict[str, bytes] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    """Components that the pipeline has and the result lacks, for the user."""


def small_files(model: Model, components: dict[str, list[OutTensor]]) -> SmallFiles:
    """Configs, tokenizers, the scheduler and a model_index.json that names what is there; what is not is null, as diffusers writes it."""
    kind, beside = model.kind, model.beside
    made = SmallFiles()
    given = config_copies(Path(beside.path)) if beside else {}
    index = {key: value for key, value in beside.index.items() if key != "transformer"} if beside else {"_class_name": PIPELINES[kind]}
    index = {"_class_name": PIPELINES[kind], "_diffusers_version": "0.30.0", **index}
    shapes = {component: shapes_of(tensors) for component, tensors in components.items()}
    transformer = transformer_config(kind, shapes["transformer"], read_json(given["transformer/config.json"]) if "transformer/config.json" in given else {})
    made.texts["transformer/config.json"] = json_bytes(transformer)
    kinds = {"transformer": ["diffusers", CLASSES[kind]], "vae": ["diffusers", "AutoencoderKL"]}
    kinds |= {component: ["transformers", name] for component, name in ENCODERS[kind].items()}
    kinds |= {tokenizer_of(component): ["transformers", TOKENIZERS[name]] for component, name in ENCODERS[kind].items()}
    kinds["scheduler"] = ["diffusers", "FlowMatchEulerDiscreteScheduler"]
    for component in [*(one for one in index if isinstance(index[one], list)), *(one for one in kinds if one not in index)]:
        files = {place: source for place, source in given.items() if place.startswith(f"{component}/")}
        if component in components:
            there = True
            if component != "transformer" and f"{component}/config.json" not in files:
                made.texts[f"{component}/config.json"] = json_bytes(config_of(kind, component, shapes[component]))
            made.copies |= {} if component == "transformer" else files
        elif files and f"{component}/config.json" not in files:
            there = True
            made.copies |= files  # a tokenizer, a scheduler: no weights belong to it
        elif component == "scheduler":
            there = True
            made.texts["scheduler/scheduler_config.json"] = json_bytes(scheduler_config(kind, transformer))
        else:
            texts = clip_tokenizer(kind, component, shapes)
            there = bool(texts)
            made.texts |= texts
        wanted = index.get(component) or [None, None]
        if there:
            index[component] = wanted if wanted[0] else kinds[component]
        else:
            if component in kinds or wanted[0]:
                made.missing.append(component)
            index[component] = [None, None]
    made.texts["model_index.json"] = json_bytes(index)
    return made


def shapes_of(tensors: list[OutTensor]) -> Shapes:
    return {name: (sum(one.shape[0] for one in parts), *parts[0].shape[1:]) if len(parts) > 1 else parts[0].shape for name, parts in parts_by_name(tensors)}


def tokenizer_of(component: str) -> str:
    return component.replace("text_encoder", "tokenizer")


def config_of(kind: str, component: str, shapes: Shapes) -> dict[str, Any]:
    try:
        return vae_config(kind, shapes) if component == "vae" else encoder_config(component, ENCODERS[kind][component], shapes)
    except (KeyError, IndexError, ValueError) as error:
        hint = f"Give a folder with a model_index.json and a {component}/config.json (configDir, or beside the file with its name)."
        raise Refusal(f"the config of {component} cannot be known: it lacks {error}", hint=hint, code="merge.no-match") from error


def clip_tokenizer(kind: str, tokenizer: str, shapes: dict[str, Shapes]) -> dict[str, bytes]:
    """CLIP's vocabulary is brought along, T5's is not."""
    component = tokenizer.replace("tokenizer", "text_encoder")
    if not tokenizer.startswith("tokenizer") or not ENCODERS[kind].get(component, "").startswith("CLIP") or component not in shapes:
        return {}
    sys.path.append(str(ENGINE))
    from clip_vocabulary import CLIP_SIZE
    from single_file import write_clip_tokenizer

    if shapes[component].get("text_model.embeddings.token_embedding.weight", (0,))[0] != CLIP_SIZE:
        return {}
    with tempfile.TemporaryDirectory(prefix="fettle-merge-") as work:
        write_clip_tokenizer(Path(work), pad="!" if component == "text_encoder_2" else "<|endoftext|>")
        return {f"{tokenizer}/{one.name}": one.read_bytes() for one in Path(work).iterdir()}


def json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
