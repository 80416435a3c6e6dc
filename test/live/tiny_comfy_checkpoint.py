"""Makes a tiny random-weight checkpoint (303 MB) that a stock ComfyUI loads as Stable Diffusion 1.5 and runs on a CPU.

    COMFYUI_PYTHON tiny_comfy_checkpoint.py OUT.safetensors [SEED]

ComfyUI reads the UNet's levels, blocks and depths off its keys, so one level is enough, as long as it is 320 channels wide with a
context of 768. The text encoder's size is fixed: most of the file is CLIP-L. The autoencoder is a TAESD. Nothing is downloaded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

Shape = tuple[int, ...]
Named = Iterator[tuple[str, Shape]]

CHANNELS = 320
CONTEXT = 768
EMBEDDING = CHANNELS * 4
VOCABULARY = 49408


def linear(name: str, out: int, into: int, bias: bool = True) -> Named:
    yield f"{name}.weight", (out, into)
    if bias:
        yield f"{name}.bias", (out,)


def conv(name: str, out: int, into: int, size: int = 3, bias: bool = True) -> Named:
    yield f"{name}.weight", (out, into, size, size)
    if bias:
        yield f"{name}.bias", (out,)


def norm(name: str, width: int) -> Named:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def residual(name: str, into: int) -> Named:
    yield from norm(f"{name}.in_layers.0", into)
    yield from conv(f"{name}.in_layers.2", CHANNELS, into)
    yield from linear(f"{name}.emb_layers.1", CHANNELS, EMBEDDING)
    yield from norm(f"{name}.out_layers.0", CHANNELS)
    yield from conv(f"{name}.out_layers.3", CHANNELS, CHANNELS)
    if into != CHANNELS:
        yield from conv(f"{name}.skip_connection", CHANNELS, into, 1)


def transformer(name: str) -> Named:
    yield from norm(f"{name}.norm", CHANNELS)
    yield from conv(f"{name}.proj_in", CHANNELS, CHANNELS, 1)
    block = f"{name}.transformer_blocks.0"
    for attention, context in (("attn1", CHANNELS), ("attn2", CONTEXT)):
        yield from linear(f"{block}.{attention}.to_q", CHANNELS, CHANNELS, bias=False)
        yield from linear(f"{block}.{attention}.to_k", CHANNELS, context, bias=False)
        yield from linear(f"{block}.{attention}.to_v", CHANNELS, context, bias=False)
        yield from linear(f"{block}.{attention}.to_out.0", CHANNELS, CHANNELS)
    yield from linear(f"{block}.ff.net.0.proj", CHANNELS * 8, CHANNELS)
    yield from linear(f"{block}.ff.net.2", CHANNELS, CHANNELS * 4)
    for index in (1, 2, 3):
        yield from norm(f"{block}.norm{index}", CHANNELS)
    yield from conv(f"{name}.proj_out", CHANNELS, CHANNELS, 1)


def unet() -> Named:
    root = "model.diffusion_model"
    yield from linear(f"{root}.time_embed.0", EMBEDDING, CHANNELS)
    yield from linear(f"{root}.time_embed.2", EMBEDDING, EMBEDDING)
    yield from conv(f"{root}.input_blocks.0.0", CHANNELS, 4)
    yield from residual(f"{root}.input_blocks.1.0", CHANNELS)
    yield from transformer(f"{root}.input_blocks.1.1")
    yield from residual(f"{root}.middle_block.0", CHANNELS)
    yield from transformer(f"{root}.middle_block.1")
    yield from residual(f"{root}.middle_block.2", CHANNELS)
    for index in (0, 1):
        yield from residual(f"{root}.output_blocks.{index}.0", CHANNELS * 2)
        yield from transformer(f"{root}.output_blocks.{index}.1")
    yield from norm(f"{root}.out.0", CHANNELS)
    yield from conv(f"{root}.out.2", 4, CHANNELS)


def text_encoder() -> Named:
    root = "cond_stage_model.transformer.text_model"
    yield f"{root}.embeddings.token_embedding.weight", (VOCABULARY, CONTEXT)
    yield f"{root}.embeddings.position_embedding.weight", (77, CONTEXT)
    for index in range(12):
        layer = f"{root}.encoder.layers.{index}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from linear(f"{layer}.self_attn.{part}", CONTEXT, CONTEXT)
        yield from norm(f"{layer}.layer_norm1", CONTEXT)
        yield from norm(f"{layer}.layer_norm2", CONTEXT)
        yield from linear(f"{layer}.mlp.fc1", CONTEXT * 4, CONTEXT)
        yield from linear(f"{layer}.mlp.fc2", CONTEXT, CONTEXT * 4)
    yield from norm(f"{root}.final_layer_norm", CONTEXT)


def autoencoder() -> Named:
    """Layers without weights (activations, upsampling) leave gaps in the numbers."""
    encoder, decoder = "first_stage_model.taesd_encoder", "first_stage_model.taesd_decoder"
    yield from conv(f"{encoder}.0", 64, 3)
    yield from conv(f"{encoder}.14", 4, 64)
    yield from conv(f"{decoder}.1", 64, 4)
    yield from conv(f"{decoder}.19", 3, 64)
    for root, strides, blocks in (
        (encoder, (2, 6, 10), (1, 3, 4, 5, 7, 8, 9, 11, 12, 13)),
        (decoder, (7, 12, 17), (3, 4, 5, 8, 9, 10, 13, 14, 15, 18)),
    ):
        for index in strides:
            yield from conv(f"{root}.{index}", 64, 64, bias=False)
        for index in blocks:
            for layer in (0, 2, 4):
                yield from conv(f"{root}.{index}.conv.{layer}", 64, 64)
    yield "first_stage_model.vae_scale", ()
    yield "first_stage_model.vae_shift", ()


def fill(name: str, shape: Shape) -> torch.Tensor:
    if name.endswith("vae_scale"):
        return torch.tensor(1.0)
    if name == "first_stage_model.taesd_decoder.19.bias":
        return torch.full(shape, 0.5)  # grey on average: a black picture would count as broken
    if len(shape) < 2:
        return torch.ones(shape) if ".norm" in name or "_norm" in name or ".0.weight" in name else torch.zeros(shape)
    width = shape[1] * (shape[2] * shape[3] if len(shape) == 4 else 1)
    return torch.randn(shape) / width**0.5


def main(out: Path, seed: int) -> None:
    torch.manual_seed(seed)
    layers = [*unet(), *text_encoder(), *autoencoder()]
    weights = {name: fill(name, shape).to(torch.float16).contiguous() for name, shape in layers}
    out.parent.mkdir(parents=True, exist_ok=True)
    # Renamed when it is whole: a scan of the folder shall not find half a model.
    part = out.with_suffix(".part")
    save_file(weights, str(part))
    part.rename(out)
    print(f"{out} {out.stat().st_size} bytes, UNet of {sum(weights[name].numel() for name, _ in unet()) / 1e6:.1f} M parameters")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) == 3 else 1)
