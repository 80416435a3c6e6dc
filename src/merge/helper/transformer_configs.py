"""Flux's and SD3's configs for a directory made of a single file: what the shapes say, and constants of the published models, which no file holds.
Values of a folder that was given stand above the constants and below the shapes."""

from __future__ import annotations

import math
from typing import Any

from refusal import Refusal

Shapes = dict[str, tuple[int, ...]]
"""Names and shapes of one component, in diffusers' names."""
Config = dict[str, Any]

CLASSES = {"Flux": "FluxTransformer2DModel", "SD3": "SD3Transformer2DModel"}
PIPELINES = {"Flux": "FluxPipeline", "SD3": "StableDiffusion3Pipeline"}
ENCODERS = {
    "Flux": {"text_encoder": "CLIPTextModel", "text_encoder_2": "T5EncoderModel"},
    "SD3": {"text_encoder": "CLIPTextModelWithProjection", "text_encoder_2": "CLIPTextModelWithProjection", "text_encoder_3": "T5EncoderModel"},
}
TOKENIZERS = {"CLIPTextModel": "CLIPTokenizer", "CLIPTextModelWithProjection": "CLIPTokenizer", "T5EncoderModel": "T5TokenizerFast"}
# The scale of the 16 latent channels, as each family's VAE was trained.
LATENTS = {"Flux": {"scaling_factor": 0.3611, "shift_factor": 0.1159}, "SD3": {"scaling_factor": 1.5305, "shift_factor": 0.0609}}


def transformer_config(kind: str, shapes: Shapes, given: Config) -> Config:
    facts = flux_facts(shapes, given) if kind == "Flux" else sd3_facts(shapes, given)
    return {"_class_name": CLASSES[kind], "_diffusers_version": "0.30.0", **given, **facts}


def flux_facts(shapes: Shapes, given: Config) -> Config:
    width, channels = shapes["x_embedder.weight"]
    head = shapes["transformer_blocks.0.attn.norm_q.weight"][0]
    axes = {128: [16, 56, 56]}.get(head, given.get("axes_dims_rope"))
    if not isinstance(axes, list) or sum(axes) != head:
        raise unknown(f"its heads are {head} wide, and how their positions are turned is known for 128 alone", "axes_dims_rope")
    out = shapes["proj_out.weight"][0]
    return {
        "patch_size": 1, "in_channels": channels, "out_channels": None if out == channels else out,
        "num_layers": blocks(shapes, "transformer_blocks."), "num_single_layers": blocks(shapes, "single_transformer_blocks."),
        "attention_head_dim": head, "num_attention_heads": heads(width, head), "joint_attention_dim": shapes["context_embedder.weight"][1],
        "pooled_projection_dim": shapes["time_text_embed.text_embedder.linear_1.weight"][1],
        "guidance_embeds": "time_text_embed.guidance_embedder.linear_1.weight" in shapes, "axes_dims_rope": axes,
    }  # fmt: skip


def sd3_facts(shapes: Shapes, given: Config) -> Config:
    width, channels, patch = shapes["pos_embed.proj.weight"][:3]
    norm = shapes.get("transformer_blocks.0.attn.norm_q.weight")
    head = norm[0] if norm else given.get("attention_head_dim", 64)
    positions = math.isqrt(shapes["pos_embed.pos_embed"][1])
    dual = sorted({int(name.split(".")[1]) for name in shapes if name.startswith("transformer_blocks.") and ".attn2." in name})
    return {
        "sample_size": given.get("sample_size", min(128, positions * patch)), "patch_size": patch, "in_channels": channels,
        "out_channels": shapes["proj_out.weight"][0] // patch**2, "num_layers": blocks(shapes, "transformer_blocks."),
        "attention_head_dim": head, "num_attention_heads": heads(width, head), "joint_attention_dim": shapes["context_embedder.weight"][1],
        "caption_projection_dim": shapes["context_embedder.weight"][0], "pos_embed_max_size": positions,
        "pooled_projection_dim": shapes["time_text_embed.text_embedder.linear_1.weight"][1], "dual_attention_layers": dual,
        "qk_norm": "rms_norm" if norm else None,
    }  # fmt: skip


