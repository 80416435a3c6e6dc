"""UNet and VAE tensor paths: LDM's names (single files) ↔ diffusers' names. Paths are without prefix and without `.weight`."""

from __future__ import annotations

import re

RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "out_layers.0": "norm2", "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj", "skip_connection": "conv_shortcut",
}  # fmt: skip
WHOLE = {
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2", "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2", "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out",
}  # fmt: skip


def block_prefixes() -> dict[str, str]:
    """LDM block → diffusers block, for the four levels of SD 1.5; SDXL's three are a part of them."""
    pairs = {"middle_block.0": "mid_block.resnets.0", "middle_block.1": "mid_block.attentions.0", "middle_block.2": "mid_block.resnets.1"}
    for level in range(4):
        for block in range(2):
            pairs[f"input_blocks.{3 * level + block + 1}.0"] = f"down_blocks.{level}.resnets.{block}"
            pairs[f"input_blocks.{3 * level + block + 1}.1"] = f"down_blocks.{level}.attentions.{block}"
        pairs[f"input_blocks.{3 * level + 3}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
        for block in range(3):
            pairs[f"output_blocks.{3 * level + block}.0"] = f"up_blocks.{level}.resnets.{block}"
            pairs[f"output_blocks.{3 * level + block}.1"] = f"up_blocks.{level}.attentions.{block}"
        # A level without attention (SD 1.5's first, SDXL's last) has its upsampler one place earlier.
        pairs[f"output_blocks.{3 * level + 2}.1.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
        pairs[f"output_blocks.{3 * level + 2}.2.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
    return pairs


BLOCKS = block_prefixes()
BLOCKS_BACK = {theirs: ours for ours, theirs in BLOCKS.items() if not ours.endswith(".1.conv")}
RESNET_BACK = {theirs: ours for ours, theirs in RESNET.items()}
WHOLE_BACK = {theirs: ours for ours, theirs in WHOLE.items()}


def to_diffusers(path: str) -> str | None:
    """None when it is no LDM UNet path."""
    return translate(path, WHOLE, BLOCKS, RESNET)


def to_ldm(path: str) -> str | None:
    return translate(path, WHOLE_BACK, BLOCKS_BACK, RESNET_BACK)


def translate(path: str, whole: dict[str, str], blocks: dict[str, str], resnet: dict[str, str]) -> str | None:
    if path in whole:
        return whole[path]
    # The longest prefix wins: input_blocks.3.0.op before input_blocks.3.0.
    parts = path.split(".")
    for length in range(min(5, len(parts)), 1, -1):
        block = blocks.get(".".join(parts[:length]))
        if block is None:
            continue
        rest = ".".join(parts[length:])
        if ".resnets." in block or ".resnets." in ".".join(parts[:length]):
            if rest not in resnet:
                return None
            rest = resnet[rest]
        return f"{block}.{rest}" if rest else block
    return None


VAE_PARTS = (("norm_out", "conv_norm_out"), ("nin_shortcut", "conv_shortcut"))
VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
# What diffusers called these before it had one attention class; older VAE files still have them.
VAE_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0", "to_out.0": "to_out.0", "group_norm": "group_norm"}


def vae_to_diffusers(path: str, levels: int) -> str:
    """Any VAE path in diffusers' present names; `levels` is the number of blocks of the decoder, whose order LDM turns round."""
    path = re.sub(r"^encoder\.down\.(\d+)\.block\.", r"encoder.down_blocks.\1.resnets.", path)
    path = re.sub(r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0.", path)
    path = re.sub(r"^decoder\.up\.(\d+)\.block\.", lambda found: f"decoder.up_blocks.{levels - 1 - int(found[1])}.resnets.", path)
    path = re.sub(r"^decoder\.up\.(\d+)\.upsample\.", lambda found: f"decoder.up_blocks.{levels - 1 - int(found[1])}.upsamplers.0.", path)
    path = re.sub(r"\.mid\.block_(\d)\.", lambda found: f".mid_block.resnets.{int(found[1]) - 1}.", path)
    path = re.sub(r"\.mid\.attn_1\.(\w+)", lambda found: f".mid_block.attentions.0.{VAE_ATTENTION.get(found[1], found[1])}", path)
    path = re.sub(r"\.mid_block\.attentions\.0\.(query|key|value|proj_attn)\b", lambda found: f".mid_block.attentions.0.{VAE_OLD_ATTENTION[found[1]]}", path)
    for ldm, theirs in VAE_PARTS:
        path = re.sub(rf"\b{ldm}\b", theirs, path)
    return path.replace("conv_conv_norm_out", "conv_norm_out")


def vae_levels(paths: list[str]) -> int:
    """How many blocks the decoder has, by its names in either layout."""
    numbers = [int(found[1]) for path in paths if (found := re.match(r"decoder\.up(?:_blocks)?\.(\d+)\.", path))]
    return max(numbers, default=3) + 1
