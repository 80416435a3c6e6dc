"""Strengths for each block, as the A1111 extension "LoRA Block Weight" and kohya's --lbws write them: 12 or 20 numbers for SDXL, 17 or 26 for
SD 1.5, 61 for Flux; or names with numbers. A block's number multiplies the strength of its part; BASE is the text encoders', and that of the
UNet's weights in no block (time and label embeddings, the last layers)."""

from __future__ import annotations

import re
from typing import Any

from refusal import Refusal
from unet_names import to_ldm


def spread(prefix: str, numbers: range | list[int], width: int = 2) -> list[str]:
    return [f"{prefix}{number:0{width}}" for number in numbers]


SLOTS = {
    12: ["BASE", *spread("IN", [4, 5, 7, 8]), "M00", *spread("OUT", range(6))],
    17: ["BASE", *spread("IN", [1, 2, 4, 5, 7, 8]), "M00", *spread("OUT", range(3, 12))],
    20: ["BASE", *spread("IN", range(9)), "M00", *spread("OUT", range(9))],
    26: ["BASE", *spread("IN", range(12)), "M00", *spread("OUT", range(12))],
    61: ["CLIP", "T5", "IN", *spread("D", range(19)), *spread("S", range(38)), "OUT"],
}
NAMES = {name for slots in SLOTS.values() for name in slots}


def parse_blocks(value: Any, path: str) -> dict[str, float] | None:
    """{block: factor}. Numbers are told apart by how many there are."""
    if value is None:
        return None
    if isinstance(value, list):
        if len(value) not in SLOTS:
            hint = "12 or 20 numbers are for SDXL, 17 or 26 for SD 1.5, 61 for Flux."
            reason = f"the block weights of {path} are {len(value)} numbers, expected {', '.join(map(str, SLOTS))}"
            raise Refusal(reason, hint=hint, code="merge.invalid-recipe")
        # A block that the vector has no place for is left out, as the extension does (SD 1.5's 17 have none for IN00).
        return {name: 0.0 for name in NAMES if name[-1].isdigit()} | dict(zip(SLOTS[len(value)], map(float, value), strict=True))
    value = {"M00" if name.lower() == "mid" else name.upper(): number for name, number in value.items()}
    unknown = sorted(set(value) - NAMES)
    if unknown:
        reason = f"the block weights of {path} name the unknown block {unknown[0]}"
        raise Refusal(reason, hint="Blocks are BASE, IN00, M00, OUT00 …", code="merge.invalid-recipe")
    return {name: float(number) for name, number in value.items()}


def block_of(part: str, stem: str) -> str:
    """The block of a weight, by its path in the model (either layout)."""
    if part != "unet":
        return {"te1": "CLIP", "te2": "CLIP", "te3": "T5"}.get(part, "BASE")
    stem = to_ldm(stem) or stem
    found = re.match(r"(input_blocks|output_blocks)\.(\d+)\.", stem)
    if found:
        return f"{'IN' if found[1].startswith('in') else 'OUT'}{int(found[2]):02}"
    if stem.startswith("middle_block."):
        return "M00"
    found = re.match(r"(double_blocks|transformer_blocks|joint_blocks|single_blocks|single_transformer_blocks)\.(\d+)\.", stem)
    if found:
        return f"{'S' if found[1].startswith('single') else 'D'}{int(found[2]):02}"
    return "OUT" if stem.startswith(("final_layer", "proj_out", "norm_out")) else "IN"


def factor_of(blocks: dict[str, float] | None, part: str, stem: str) -> float:
    """1 for a block that a map of names leaves out; BASE stands for what lies in no block."""
    if blocks is None:
        return 1.0
    block = block_of(part, stem)
    if block in blocks:
        return blocks[block]
    if block in ("CLIP", "T5", "IN", "OUT"):
        return blocks.get("BASE", 1.0)
    return 1.0