def blocks(shapes: Shapes, prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)})


def heads(width: int, head: Any) -> int:
    if not isinstance(head, int) or head < 1 or width % head:
        raise unknown(f"its width {width} is no multiple of its heads' {head}", "attention_head_dim")
    return width // head


def unknown(reason: str, key: str, component: str = "transformer") -> Refusal:
    hint = f"Give a folder with a model_index.json and a {component}/config.json that has {key} (configDir, or beside the file with its name)."
    return Refusal(f"the config of {component} cannot be known: {reason}", hint=hint, code="merge.no-match")


def vae_config(kind: str, shapes: Shapes) -> Config:
    levels = blocks(shapes, "encoder.down_blocks.")
    layers = len({name.split(".")[4] for name in shapes if name.startswith("encoder.down_blocks.0.resnets.")})
    latent = shapes["decoder.conv_in.weight"][1]
    return {
        "_class_name": "AutoencoderKL", "in_channels": shapes["encoder.conv_in.weight"][1], "out_channels": shapes["decoder.conv_out.weight"][0],
        "latent_channels": latent, "layers_per_block": layers, "norm_num_groups": 32, "sample_size": 1024, "force_upcast": True,
        "block_out_channels": [shapes[f"encoder.down_blocks.{level}.resnets.0.conv1.weight"][0] for level in range(levels)],
        "down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels,
        "use_quant_conv": "quant_conv.weight" in shapes, "use_post_quant_conv": "post_quant_conv.weight" in shapes, **LATENTS[kind],
    }  # fmt: skip


def encoder_config(component: str, name: str, shapes: Shapes) -> Config:
    """`name` is the class."""
    if name == "T5EncoderModel":
        return {"architectures": [name], **t5_facts(shapes)}
    tokens, width = shapes["text_model.embeddings.token_embedding.weight"]
    if width % 64:
        raise unknown(f"its width {width} is no multiple of 64", "num_attention_heads", component)
    return {
        "architectures": [name], "model_type": "clip_text_model", "vocab_size": tokens, "hidden_size": width, "num_attention_heads": width // 64,
        "intermediate_size": shapes["text_model.encoder.layers.0.mlp.fc1.weight"][0], "num_hidden_layers": blocks(shapes, "text_model.encoder.layers."),
        "max_position_embeddings": shapes["text_model.embeddings.position_embedding.weight"][0],
        "projection_dim": shapes.get("text_projection.weight", (width,))[0], "hidden_act": "quick_gelu" if component == "text_encoder" else "gelu",
        "layer_norm_eps": 1e-05, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 1,
    }  # fmt: skip


def t5_facts(shapes: Shapes) -> Config:
    tokens, width = shapes["shared.weight"]
    first = "encoder.block.0.layer.0.SelfAttention"
    buckets, count = shapes[f"{first}.relative_attention_bias.weight"]
    layers = blocks(shapes, "encoder.block.")
    return {
        "model_type": "t5", "vocab_size": tokens, "d_model": width, "d_kv": shapes[f"{first}.q.weight"][0] // count, "num_heads": count,
        "d_ff": shapes["encoder.block.0.layer.1.DenseReluDense.wi_0.weight"][0], "num_layers": layers, "num_decoder_layers": layers,
        "relative_attention_num_buckets": buckets, "relative_attention_max_distance": 128, "feed_forward_proj": "gated-gelu",
        "dense_act_fn": "gelu_new", "is_gated_act": True, "is_encoder_decoder": True, "layer_norm_epsilon": 1e-06, "dropout_rate": 0.1,
        "tie_word_embeddings": False, "decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0,
    }  # fmt: skip


def scheduler_config(kind: str, transformer: Config) -> Config:
    """schnell, which has no guidance, was made for four steps without a shift."""
    common = {"_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": "0.30.0", "num_train_timesteps": 1000}
    if kind == "SD3":
        return {**common, "shift": 3.0}
    dynamic = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}
    guided = transformer["guidance_embeds"]
    return {**common, **dynamic, "shift": 3.0 if guided else 1.0, "use_dynamic_shifting": guided}
