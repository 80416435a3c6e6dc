"""Whether the output of this very request is there already: the recipe in it is the same and its files are as long as their headers say."""

from __future__ import annotations

import json
import os
from typing import Any

from identity import KEY
from refusal import Refusal
from safetensors_file import open_safetensors

MANIFEST = "fettle.json"


def manifest(recipe: dict[str, Any], recipe_id: str | None, sizes: dict[str, int]) -> bytes:
    """What a directory keeps about itself."""
    return (json.dumps({"fettle.recipe": recipe_id, "fettle.merge": recipe, "files": sizes}, indent=2) + "\n").encode()


def is_done(out: str, recipe: dict[str, Any], recipe_id: str | None, *, folder: bool) -> bool:
    return folder_is_done(out, recipe, recipe_id) if folder else file_is_done(out, recipe, recipe_id)


def file_is_done(out: str, recipe: dict[str, Any], recipe_id: str | None) -> bool:
    if not os.path.isfile(out):
        return False
    try:
        file = open_safetensors(out)
    except Refusal:
        return False
    os.close(file.descriptor)
    try:
        return json.loads(file.metadata.get(KEY, "null")) == recipe and file.metadata.get("fettle.recipe") == recipe_id
    except ValueError:
        return False


def folder_is_done(out: str, recipe: dict[str, Any], recipe_id: str | None) -> bool:
    try:
        with open(os.path.join(out, MANIFEST), encoding="utf-8") as file:
            kept = json.load(file)
        return (
            kept["fettle.merge"] == recipe
            and kept["fettle.recipe"] == recipe_id
            and all(os.path.getsize(os.path.join(out, name)) == size for name, size in kept["files"].items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
