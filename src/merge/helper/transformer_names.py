"""Flux and SD3: the published single file's module paths (stacked q, k, v) ↔ diffusers' paths. One table for each kind says which diffusers
modules lie, in this order, in one stacked module. SD3's `pos_embed`, which is a tensor and no module, is in no table."""

from __future__ import annotations

import re
from collections.abc import Iterator

# Stacked path → diffusers paths; {n} is the block's number. "~" before a path: its two halves (scale, shift) are swapped.
FLUX = {
    "double_blocks.{n}.img_attn.qkv": ["transformer_blocks.{n}.attn.to_q", "transformer_blocks.{n}.attn.to_k", "transformer_blocks.{n}.attn.to_v"],
    "double_blocks.{n}.txt_attn.qkv": [f"transformer_blocks.{{n}}.attn.add_{one}_proj" for one in "qkv"],
    "double_blocks.{n}.img_attn.proj": ["transformer_blocks.{n}.attn.to_out.0"],
    "double_blocks.{n}.txt_attn.proj": ["transformer_blocks.{n}.attn.to_add_out"],
    "double_blocks.{n}.img_mlp.0": ["transformer_blocks.{n}.ff.net.0.proj"],
    "double_blocks.{n}.img_mlp.2": ["transformer_blocks.{n}.ff.net.2"],
    "double_blocks.{n}.txt_mlp.0": ["transformer_blocks.{n}.ff_context.net.0.proj"],
    "double_blocks.{n}.txt_mlp.2": ["transformer_blocks.{n}.ff_context.net.2"],
    "double_blocks.{n}.img_mod.lin": ["transformer_blocks.{n}.norm1.linear"],
    "double_blocks.{n}.txt_mod.lin": ["transformer_blocks.{n}.norm1_context.linear"],
    "double_blocks.{n}.img_attn.norm.query_norm": ["transformer_blocks.{n}.attn.norm_q"],
    "double_blocks.{n}.img_attn.norm.key_norm": ["transformer_blocks.{n}.attn.norm_k"],
    "double_blocks.{n}.txt_attn.norm.query_norm": ["transformer_blocks.{n}.attn.norm_added_q"],
    "double_blocks.{n}.txt_attn.norm.key_norm": ["transformer_blocks.{n}.attn.norm_added_k"],
    "single_blocks.{n}.norm.query_norm": ["single_transformer_blocks.{n}.attn.norm_q"],
    "single_blocks.{n}.norm.key_norm": ["single_transformer_blocks.{n}.attn.norm_k"],
    "single_blocks.{n}.linear1": [f"single_transformer_blocks.{{n}}.{one}" for one in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")],
    "single_blocks.{n}.linear2": ["single_transformer_blocks.{n}.proj_out"],
    "single_blocks.{n}.modulation.lin": ["single_transformer_blocks.{n}.norm.linear"],
    "img_in": ["x_embedder"],
    "txt_in": ["context_embedder"],
    "time_in.in_layer": ["time_text_embed.timestep_embedder.linear_1"],
    "time_in.out_layer": ["time_text_embed.timestep_embedder.linear_2"],
    "vector_in.in_layer": ["time_text_embed.text_embedder.linear_1"],
    "vector_in.out_layer": ["time_text_embed.text_embedder.linear_2"],
    "guidance_in.in_layer": ["time_text_embed.guidance_embedder.linear_1"],
    "guidance_in.out_layer": ["time_text_embed.guidance_embedder.linear_2"],
    "final_layer.linear": ["proj_out"],
    "final_layer.adaLN_modulation.1": ["~norm_out.linear"],
}
_joint, _block = "joint_blocks.{n}", "transformer_blocks.{n}"
SD3 = {
    f"{_joint}.x_block.attn.qkv": [f"{_block}.attn.to_{one}" for one in "qkv"],
    f"{_joint}.x_block.attn2.qkv": [f"{_block}.attn2.to_{one}" for one in "qkv"],
    f"{_joint}.context_block.attn.qkv": [f"{_block}.attn.add_{one}_proj" for one in "qkv"],
    f"{_joint}.x_block.attn.proj": [f"{_block}.attn.to_out.0"],
    f"{_joint}.x_block.attn2.proj": [f"{_block}.attn2.to_out.0"],
    f"{_joint}.context_block.attn.proj": [f"{_block}.attn.to_add_out"],
    f"{_joint}.x_block.mlp.fc1": [f"{_block}.ff.net.0.proj"],
    f"{_joint}.x_block.mlp.fc2": [f"{_block}.ff.net.2"],
    f"{_joint}.context_block.mlp.fc1": [f"{_block}.ff_context.net.0.proj"],
    f"{_joint}.context_block.mlp.fc2": [f"{_block}.ff_context.net.2"],
    f"{_joint}.x_block.adaLN_modulation.1": [f"{_block}.norm1.linear"],
    f"{_joint}.context_block.adaLN_modulation.1": [f"{_block}.norm1_context.linear"],
    f"{_joint}.x_block.attn.ln_q": [f"{_block}.attn.norm_q"],
    f"{_joint}.x_block.attn.ln_k": [f"{_block}.attn.norm_k"],
    f"{_joint}.x_block.attn2.ln_q": [f"{_block}.attn2.norm_q"],
    f"{_joint}.x_block.attn2.ln_k": [f"{_block}.attn2.norm_k"],
    f"{_joint}.context_block.attn.ln_q": [f"{_block}.attn.norm_added_q"],
    f"{_joint}.context_block.attn.ln_k": [f"{_block}.attn.norm_added_k"],
    "x_embedder.proj": ["pos_embed.proj"],
    "context_embedder": ["context_embedder"],
    "t_embedder.mlp.0": ["time_text_embed.timestep_embedder.linear_1"],
    "t_embedder.mlp.2": ["time_text_embed.timestep_embedder.linear_2"],
    "y_embedder.mlp.0": ["time_text_embed.text_embedder.linear_1"],
    "y_embedder.mlp.2": ["time_text_embed.text_embedder.linear_2"],
    "final_layer.linear": ["proj_out"],
    "final_layer.adaLN_modulation.1": ["~norm_out.linear"],
}


def numbered(path: str) -> tuple[str, str]:
    """(path with {n} for the block's number, that number)."""
    found = re.match(r"^(\w+_blocks)\.(\d+)\.", path)
    return (path, "") if found is None else (f"{found[1]}.{{n}}.{path[found.end() :]}", found[2])


def unstack(table: dict[str, list[str]], path: str, rows: int, hidden: int) -> Iterator[tuple[str, int, int, bool]]:
    """A stacked module → (diffusers path, first row, last row, halves swapped) of each module in it."""
    pattern, number = numbered(path)
    names = table.get(pattern, [])
    # linear1 of a Flux single block: q, k and v of the model's width, the rest is the MLP.
    sizes = [hidden, hidden, hidden, rows - 3 * hidden] if len(names) == 4 else [rows // max(1, len(names))] * len(names)
    if sum(sizes) != rows or min(sizes, default=0) <= 0:
        return  # not of this kind
    at = 0
    for name, size in zip(names, sizes, strict=True):
        # SD3's last context block has two chunks for six; diffusers keeps them in the other order.
        swapped = name.startswith("~") or (pattern.endswith("context_block.adaLN_modulation.1") and rows == 2 * hidden)
        yield name.removeprefix("~").replace("{n}", number), at, at + size, swapped
        at += size


def stacked_name(table: dict[str, list[str]], path: str) -> tuple[str, int, bool] | None:
    """A diffusers module → (the stacked module it is a part of, its place there, halves swapped)."""
    pattern, number = numbered(path)
    for stacked, names in table.items():
        for index, name in enumerate(names):
            if name.removeprefix("~") == pattern:
                return stacked.replace("{n}", number), index, name.startswith("~")
    return None
