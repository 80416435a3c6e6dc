"""Makes a tiny random-weight SDXL or SD 1.5: a real diffusers directory, and the same weights as one checkpoint file.

Owns the demo model. Takes an output folder, a kind and a seed; gives files that the real libraries load. The pictures
mean nothing, but everything else (layout, names, file formats, steps, schedulers) is the real thing. Needs numpy and
safetensors only, so it takes well under a second. The folder appears all at once (built beside, then renamed).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

PIPELINES = {"sdxl": "StableDiffusionXLPipeline", "sd15": "StableDiffusionPipeline"}
WORDS = """
    a an the of in on at by and with photo picture painting drawing cat dog house tree city river mountain sky sun
    moon light dark red green blue white black yellow old new big small high quality detailed portrait landscape man
    woman child face hand bad worst best low blurry watermark text style art digital realistic anime fantasy forest
    flower water stone fire snow beautiful astronaut riding horse castle ship street night morning
    """.split()  # noqa: SIM905 - words, not Python
MERGES = 91  # with 256 bytes, 256 word endings and two markers: 605 tokens


def byte_symbols() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in CLIP's order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(rest))]


def learn_merges(words: list[str], count: int) -> list[tuple[str, str]]:
    """Byte-pair merges learned from a word list; ties go to the alphabet, so the result is always the same."""
    spelled = [[*word[:-1], word[-1] + "</w>"] for word in words]
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs = Counter(pair for word in spelled for pair in itertools.pairwise(word))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word in spelled:
            index = 0
            while index < len(word) - 1:
                if (word[index], word[index + 1]) == best:
                    word[index : index + 2] = ["".join(best)]
                index += 1
    return merges


def allow_reading(path: Path) -> None:
    """Temporary folders and safetensors files are made private; a model is for everyone the umask allows."""
    umask = os.umask(0)
    os.umask(umask)
    for entry in (path, *path.rglob("*")):
        entry.chmod((0o777 if entry.is_dir() else 0o666) & ~umask)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tokenizer(folder: Path, pad_token: str) -> int:
    """Writes a CLIP tokenizer in the classic vocab.json and merges.txt; gives the number of its tokens."""
    merges = learn_merges(WORDS, MERGES)
    symbols = byte_symbols()
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    write_json(folder / "vocab.json", {token: index for index, token in enumerate(tokens)})
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    specials = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    write_json(folder / "special_tokens_map.json", specials | {"pad_token": pad_token})
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True}
    write_json(folder / "tokenizer_config.json", config | specials | {"pad_token": pad_token})
    return len(tokens)


def scheduler_config(kind: str) -> dict[str, Any]:
    config: dict[str, Any] = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "prediction_type": "epsilon",
        "steps_offset": 1,
        "timestep_spacing": "leading",
    }
    if kind == "sdxl":
        return {"_class_name": "EulerDiscreteScheduler", "interpolation_type": "linear", **config}
    return {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "set_alpha_to_one": False, **config}


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: list[int]) -> dict[str, Any]:
    """Random float16 tensors, scaled so that values neither vanish nor explode on their way through the network."""
    import numpy as np

    random = np.random.Generator(np.random.PCG64(seed))
    tensors: dict[str, Any] = {}
    for name, shape in shapes.items():
        if "norm" in name.split(".")[-2]:
            value = np.ones(shape) if name.endswith("weight") else np.zeros(shape)
        elif name.endswith("bias"):
            value = random.standard_normal(shape) * 0.02
        else:
            fan_in = int(np.prod(shape[1:])) if "embedding.weight" not in name else shape[1]
            value = random.standard_normal(shape) / np.sqrt(fan_in)
        tensors[name] = value.astype(np.float16)
    return tensors


def build(out: Path, kind: str, seed: int, checkpoint: Path | None, keep: bool = False) -> None:
    """Builds the directory `out` and, when asked, the single file `checkpoint` of the same weights.

    With `keep` an `out` that another process made in the meantime stays as it is: somebody may be reading it.
    """
    from safetensors.numpy import save_file

    from ldm_layout import single_file
    from tiny_layout import (
        LAYOUTS,
        text_config,
        text_shapes,
        unet_config,
        unet_shapes,
        vae_config,
        vae_shapes,
    )

    layout = LAYOUTS[kind]
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        index: dict[str, Any] = {"_class_name": PIPELINES[kind], "_diffusers_version": "0.30.0"}
        index["scheduler"] = ["diffusers", scheduler_config(kind)["_class_name"]]
        write_json(work / "scheduler" / "scheduler_config.json", scheduler_config(kind))
        text = []
        for number, encoder in enumerate(layout.encoders):
            suffix = "" if number == 0 else f"_{number + 1}"
            size = write_tokenizer(work / f"tokenizer{suffix}", "<|endoftext|>" if number == 0 else "!")
            config = text_config(encoder, size)
            write_json(work / encoder.folder / "config.json", config)
            text.append(random_tensors(text_shapes(encoder, size), [seed, 10 + number]))
            save_file(text[-1], work / encoder.folder / "model.fp16.safetensors", {"format": "pt"})
            index[encoder.folder] = ["transformers", config["architectures"][0]]
            index[f"tokenizer{suffix}"] = ["transformers", "CLIPTokenizer"]
        write_json(work / "unet" / "config.json", unet_config(layout))
        write_json(work / "vae" / "config.json", vae_config(layout))
        unet = random_tensors(unet_shapes(layout), [seed, 1])
        vae = random_tensors(vae_shapes(), [seed, 2])
        name = "diffusion_pytorch_model.fp16.safetensors"
        save_file(unet, work / "unet" / name, {"format": "pt"})
        save_file(vae, work / "vae" / name, {"format": "pt"})
        index |= {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
        if kind == "sd15":
            index |= {"safety_checker": [None, None], "feature_extractor": [None, None]}
            index["requires_safety_checker"] = False
        else:
            index["force_zeros_for_empty_prompt"] = True
        write_json(work / "model_index.json", index)
        allow_reading(work)
        if checkpoint is not None:
            tensors = single_file(kind, unet, vae, text, layout.layers_per_block, layout.attention)
            write_checkpoint(checkpoint, tensors, work)
        if not (keep and out.exists()):
            replace_folder(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_checkpoint(path: Path, tensors: dict[str, Any], model: Path) -> None:
    """Writes one checkpoint file, and beside it a folder of the same name with the configs and tokenizers.

    The folder is needed because no other tokenizer fits these 605 tokens; a real checkpoint uses CLIP's own.
    """
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    configs = path.with_suffix("")
    work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        shutil.copytree(model, work / "configs", ignore=shutil.ignore_patterns("*.safetensors"))
        save_file(tensors, work / path.name, {"format": "pt"})
        allow_reading(work)
        replace_folder(work / "configs", configs)
        os.replace(work / path.name, path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def replace_folder(new: Path, place: Path) -> None:
    """Puts `new` in the place of `place`; an older model there goes away only after it was moved aside."""
    if place.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{place.name}.old.", dir=place.parent))
        os.replace(place, old / "model")
        os.replace(new, place)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(new, place)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tiny_model.py", description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="folder to write; replaced when it exists")
    parser.add_argument("--kind", choices=sorted(PIPELINES), default="sdxl")
    parser.add_argument("--single-file", type=Path, metavar="PATH", help="also write the weights as one .safetensors")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="leave a model that is there already, another process's too")
    args = parser.parse_args(argv)
    kept = args.out / "model_index.json"
    if args.keep and kept.exists():
        print(args.out)
        return 0
    try:
        build(args.out.absolute(), args.kind, args.seed, args.single_file and args.single_file.absolute(), args.keep)
    except ImportError as error:
        print(
            f"Cannot make the tiny model: the Python package {error.name!r} is missing. Try: {sys.executable} -m pip install numpy safetensors",
            file=sys.stderr,
        )
        return 3
    except OSError as error:
        if not (args.keep and kept.exists()):
            print(f"Cannot make the tiny model: {error}.", file=sys.stderr)
            return 1
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
