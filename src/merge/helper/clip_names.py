"""Text encoder paths: OpenCLIP's names (SDXL's second one in a single file) → Hugging Face's, with the rows that belong to each."""

from __future__ import annotations

from collections.abc import Iterator

OPENCLIP = {
    "attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2", "ln_1": "layer_norm1", "ln_2": "layer_norm2",
}  # fmt: skip
MARKER = "transformer.resblocks."


def from_openclip(name: str, rows: int) -> Iterator[tuple[str, int, int, bool]]:
    """A tensor's full name → (Hugging Face's full name, first row, last row, transposed). q, k and v are stacked in one tensor."""
    if name == "positional_embedding":
        yield "text_model.embeddings.position_embedding.weight", 0, rows, False
    elif name == "token_embedding.weight":
        yield "text_model.embeddings.token_embedding.weight", 0, rows, False
    elif name == "text_projection":
        yield "text_projection.weight", 0, rows, True
    elif name == "text_projection.weight":
        yield name, 0, rows, False
    elif name.startswith("ln_final."):
        yield f"text_model.final_layer_norm.{name.removeprefix('ln_final.')}", 0, rows, False
    elif name.startswith(MARKER):
        number, _, rest = name.removeprefix(MARKER).partition(".")
        layer = f"text_model.encoder.layers.{number}"
        stem, _, leaf = rest.rpartition(".")
        if rest in ("attn.in_proj_weight", "attn.in_proj_bias") and rows % 3 == 0:
            for index, letter in enumerate("qkv"):
                yield f"{layer}.self_attn.{letter}_proj.{rest.removeprefix('attn.in_proj_')}", index * rows // 3, (index + 1) * rows // 3, False
        elif stem in OPENCLIP:
            yield f"{layer}.{OPENCLIP[stem]}.{leaf}", 0, rows, False


def clip_name(name: str) -> str:
    """Hugging Face's full name with its `text_model.`; some files lack it (old ones, and transformers from 5.6 on)."""
    return name if name.startswith(("text_model.", "text_projection")) else f"text_model.{name}"
