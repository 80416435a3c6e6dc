"""Makes a tiny random-weight SD 1.x checkpoint that AUTOMATIC1111's webui loads, with the webui's own model code.

    A1111_PYTHON tiny_webui_checkpoint.py WEBUI_DIRECTORY OUT_DIRECTORY

Writes tiny.safetensors and, beside it, tiny.yaml, which the webui takes as the model's config, so every dimension may be small.
The text encoder's folder is made here too: nothing is downloaded.
"""

from __future__ import annotations

import gzip
import json
import sys
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

WIDTH = 32  # of the text encoder; also the UNet's context


def write_text_encoder(folder: Path) -> None:
    """A CLIP folder: the real vocabulary, which the clip package carries, and a config of two small layers."""
    from clip.simple_tokenizer import bytes_to_unicode

    spec = find_spec("clip")
    if spec is None or spec.origin is None:
        raise SystemExit("The webui's Python has no clip package.")
    packed = Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz"
    merges = gzip.decompress(packed.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(letter + "</w>" for letter in letters), *("".join(merge.split()) for merge in merges)]
    vocabulary = {word: index for index, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    end = "<|endoftext|>"
    tokens = {"bos_token": "<|startoftext|>", "eos_token": end, "unk_token": end, "pad_token": end}
    tokenizer = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **tokens}
    config = {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": len(vocabulary),
        "hidden_size": WIDTH,
        "projection_dim": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (folder / "config.json").write_text(json.dumps(config))


def shrink(config: dict[str, Any], text_encoder: Path) -> dict[str, Any]:
    params = config["model"]["params"]
    params["unet_config"]["params"].update(
        model_channels=32, attention_resolutions=[2], num_res_blocks=1, channel_mult=[1, 2], num_heads=2, context_dim=WIDTH, use_checkpoint=False
    )
    params["first_stage_config"]["params"]["ddconfig"].update(ch=32, ch_mult=[1, 1, 1, 1], num_res_blocks=1)
    params["cond_stage_config"]["params"] = {"version": str(text_encoder), "device": "cpu"}
    return config


def main(webui: Path, out: Path) -> None:
    sys.path.insert(0, str(webui / "repositories" / "stable-diffusion-stability-ai"))
    import torch
    import yaml

    out.mkdir(parents=True, exist_ok=True)
    text_encoder = out / "text-encoder"
    write_text_encoder(text_encoder)
    config = shrink(yaml.safe_load((webui / "configs" / "v1-inference.yaml").read_text()), text_encoder)
    (out / "tiny.yaml").write_text(yaml.safe_dump(config))

    # The model code still asks for a module that later versions of its library moved; the webui mends that in the same way.
    try:
        import pytorch_lightning.utilities.distributed  # noqa: F401
    except ImportError:
        from pytorch_lightning.utilities.rank_zero import rank_zero_only

        moved = types.ModuleType("pytorch_lightning.utilities.distributed")
        moved.rank_zero_only = rank_zero_only  # type: ignore[attr-defined]
        sys.modules[moved.__name__] = moved
    from transformers import CLIPTextConfig, CLIPTextModel

    CLIPTextModel.from_pretrained = classmethod(lambda cls, name, **_: cls(CLIPTextConfig.from_pretrained(name)))
    from ldm.util import instantiate_from_config
    from omegaconf import OmegaConf
    from safetensors.torch import save_file

    torch.manual_seed(1)
    weights = {key: value.contiguous().clone() for key, value in instantiate_from_config(OmegaConf.create(config).model).state_dict().items()}
    # The UNet's last layer begins as zeros, and every picture would be the same.
    weights["model.diffusion_model.out.2.weight"] = torch.randn_like(weights["model.diffusion_model.out.2.weight"]) * 0.02
    save_file(weights, str(out / "tiny.safetensors"))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
