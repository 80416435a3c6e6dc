"""What a single-file checkpoint needs besides its weights, all without a network: configs and tokenizers.

diffusers would fetch both from the hub. Here a complete config folder is looked for (given, or of the checkpoint's own
name beside it); failing that one is written: the configs of SD 1.x and SDXL base are known, the vocabulary is bundled (clip_vocabulary.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from checkpoints import UnusableModelError
from clip_vocabulary import CLIP_SIZE, write_vocabulary

_UNET = {"_class_name": "UNet2DConditionModel", "in_channels": 4, "out_channels": 4, "layers_per_block": 2}
_CONFIGS: dict[str, dict[str, Any]] = {
    "sd15": {
        "unet": {
            **_UNET,
            "sample_size": 64,
            "attention_head_dim": 8,
            "cross_attention_dim": 768,
            "block_out_channels": [320, 640, 1280, 1280],
            "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
            "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
        },
        "text_encoder": {"architectures": ["CLIPTextModel"], "hidden_size": 768, "intermediate_size": 3072,
                         "num_attention_heads": 12, "num_hidden_layers": 12, "hidden_act": "quick_gelu",
                         "projection_dim": 768},
    },
    "sdxl": {
        "unet": {
            **_UNET,
            "sample_size": 128,
            "attention_head_dim": [5, 10, 20],
            "cross_attention_dim": 2048,
            "block_out_channels": [320, 640, 1280],
            "transformer_layers_per_block": [1, 2, 10],
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        "text_encoder": {"architectures": ["CLIPTextModel"], "hidden_size": 768, "intermediate_size": 3072,
                         "num_attention_heads": 12, "num_hidden_layers": 12, "hidden_act": "quick_gelu",
                         "projection_dim": 768},
        "text_encoder_2": {"architectures": ["CLIPTextModelWithProjection"], "hidden_size": 1280,
                           "intermediate_size": 5120, "num_attention_heads": 20, "num_hidden_layers": 32,
                           "hidden_act": "gelu", "projection_dim": 1280},
    },
}  # fmt: skip
_TEXT = {"model_type": "clip_text_model", "vocab_size": CLIP_SIZE, "max_position_embeddings": 77,
         "layer_norm_eps": 1e-05, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 1}  # fmt: skip
_VAE = {
    "_class_name": "AutoencoderKL", "in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 2,
    "block_out_channels": [128, 256, 512, 512], "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip
_SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000, "steps_offset": 1, "timestep_spacing": "leading",
}  # fmt: skip
_PIPELINES = {"sd15": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}
_FIRST_CONV = "model.diffusion_model.input_blocks.0.0.weight"
_EMBEDDING = {
    "sd15": "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
    "sdxl": "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight",
}


def find_config_folder(path: Path, kind: str, config_dir: Path | None) -> Path | None:
    """A complete folder of configs for this checkpoint: the one given, its sd15/ or sdxl/, or one beside the file."""
    places = [config_dir, config_dir / kind] if config_dir else []
    for place in (*places, path.with_suffix("")):
        index = place / "model_index.json"
        if index.is_file() and json.loads(index.read_text(encoding="utf-8")).get("_class_name") == _PIPELINES[kind]:
            return place
    return None


def write_config_folder(folder: Path, path: Path, kind: str, shapes: dict[str, list[int]]) -> None:
    """Writes a complete config folder for a checkpoint of known architecture; raises when its sizes are not the original's."""
    width = shapes.get(_FIRST_CONV, [0, 0])
    known = _CONFIGS[kind]["unet"]["block_out_channels"][0]
    embedding = shapes.get(_EMBEDDING[kind], [0, 0])
    hint = (
        f"Put a folder named {path.with_suffix('').name!r} beside it, or give --config-dir: in it the model's "
        "model_index.json and its config and tokenizer folders (no weights needed)."
    )
    if width[0] != known or embedding[0] != CLIP_SIZE:
        raise UnusableModelError(
            f"Cannot load {path.name}: its sizes ({width[0]} channels, {embedding[0]} tokens) are not those of the "
            f"original {kind} ({known}, {CLIP_SIZE}), so its configs cannot be guessed. {hint}"
        )
    index: dict[str, Any] = {"_class_name": _PIPELINES[kind], "_diffusers_version": "0.30.0"}
    for number, suffix in enumerate(("", "_2") if kind == "sdxl" else ("",)):
        write_clip_tokenizer(folder / f"tokenizer{suffix}", pad="!" if number else "<|endoftext|>")
        config = _CONFIGS[kind][f"text_encoder{suffix}"]
        _write(folder / f"text_encoder{suffix}" / "config.json", {**_TEXT, **config})
        index[f"text_encoder{suffix}"] = ["transformers", config["architectures"][0]]
        index[f"tokenizer{suffix}"] = ["transformers", "CLIPTokenizer"]
    # An inpainting model takes 9 channels; a v-prediction one carries a marker tensor.
    _write(folder / "unet" / "config.json", {**_CONFIGS[kind]["unet"], "in_channels": width[1]})
    sdxl = kind == "sdxl"
    _write(folder / "vae" / "config.json", {
        **_VAE, "sample_size": 1024 if sdxl else 512, "scaling_factor": 0.13025 if sdxl else 0.18215, "force_upcast": sdxl,
    })  # fmt: skip
    scheduler = {**_SCHEDULER, "prediction_type": "v_prediction" if "v_pred" in shapes else "epsilon"}
    if "ztsnr" in shapes:
        scheduler["rescale_betas_zero_snr"] = True
    _write(folder / "scheduler" / "scheduler_config.json", scheduler)
    index |= {"scheduler": ["diffusers", "EulerDiscreteScheduler"], "unet": ["diffusers", "UNet2DConditionModel"]}
    index |= {"vae": ["diffusers", "AutoencoderKL"]}
    if sdxl:
        index["force_zeros_for_empty_prompt"] = True
    else:
        index |= {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
    _write(folder / "model_index.json", index)


def write_clip_tokenizer(place: Path, *, pad: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    write_vocabulary(place)
    specials = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    _write(place / "tokenizer_config.json", {
        "tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, "pad_token": pad, **specials,
    })  # fmt: skip
    _write(place / "special_tokens_map.json", {"pad_token": pad, **specials})


def _write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
