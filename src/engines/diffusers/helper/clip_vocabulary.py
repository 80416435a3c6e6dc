"""CLIP's vocabulary, which a single-file checkpoint of SD 1.x or SDXL needs and does not hold.

It is the same for all of them: 49,408 tokens whose ids follow from the order of OpenAI's merge list (clip_merges.txt,
MIT licence, as shipped by the packages clip and open_clip), so the list alone is bundled.
"""

from __future__ import annotations

import json
from pathlib import Path

CLIP_SIZE = 49408
_MERGES = Path(__file__).with_name("clip_merges.txt")


def write_vocabulary(folder: Path) -> None:
    """Writes vocab.json and merges.txt as CLIPTokenizer reads them."""
    from tiny_model import byte_symbols

    text = _MERGES.read_text(encoding="utf-8")
    merges = text.rstrip("\n").split("\n")[1:]
    symbols = byte_symbols()
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols), *(merge.replace(" ", "") for merge in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    if len(tokens) != CLIP_SIZE:
        raise ValueError(f"{_MERGES} does not hold CLIP's merges")
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text(text, encoding="utf-8")
