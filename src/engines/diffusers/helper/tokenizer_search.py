"""Where a CLIP vocabulary can be found without a network.

A single-file checkpoint holds weights but no tokenizer. CLIP's own (49,408 tokens, about 1 MB) is the same for SD 1.x
and SDXL, and is nearly always on the machine already: this looks in the places where other programs keep it.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path

CLIP_SIZE = 49408
CLIP_MERGES = CLIP_SIZE - 256 * 2 - 2
# Packages that ship OpenAI's merge list: (import name, file inside it).
_PACKAGES = (("open_clip", "bpe_simple_vocab_16e6.txt.gz"), ("clip", "bpe_simple_vocab_16e6.txt.gz"))
_CACHED_MODELS = (
    "openai/clip-vit-large-patch14",
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-v1-5",
    "stabilityai/stable-diffusion-xl-base-1.0",
    "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
)


def hub_folders() -> Iterator[Path]:
    """Snapshot folders of the Hugging Face cache that may hold a CLIP tokenizer."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    for model in _CACHED_MODELS:
        yield from sorted((cache / f"models--{model.replace('/', '--')}" / "snapshots").glob("*"))


def _is_clip(folder: Path) -> bool:
    try:
        return len(json.loads((folder / "vocab.json").read_text(encoding="utf-8"))) == CLIP_SIZE
    except (OSError, ValueError):
        return False


def find_tokenizer(neighbours: list[Path]) -> Path | None:
    """A folder with CLIP's vocab.json and merges.txt: beside the given models first, then in the hub's cache."""
    places = [place for model in neighbours for place in (model / "tokenizer", model)]
    places += [place for folder in hub_folders() for place in (folder / "tokenizer", folder)]
    return next((place for place in places if (place / "merges.txt").is_file() and _is_clip(place)), None)


def find_merges() -> Path | None:
    """OpenAI's merge list inside an installed package (which is not imported, only looked into)."""
    for package, name in _PACKAGES:
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            continue
        for place in (spec and spec.submodule_search_locations) or ():
            if (Path(place) / name).is_file():
                return Path(place) / name
    return None


def write_from_merges(source: Path, folder: Path) -> None:
    """Writes CLIP's vocab.json and merges.txt from the merge list alone: the ids follow from its order."""
    from tiny_model import byte_symbols

    with gzip.open(source, "rt", encoding="utf-8") as stream:
        merges = stream.read().split("\n")[1 : CLIP_MERGES + 1]
    symbols = byte_symbols()
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols), *(merge.replace(" ", "") for merge in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    if len(tokens) != CLIP_SIZE:
        raise ValueError(f"{source} does not hold CLIP's {CLIP_MERGES} merges")
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
