"""Which tensor of a checkpoint a LoRA's module means. No underscore is ever parsed: every weight of the checkpoint is listed under all the
names that trainers use for it (LDM and diffusers paths, with "." as "_"), and a module is looked up there.

A name is (part, path): part is unet, te1 or te2; path has underscores only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from safetensors_file import Tensor


@dataclass(frozen=True)
class Target:
    """Rows of a tensor; OpenCLIP keeps q, k and v stacked in one."""

    tensor: Tensor
    first: int
    last: int


Names = dict[tuple[str, str], Target]

UNET_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "")
# prefix → part; both CLIP (Hugging Face's names) and OpenCLIP occur at each place.
TEXT_PREFIXES = {
    "conditioner.embedders.0.transformer.": "te1",
    "conditioner.embedders.0.model.": "te1",
    "conditioner.embedders.1.transformer.": "te2",
    "conditioner.embedders.1.model.": "te2",
    "cond_stage_model.transformer.": "te1",
    "cond_stage_model.model.": "te1",
}
RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}
WHOLE = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
OPENCLIP = {"attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}


def block_prefixes() -> dict[str, str]:
    """LDM block → diffusers block, for the four levels of SD 1.5; SDXL's three are a part of them."""
    pairs: dict[str, str] = {"middle_block.0": "mid_block.resnets.0", "middle_block.1": "mid_block.attentions.0", "middle_block.2": "mid_block.resnets.1"}
    for level in range(4):
        for block in range(2):
            pairs[f"input_blocks.{3 * level + block + 1}.0"] = f"down_blocks.{level}.resnets.{block}"
            pairs[f"input_blocks.{3 * level + block + 1}.1"] = f"down_blocks.{level}.attentions.{block}"
        pairs[f"input_blocks.{3 * level + 3}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
        for block in range(3):
            pairs[f"output_blocks.{3 * level + block}.0"] = f"up_blocks.{level}.resnets.{block}"
            pairs[f"output_blocks.{3 * level + block}.1"] = f"up_blocks.{level}.attentions.{block}"
        # SD 1.5's first level has no attention, so its upsampler stands one place earlier.
        pairs[f"output_blocks.{3 * level + 2}.1.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
        pairs[f"output_blocks.{3 * level + 2}.2.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
    return pairs


BLOCKS = block_prefixes()
BLOCKS_BACK = {theirs: ours for ours, theirs in BLOCKS.items() if not ours.endswith(".1.conv")}
RESNET_BACK = {theirs: ours for ours, theirs in RESNET.items()}
WHOLE_BACK = {theirs: ours for ours, theirs in WHOLE.items()}


def to_diffusers(path: str) -> str | None:
    """An LDM UNet path (without prefix and `.weight`) in diffusers' names; None when it is none."""
    return translate(path, WHOLE, BLOCKS, RESNET)


def to_ldm(path: str) -> str | None:
    return translate(path, WHOLE_BACK, BLOCKS_BACK, RESNET_BACK)


def translate(path: str, whole: dict[str, str], blocks: dict[str, str], resnet: dict[str, str]) -> str | None:
    if path in whole:
        return whole[path]
    # The longest prefix wins: input_blocks.3.0.op before input_blocks.3.0.
    parts = path.split(".")
    for length in range(min(5, len(parts)), 1, -1):
        block = blocks.get(".".join(parts[:length]))
        if block is None:
            continue
        rest = ".".join(parts[length:])
        if ".resnets." in block or ".resnets." in ".".join(parts[:length]):
            if rest not in resnet:
                return None
            rest = resnet[rest]
        return f"{block}.{rest}" if rest else block
    return None


def list_names(tensors: dict[str, Tensor]) -> Names:
    """Every name under which a LoRA may mean a weight of this checkpoint."""
    names: Names = {}
    prefix = next((one for one in UNET_PREFIXES if any(is_unet(name, one) for name in tensors)), None)
    for name, tensor in tensors.items():
        if len(tensor.shape) not in (2, 4) or not (name.endswith((".weight", "in_proj_weight"))):
            continue
        found = list(text_names(name, tensor))
        if not found and prefix is not None and name.startswith(prefix):
            found = [(("unet", path), Target(tensor, 0, tensor.rows)) for path in unet_paths(name.removeprefix(prefix).removesuffix(".weight"))]
        names.update((key_of(part, path), target) for (part, path), target in found)
    return names


def key_of(part: str, path: str) -> tuple[str, str]:
    return part, path.replace(".", "_")


def is_unet(name: str, prefix: str) -> bool:
    return name.startswith((f"{prefix}input_blocks.", f"{prefix}down_blocks."))


def unet_paths(path: str) -> Iterator[str]:
    yield path
    other = to_diffusers(path) or to_ldm(path)
    if other:
        yield other


def text_names(name: str, tensor: Tensor) -> Iterator[tuple[tuple[str, str], Target]]:
    for prefix, part in TEXT_PREFIXES.items():
        if not name.startswith(prefix):
            continue
        path = name.removeprefix(prefix).removesuffix(".weight")
        clip = [(path.removeprefix("text_model."), Target(tensor, 0, tensor.rows))]
        for theirs, target in openclip_paths(path, tensor) if prefix.endswith(".model.") else clip:
            yield (part, f"text_model.{theirs}"), target
            yield (part, theirs), target


def openclip_paths(path: str, tensor: Tensor) -> Iterator[tuple[str, Target]]:
    """OpenCLIP's names in Hugging Face's; in_proj_weight is three targets."""
    marker = "transformer.resblocks."
    if not path.startswith(marker):
        return
    number, _, rest = path.removeprefix(marker).partition(".")
    if rest == "attn.in_proj_weight" and tensor.rows % 3 == 0:
        third = tensor.rows // 3
        for index, letter in enumerate("qkv"):
            yield f"encoder.layers.{number}.self_attn.{letter}_proj", Target(tensor, index * third, (index + 1) * third)
    elif rest in OPENCLIP:
        yield f"encoder.layers.{number}.{OPENCLIP[rest]}", Target(tensor, 0, tensor.rows)


def describe(tensors: dict[str, Tensor]) -> str:
    """The kind of checkpoint by its shapes: metadata is often absent or wrong."""
    for name, tensor in tensors.items():
        if name.endswith("attn2.to_k.weight") and len(tensor.shape) == 2:
            return {768: "SD 1.5", 1024: "SD 2", 2048: "SDXL", 1280: "SDXL refiner"}.get(tensor.shape[1], f"cross-attention width {tensor.shape[1]}")
    return "Flux" if any("double_blocks.0.img_attn" in name for name in tensors) else "unknown"
