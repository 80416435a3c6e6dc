"""Shapes and configs of the tiny models: what each tensor of a diffusers directory is called and how large it is.

Written out by hand (no torch, no diffusers), because importing those costs seconds and tiny_model.py must be quick.
The tests load the result with the real libraries, which is what keeps these tables honest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Shapes = dict[str, tuple[int, ...]]

VAE_CHANNELS = (8, 8, 16, 16)  # four levels, so an image is eight times its latent, as in the real models
VAE_LAYERS = 1
NORM_GROUPS = 8
TEXT_LAYERS = 3


@dataclass(frozen=True)
class TextEncoder:
    """One CLIP text encoder: its folder, width, and whether it ends in a projection."""

    folder: str
    width: int
    projected: bool
    activation: str


@dataclass(frozen=True)
class Layout:
    """Everything that distinguishes the tiny SDXL from the tiny SD 1.5."""

    kind: str
    channels: tuple[int, ...]
    attention: tuple[bool, ...]  # which down blocks have cross attention
    heads: tuple[int, ...]
    depth: tuple[int, ...]
    linear_projection: bool
    encoders: tuple[TextEncoder, ...]
    time_ids_width: int = 0  # SDXL only: width of one embedded size or crop number
    layers_per_block: int = 2
    vae_scaling: float = 0.18215
    sample_size: int = 8
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def cross_width(self) -> int:
        return sum(encoder.width for encoder in self.encoders)

    @property
    def added_width(self) -> int:
        return 6 * self.time_ids_width + self.encoders[-1].width if self.time_ids_width else 0


LAYOUTS = {
    # The two encoders differ in width on purpose: diffusers tells them apart by it when it reads a single file.
    "sdxl": Layout(
        kind="sdxl",
        channels=(16, 32, 32),
        attention=(False, True, True),
        heads=(2, 4, 4),
        depth=(1, 1, 2),
        linear_projection=True,
        encoders=(
            TextEncoder("text_encoder", 32, False, "quick_gelu"),
            TextEncoder("text_encoder_2", 48, True, "gelu"),
        ),
        time_ids_width=8,
        vae_scaling=0.13025,
    ),
    "sd15": Layout(
        kind="sd15",
        channels=(16, 32, 32, 32),
        attention=(True, True, True, False),
        heads=(4, 4, 4, 4),
        depth=(1, 1, 1, 1),
        linear_projection=False,
        encoders=(TextEncoder("text_encoder", 32, False, "quick_gelu"),),
    ),
}


def _affine(shapes: Shapes, name: str, *weight: int, bias: bool = True) -> None:
    shapes[f"{name}.weight"] = weight
    if bias:
        shapes[f"{name}.bias"] = (weight[0],)


def _resnet(shapes: Shapes, name: str, inside: int, out: int, time_width: int) -> None:
    _affine(shapes, f"{name}.norm1", inside)
    _affine(shapes, f"{name}.conv1", out, inside, 3, 3)
    if time_width:
        _affine(shapes, f"{name}.time_emb_proj", out, time_width)
    _affine(shapes, f"{name}.norm2", out)
    _affine(shapes, f"{name}.conv2", out, out, 3, 3)
    if inside != out:
        _affine(shapes, f"{name}.conv_shortcut", out, inside, 1, 1)


def _attention(shapes: Shapes, name: str, width: int, depth: int, cross: int, linear: bool) -> None:
    projection = (width, width) if linear else (width, width, 1, 1)
    _affine(shapes, f"{name}.norm", width)
    _affine(shapes, f"{name}.proj_in", *projection)
    for index in range(depth):
        block = f"{name}.transformer_blocks.{index}"
        for norm in ("norm1", "norm2", "norm3"):
            _affine(shapes, f"{block}.{norm}", width)
        for attention, source in (("attn1", width), ("attn2", cross)):
            _affine(shapes, f"{block}.{attention}.to_q", width, width, bias=False)
            _affine(shapes, f"{block}.{attention}.to_k", width, source, bias=False)
            _affine(shapes, f"{block}.{attention}.to_v", width, source, bias=False)
            _affine(shapes, f"{block}.{attention}.to_out.0", width, width)
        _affine(shapes, f"{block}.ff.net.0.proj", width * 8, width)
        _affine(shapes, f"{block}.ff.net.2", width, width * 4)
    _affine(shapes, f"{name}.proj_out", *projection)


def unet_shapes(layout: Layout) -> Shapes:
    """Name and shape of each UNet tensor."""
    shapes: Shapes = {}
    channels, layers, last = layout.channels, layout.layers_per_block, len(layout.channels) - 1
    time_width = channels[0] * 4

    def attend(name: str, block: int) -> None:
        _attention(shapes, name, channels[block], layout.depth[block], layout.cross_width, layout.linear_projection)

    _affine(shapes, "conv_in", channels[0], 4, 3, 3)
    _affine(shapes, "time_embedding.linear_1", time_width, channels[0])
    _affine(shapes, "time_embedding.linear_2", time_width, time_width)
    if layout.added_width:
        _affine(shapes, "add_embedding.linear_1", time_width, layout.added_width)
        _affine(shapes, "add_embedding.linear_2", time_width, time_width)
    for block, out in enumerate(channels):
        name = f"down_blocks.{block}"
        for layer in range(layers):
            inside = out if layer else channels[max(block - 1, 0)]
            _resnet(shapes, f"{name}.resnets.{layer}", inside, out, time_width)
            if layout.attention[block]:
                attend(f"{name}.attentions.{layer}", block)
        if block < last:
            _affine(shapes, f"{name}.downsamplers.0.conv", out, out, 3, 3)
    _resnet(shapes, "mid_block.resnets.0", channels[last], channels[last], time_width)
    attend("mid_block.attentions.0", last)
    _resnet(shapes, "mid_block.resnets.1", channels[last], channels[last], time_width)
    previous = channels[last]
    for up, block in enumerate(range(last, -1, -1)):
        name, out = f"up_blocks.{up}", channels[block]
        for layer in range(layers + 1):
            skip = channels[max(block - 1, 0)] if layer == layers else out
            _resnet(shapes, f"{name}.resnets.{layer}", (out if layer else previous) + skip, out, time_width)
            if layout.attention[block]:
                attend(f"{name}.attentions.{layer}", block)
        if block:
            _affine(shapes, f"{name}.upsamplers.0.conv", out, out, 3, 3)
        previous = out
    _affine(shapes, "conv_norm_out", channels[0])
    _affine(shapes, "conv_out", 4, channels[0], 3, 3)
    return shapes


def vae_shapes() -> Shapes:
    """Name and shape of each VAE tensor (the same for both kinds)."""
    shapes: Shapes = {}
    last = len(VAE_CHANNELS) - 1

    def middle(side: str) -> None:
        width = VAE_CHANNELS[last]
        for index in (0, 1):
            _resnet(shapes, f"{side}.mid_block.resnets.{index}", width, width, 0)
        _affine(shapes, f"{side}.mid_block.attentions.0.group_norm", width)
        for part in ("to_q", "to_k", "to_v", "to_out.0"):
            _affine(shapes, f"{side}.mid_block.attentions.0.{part}", width, width)

    _affine(shapes, "encoder.conv_in", VAE_CHANNELS[0], 3, 3, 3)
    for block, out in enumerate(VAE_CHANNELS):
        for layer in range(VAE_LAYERS):
            inside = out if layer else VAE_CHANNELS[max(block - 1, 0)]
            _resnet(shapes, f"encoder.down_blocks.{block}.resnets.{layer}", inside, out, 0)
        if block < last:
            _affine(shapes, f"encoder.down_blocks.{block}.downsamplers.0.conv", out, out, 3, 3)
    middle("encoder")
    _affine(shapes, "encoder.conv_norm_out", VAE_CHANNELS[last])
    _affine(shapes, "encoder.conv_out", 8, VAE_CHANNELS[last], 3, 3)
    _affine(shapes, "quant_conv", 8, 8, 1, 1)
    _affine(shapes, "post_quant_conv", 4, 4, 1, 1)
    _affine(shapes, "decoder.conv_in", VAE_CHANNELS[last], 4, 3, 3)
    middle("decoder")
    previous = VAE_CHANNELS[last]
    for up, block in enumerate(range(last, -1, -1)):
        out = VAE_CHANNELS[block]
        for layer in range(VAE_LAYERS + 1):
            _resnet(shapes, f"decoder.up_blocks.{up}.resnets.{layer}", out if layer else previous, out, 0)
        if block:
            _affine(shapes, f"decoder.up_blocks.{up}.upsamplers.0.conv", out, out, 3, 3)
        previous = out
    _affine(shapes, "decoder.conv_norm_out", VAE_CHANNELS[0])
    _affine(shapes, "decoder.conv_out", 3, VAE_CHANNELS[0], 3, 3)
    return shapes


def text_shapes(encoder: TextEncoder, vocabulary_size: int) -> Shapes:
    """Name and shape of each tensor of one text encoder."""
    shapes: Shapes = {}
    width = encoder.width
    shapes["text_model.embeddings.token_embedding.weight"] = (vocabulary_size, width)
    shapes["text_model.embeddings.position_embedding.weight"] = (77, width)
    for index in range(TEXT_LAYERS):
        layer = f"text_model.encoder.layers.{index}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            _affine(shapes, f"{layer}.self_attn.{part}", width, width)
        _affine(shapes, f"{layer}.layer_norm1", width)
        _affine(shapes, f"{layer}.mlp.fc1", width * 2, width)
        _affine(shapes, f"{layer}.mlp.fc2", width, width * 2)
        _affine(shapes, f"{layer}.layer_norm2", width)
    _affine(shapes, "text_model.final_layer_norm", width)
    if encoder.projected:
        shapes["text_projection.weight"] = (width, width)
    return shapes


def unet_config(layout: Layout) -> dict[str, Any]:
    down = ["CrossAttnDownBlock2D" if on else "DownBlock2D" for on in layout.attention]
    up = ["CrossAttnUpBlock2D" if on else "UpBlock2D" for on in reversed(layout.attention)]
    config: dict[str, Any] = {
        "_class_name": "UNet2DConditionModel",
        "sample_size": layout.sample_size,
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": down,
        "up_block_types": up,
        "block_out_channels": list(layout.channels),
        "layers_per_block": layout.layers_per_block,
        "attention_head_dim": list(layout.heads),
        "cross_attention_dim": layout.cross_width,
        "transformer_layers_per_block": list(layout.depth),
        "use_linear_projection": layout.linear_projection,
        "norm_num_groups": NORM_GROUPS,
    }
    if layout.added_width:
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": layout.time_ids_width,
            "projection_class_embeddings_input_dim": layout.added_width,
        }
    return config


def vae_config(layout: Layout) -> dict[str, Any]:
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "block_out_channels": list(VAE_CHANNELS),
        "down_block_types": ["DownEncoderBlock2D"] * len(VAE_CHANNELS),
        "up_block_types": ["UpDecoderBlock2D"] * len(VAE_CHANNELS),
        "layers_per_block": VAE_LAYERS,
        "norm_num_groups": NORM_GROUPS,
        "sample_size": layout.sample_size * 8,
        "scaling_factor": layout.vae_scaling,
        "force_upcast": layout.kind == "sdxl",
    }


def text_config(encoder: TextEncoder, vocabulary_size: int) -> dict[str, Any]:
    name = "CLIPTextModelWithProjection" if encoder.projected else "CLIPTextModel"
    return {
        "architectures": [name],
        "model_type": "clip_text_model",
        "vocab_size": vocabulary_size,
        "hidden_size": encoder.width,
        "intermediate_size": encoder.width * 2,
        "num_hidden_layers": TEXT_LAYERS,
        "num_attention_heads": 4,
        "max_position_embeddings": 77,
        "projection_dim": encoder.width,
        "hidden_act": encoder.activation,
        "layer_norm_eps": 1e-05,
        "bos_token_id": vocabulary_size - 2,
        "eos_token_id": vocabulary_size - 1,
        "pad_token_id": vocabulary_size - 1,
    }
