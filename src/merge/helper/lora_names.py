"""A LoRA file's keys: which module and which factor each one is. kohya, PEFT, diffusers (old and new), LyCORIS, OneTrainer, ComfyUI."""

from __future__ import annotations

import re

# Ending → factor. The longest ending wins. Endings with a "_" are the old diffusers' attention processors (to_q_lora.down.weight).
ENDINGS = {
    ".lora_down.weight": "down", ".lora_A.weight": "down", ".lora_A.default.weight": "down", ".lora.down.weight": "down",
    ".lora_linear_layer.down.weight": "down", "_lora.down.weight": "down",
    ".lora_up.weight": "up", ".lora_B.weight": "up", ".lora_B.default.weight": "up", ".lora.up.weight": "up",
    ".lora_linear_layer.up.weight": "up", "_lora.up.weight": "up",
    ".lora_mid.weight": "mid", ".lora_B.bias": "up_bias", ".lora_up.bias": "up_bias", ".lora_B.default.bias": "up_bias",
    ".alpha": "alpha", ".lora.alpha": "alpha", "_lora.alpha": "alpha", ".lora_linear_layer.alpha": "alpha",
    ".dora_scale": "dora", ".lora_magnitude_vector": "magnitude", ".lora_magnitude_vector.weight": "magnitude",
    ".lora_magnitude_vector.default.weight": "magnitude", ".lora_magnitude_vector.default": "magnitude",
    **{f".hada_{one}": one for one in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")},
    **{f".lokr_{one}": f"kr_{one}" for one in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")},
    ".diff": "diff", ".diff_b": "diff_b", ".w_norm": "w_norm", ".b_norm": "b_norm", ".set_weight": "set_weight",
    ".oft_blocks": "oft_blocks", ".rescale": "rescale", ".on_input": "on_input",
    ".a1.weight": "a1", ".a2.weight": "a2", ".b1.weight": "b1", ".b2.weight": "b2", ".bm.weight": "bm",
    ".reshape_weight": "reshape_weight", ".oft_diag": "oft_diag",
    ".weight": "ia3",
}  # fmt: skip

# Beginning of a module's name → part of the model.
PARTS = {
    "lora_unet_": "unet", "lora_te1_": "te1", "lora_te2_": "te2", "lora_te3_": "te3", "lora_te_": "te1", "lycoris_": "unet", "lora_transformer_": "unet",
    "unet.": "unet", "transformer.": "unet", "text_encoder.": "te1", "text_encoder_2.": "te2", "text_encoder_3.": "te3",
    "model.diffusion_model.": "unet", "diffusion_model.": "unet",
    "text_encoders.clip_l.transformer.": "te1", "text_encoders.clip_g.transformer.": "te2", "text_encoders.t5xxl.transformer.": "te3",
}  # fmt: skip
PEFT_PREFIX = {"te1": "text_encoder", "te2": "text_encoder_2", "te3": "text_encoder_3"}
# Embedded textual inversions, and the projection that CLIP-L does not have in any SD checkpoint.
IGNORED = ("bundle_emb.", "lora_te1_text_projection.", "lora_te_text_projection.")


def split_name(name: str) -> tuple[str | None, str]:
    """(factor, module); factor None when the ending is unknown."""
    old = name.rfind("_lora.")
    parts = name.rsplit(".", 3)
    for ending in (name[old:] if old >= 0 else "", *("." + ".".join(parts[-count:]) for count in (3, 2, 1) if len(parts) > count)):
        if ending in ENDINGS:
            return ENDINGS[ending], name[: len(name) - len(ending)]
    return None, name


def module_path(name: str) -> tuple[str, str]:
    """(part, path with its dots). A name without a known beginning is taken as a path of the UNet, transformer or first text encoder."""
    name = name.removeprefix("base_model.model.")
    prefix = next((one for one in PARTS if name.startswith(one)), None)
    bare = "te1" if name.startswith(("text_model.", "encoder.layers.")) else "unet"  # PEFT alone saves an adapter without its model's name
    part, path = (bare, name) if prefix is None else (PARTS[prefix], name.removeprefix(prefix))
    # Old diffusers: the attention processor's own layers, `…attn1.processor.to_q` for `…attn1.to_q`.
    path = re.sub(r"\.processor\.(to_[qkv]|to_out|add_[qkv]_proj|to_add_out)$", r".\1", path)
    path = re.sub(r"\.(attn\d?)\.to_out$", r".\1.to_out.0", path)
    path = re.sub(r"\.self_attn\.to_([qkv])$", r".self_attn.\1_proj", path)
    return part, re.sub(r"\.self_attn\.to_out$", r".self_attn.out_proj", path)
