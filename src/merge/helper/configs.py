"""Configs and tokenizers for a directory that is made of a single file: a folder that was named, or one of the file's own name beside it, or
those of SD 1.5 and SDXL, which the bundled engine knows (and CLIP's vocabulary with them)."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from model import Model, is_sdxl
from refusal import Refusal
from request import Request

HERE = Path(__file__).resolve().parent
# Beside this file when unpacked from the binary; in the source tree at its own place.
ENGINE = next((one for one in (HERE / "engine", HERE.parents[1] / "engines/diffusers/helper") if one.is_dir()), HERE)


def config_files(model: Model, request: Request) -> tuple[dict[str, bytes], dict[str, str]]:
    """(small files by path, files to copy by path)."""
    sys.path.append(str(ENGINE))
    from checkpoints import UnusableModelError
    from single_file import find_config_folder, write_config_folder

    path, kind = Path(model.path), "sdxl" if is_sdxl(model) else "sd15"
    try:
        folder = find_config_folder(path, kind, Path(request.config_dir) if request.config_dir else None)
    except (OSError, ValueError) as error:
        raise Refusal(f"the configs of {path} cannot be read: {error}", code="merge.invalid-input") from error
    if folder is not None:
        return {}, config_copies(folder)
    shapes = {name: list(tensor.shape) for name, tensor in model.tensors.items()}
    with tempfile.TemporaryDirectory(prefix="fettle-merge-") as work:
        try:
            write_config_folder(Path(work), path, kind, shapes)
        except UnusableModelError as error:
            raise Refusal(f"{path} has no configs: {error}", hint="Name a folder with its configs.", code="merge.no-match") from error
        return {str(one.relative_to(work)): one.read_bytes() for one in sorted(Path(work).rglob("*")) if one.is_file()}, {}


def config_copies(folder: Path) -> dict[str, str]:
    copies = {}
    for one in sorted(folder.rglob("*")):
        inside = str(one.relative_to(folder))
        if one.is_file() and not inside.startswith(".") and one.suffix in (".json", ".txt", ".model") and ".index." not in one.name:
            copies[inside] = os.fspath(one)
    return copies
