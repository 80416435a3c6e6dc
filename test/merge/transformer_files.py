"""Tiny Flux and SD3 single files, tensor by tensor as Black Forest Labs and Stability AI publish them, and what diffusers itself makes of them."""

from __future__ import annotations

import types
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from diffusers.loaders import single_file_utils

Tensors = dict[str, torch.Tensor]
FLUX_WIDTH, SD3_WIDTH = 128, 128
POOLED, JOINT = 64, 32


def random(*shape: int) -> torch.Tensor:
    return (torch.randn(*shape) * 0.1).half()


def modules(shapes: dict[str, tuple[int, ...]]) -> Tensors:
    return {f"{name}.weight": random(*shape) for name, shape in shapes.items()} | {f"{name}.bias": random(shape[0]) for name, shape in shapes.items()}


def flux_file(*, guidance: bool = True, blocks: int = 2, joint: int = JOINT, pooled: int = POOLED, width: int = FLUX_WIDTH) -> Tensors:
    h = width
    shapes: dict[str, tuple[int, ...]] = {"img_in": (h, 64), "txt_in": (h, joint), "final_layer.linear": (64, h), "final_layer.adaLN_modulation.1": (2 * h, h)}
    for name, columns in {"time_in": 256, "vector_in": pooled, **({"guidance_in": 256} if guidance else {})}.items():
        shapes |= {f"{name}.in_layer": (h, columns), f"{name}.out_layer": (h, h)}
    scales: Tensors = {}
    for number in range(blocks):
        for side in ("img", "txt"):
            block = f"double_blocks.{number}.{side}"
            shapes |= {f"{block}_attn.qkv": (3 * h, h), f"{block}_attn.proj": (h, h), f"{block}_mod.lin": (6 * h, h)}
            shapes |= {f"{block}_mlp.0": (4 * h, h), f"{block}_mlp.2": (h, 4 * h)}
            scales |= {f"{block}_attn.norm.{one}_norm.scale": 1 + random(128) for one in ("query", "key")}
        block = f"single_blocks.{number}"
        shapes |= {f"{block}.linear1": (7 * h, h), f"{block}.linear2": (h, 5 * h), f"{block}.modulation.lin": (3 * h, h)}
        scales |= {f"{block}.norm.{one}_norm.scale": 1 + random(128) for one in ("query", "key")}
    return {**modules(shapes), **scales}


def sd3_file(
    *, norms: bool = False, dual: tuple[int, ...] = (), blocks: int = 3, joint: int = JOINT, pooled: int = POOLED, width: int = SD3_WIDTH, positions: int = 24
) -> Tensors:
    h = width
    shapes: dict[str, tuple[int, ...]] = {"x_embedder.proj": (h, 16, 2, 2), "t_embedder.mlp.0": (h, 256), "t_embedder.mlp.2": (h, h)}
    shapes |= {"y_embedder.mlp.0": (h, pooled), "y_embedder.mlp.2": (h, h), "context_embedder": (h, joint)}
    shapes |= {"final_layer.linear": (64, h), "final_layer.adaLN_modulation.1": (2 * h, h)}
    scales: Tensors = {}
    for number in range(blocks):
        for side in ("x_block", "context_block"):
            block, last = f"joint_blocks.{number}.{side}", side == "context_block" and number == blocks - 1
            twice = side == "x_block" and number in dual
            shapes |= {f"{block}.attn.qkv": (3 * h, h), f"{block}.adaLN_modulation.1": ((2 if last else 9 if twice else 6) * h, h)}
            if not last:
                shapes |= {f"{block}.attn.proj": (h, h), f"{block}.mlp.fc1": (4 * h, h), f"{block}.mlp.fc2": (h, 4 * h)}
            if twice:
                shapes |= {f"{block}.attn2.qkv": (3 * h, h), f"{block}.attn2.proj": (h, h)}
            for attention in ("attn", "attn2") if norms else ():
                if attention == "attn" or twice:
                    scales |= {f"{block}.{attention}.ln_{one}.weight": 1 + random(64) for one in "qk"}
    return {**modules(shapes), **scales, "pos_embed": random(1, positions**2, h)}


def by_diffusers(kind: str, single: Tensors) -> Tensors:
    """diffusers' own conversion. Its code for Flux has the width of the published model as a constant, which is the one thing changed here."""
    if kind == "SD3":
        return single_file_utils.convert_sd3_transformer_checkpoint_to_diffusers(dict(single))
    convert = single_file_utils.convert_flux_transformer_checkpoint_to_diffusers
    constants = convert.__code__.co_consts
    assert 3072 in constants
    changed = convert.__code__.replace(co_consts=tuple(FLUX_WIDTH if one == 3072 else one for one in constants))
    return types.FunctionType(changed, convert.__globals__)(dict(single))


def reference(kind: str, single: Tensors) -> Any:
    """The model that the file describes, made and filled by diffusers; every tensor must have its place."""
    tensors = by_diffusers(kind, single)
    blocks = len({name.split(".")[1] for name in tensors if name.startswith("transformer_blocks.")})
    joint, pooled = tensors["context_embedder.weight"].shape[1], tensors["time_text_embed.text_embedder.linear_1.weight"].shape[1]
    common = {"num_layers": blocks, "joint_attention_dim": joint, "pooled_projection_dim": pooled}
    if kind == "Flux":
        guidance = any("guidance" in name for name in tensors)
        heads = {"attention_head_dim": 128, "num_attention_heads": 1, "num_single_layers": blocks, "guidance_embeds": guidance}
        model: Any = FluxTransformer2DModel(in_channels=64, axes_dims_rope=(16, 56, 56), **common, **heads)
    else:
        dual = tuple(sorted({int(name.split(".")[1]) for name in tensors if ".attn2." in name}))
        norm = "rms_norm" if any("norm_q" in name for name in tensors) else None
        heads = {"attention_head_dim": 64, "num_attention_heads": 2, "caption_projection_dim": SD3_WIDTH, "pos_embed_max_size": 24, "sample_size": 48}
        model = SD3Transformer2DModel(**common, **heads, dual_attention_layers=dual, qk_norm=norm)
    model.load_state_dict({name: value.float() for name, value in tensors.items()}, strict=True)
    return model.eval()


def answer(model: Any, kind: str) -> torch.Tensor:
    """What it says to fixed inputs."""
    seed = torch.Generator().manual_seed(5)

    def inputs(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=seed)

    text = {"encoder_hidden_states": inputs(1, 5, model.config.joint_attention_dim), "pooled_projections": inputs(1, model.config.pooled_projection_dim)}
    with torch.no_grad():
        if kind == "SD3":
            return model(hidden_states=inputs(1, 16, 8, 8), timestep=torch.tensor([500.0]), **text).sample
        places = torch.zeros(16, 3)
        places[:, 1], places[:, 2] = torch.arange(16) // 4, torch.arange(16) % 4
        guidance = torch.tensor([3.5]) if model.config.guidance_embeds else None
        more = {"timestep": torch.tensor([0.5]), "img_ids": places, "txt_ids": torch.zeros(5, 3), "guidance": guidance}
        return model(hidden_states=inputs(1, 16, 64), **text, **more).sample
