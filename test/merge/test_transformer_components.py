"""The other components of a Flux or SD3 directory: from the single file that holds them, or from a folder beside it; beside diffusers' own loading of the
single file, opened without a network."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch
from helper_run import ENGINE, merge, refusal, run_helper
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers", reason="diffusers is not installed")

from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, StableDiffusion3Pipeline
from transformer_files import Tensors, flux_file, random, reference, sd3_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

sys.path.append(str(ENGINE))
from ldm_layout import vae_name
from tiny_model import write_tokenizer

RANK, CLIP_SIZE = 3, 49408


def vae(**more: float) -> Any:
    down, up = ["DownEncoderBlock2D"] * 2, ["UpDecoderBlock2D"] * 2
    return AutoencoderKL(
        block_out_channels=(32, 64), down_block_types=down, up_block_types=up, layers_per_block=2, latent_channels=16, use_quant_conv=False,
        use_post_quant_conv=False, **more,
    )  # fmt: skip


def clip(cls: Any, width: int, tokens: int, act: str) -> Any:
    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "projection_dim": width, "num_attention_heads": width // 64, "num_hidden_layers": 2}
    return cls(CLIPTextConfig(vocab_size=tokens, hidden_act=act, bos_token_id=tokens - 2, eos_token_id=tokens - 1, **sizes))


def t5(width: int) -> Any:
    sizes = {"d_model": width, "d_ff": 2 * width, "d_kv": 64, "num_heads": 2, "num_layers": 2, "vocab_size": 300}
    return T5EncoderModel(T5Config(feed_forward_proj="gated-gelu", **sizes)).eval()


def clip_names(model: Any) -> Tensors:
    """As published files have them, whatever this version of transformers has in memory."""
    tensors = {name: value for name, value in model.state_dict().items() if not name.endswith("position_ids")}
    return {name if name.startswith("text_") else f"text_model.{name}": value.half() for name, value in tensors.items()}


def ldm_vae(model: Any) -> Tensors:
    tensors = {vae_name(name, 2): value.half() for name, value in model.state_dict().items()}
    return {name: value[:, :, None, None] if ".mid.attn_1." in name and value.ndim == 2 else value for name, value in tensors.items()}


def lora_for(keys: dict[str, tuple[int, int]]) -> Tensors:
    down, up = {".": ("lora_A", "lora_B"), "_": ("lora_down", "lora_up")}, {}
    for key, (rows, columns) in keys.items():
        first, second = down["." if "." in key else "_"]
        up |= {f"{key}.{first}.weight": random(RANK, columns), f"{key}.{second}.weight": random(rows, RANK)}
    return up


def draw(pipe: Any, size: int) -> np.ndarray:
    pipe.set_progress_bar_config(disable=True)
    more = {"num_inference_steps": 2, "height": size, "width": size, "output_type": "np", "max_sequence_length": 16}
    return pipe("a red fox", generator=torch.Generator().manual_seed(3), **more).images[0]


class Components(unittest.TestCase):
    def setUp(self) -> None:
        torch.manual_seed(8)
        torch.set_num_threads(1)
        temporary = tempfile.TemporaryDirectory(prefix="fettle-components-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.out = self.folder / "out"

    def save(self, name: str, tensors: Tensors) -> str:
        save_file({key: value.contiguous() for key, value in tensors.items()}, self.folder / f"{name}.safetensors")
        return str(self.folder / f"{name}.safetensors")

    def flux(self) -> tuple[str, Any]:
        """(a file that holds the transformer alone, the whole pipeline, which lies beside it in a folder of its name)."""
        single = flux_file(blocks=1, joint=128, pooled=64)
        tokens = write_tokenizer(self.folder / "tokens", "<|endoftext|>")
        words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{word}", -2.0) for word in ("a", "red", "fox"))]
        pipe = FluxPipeline(
            FlowMatchEulerDiscreteScheduler(shift=2.0), vae(scaling_factor=0.5, shift_factor=0.1).half(), clip(CLIPTextModel, 64, tokens, "quick_gelu").half(),
            CLIPTokenizer.from_pretrained(self.folder / "tokens"), t5(128).half(), T5Tokenizer(vocab=words, extra_ids=0), reference("Flux", single).half(),
        )  # fmt: skip
        pipe.save_pretrained(self.folder / "flux")
        return self.save("flux", single), pipe.to(torch.float32)

    def open_flux(self) -> Any:
        return FluxPipeline.from_pretrained(self.out, local_files_only=True, dtype=torch.float32)

    def test_a_folder_completes_a_file_that_holds_the_transformer_alone(self) -> None:
        base, pipe = self.flux()
        wanted = draw(pipe, 32)
        request = {"base": base, "out": str(self.out), "format": "diffusers", "verify": True}
        moved = self.folder / "elsewhere"
        for place in ({}, {"configDir": str(moved)}):
            with self.subTest(place=place):
                if place:
                    (self.folder / "flux").rename(moved)
                shutil.rmtree(self.out, ignore_errors=True)
                lines = run_helper({**request, **place})
                self.assertEqual((lines[0]["leftOut"], lines[-1]["type"]), ([], "done"))
                got = draw(self.open_flux(), 32)
                self.assertGreater(got.std(), 0.01)
                np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)
                self.assertTrue(merge({**request, **place}).get("upToDate"))
        # Another weight in the folder makes another output.
        weights = next((moved / "vae").glob("*.safetensors"))
        tensors = load_file(weights)
        tensors["decoder.conv_out.bias"] += 1
        save_file(tensors, weights)
        self.assertFalse(merge({**request, **place}).get("upToDate"))
        # The output itself may have the file's name, and is no source.
        own = {**request, "out": str(self.folder / "flux")}
        self.assertIn("vae", [one.split(":")[0] for one in run_helper(own)[0]["leftOut"]])
        self.assertIn("vae", [one.split(":")[0] for one in run_helper({**own, "force": True})[0]["leftOut"]])

    def test_loras_reach_the_text_encoders_of_the_folder(self) -> None:
        base, pipe = self.flux()
        keys = {
            "text_encoder.text_model.encoder.layers.0.self_attn.q_proj": (64, 64), "lora_te1_text_model_encoder_layers_1_mlp_fc1": (128, 64),
            "text_encoder_2.encoder.block.1.layer.0.SelfAttention.o": (128, 128), "lora_unet_single_blocks_0_linear2": (128, 640),
        }  # fmt: skip
        lora = lora_for(keys)
        request = {"base": base, "out": str(self.out), "format": "diffusers", "dtype": "fp32", "loras": [{"path": self.save("lora", lora)}]}
        merge({**request, "verify": True})
        merged = self.open_flux()

        def weights(pipe: Any) -> Tensors:
            found = {f"te1.{name}": value for name, value in clip_names(pipe.text_encoder.float()).items()}
            found |= {f"te2.{name}": value for name, value in pipe.text_encoder_2.float().state_dict().items()}
            return found | {f"unet.{name}": value for name, value in pipe.transformer.state_dict().items()}

        places = [
            "te1.text_model.encoder.layers.0.self_attn.q_proj", "te1.text_model.encoder.layers.1.mlp.fc1",
            "te2.encoder.block.1.layer.0.SelfAttention.o", "unet.single_transformer_blocks.0.proj_out",
        ]  # fmt: skip
        before, after = weights(pipe), weights(merged)
        self.assertEqual({name for name in after if not torch.equal(after[name], before[name])}, {f"{one}.weight" for one in places})
        for place, key in zip(places, keys, strict=True):
            down, up = (lora[f"{key}.{one}.weight"].float() for one in (("lora_A", "lora_B") if "." in key else ("lora_down", "lora_up")))
            torch.testing.assert_close(after[f"{place}.weight"].float(), before[f"{place}.weight"].float() + up @ down, rtol=1e-3, atol=1e-5)
        # Another VAE takes the place of the folder's.
        other = vae()
        merge({**request, "vae": self.save("other-vae", {name: value.half() for name, value in other.state_dict().items()}), "out": str(self.folder / "vae")})
        for name, value in load_file(next((self.folder / "vae/vae").glob("*.safetensors"))).items():
            self.assertTrue(torch.equal(value, other.state_dict()[name].half().float()), name)
        # Without the folder these modules have no place, which is an error.
        shutil.rmtree(self.folder / "flux")
        self.assertIn("match nothing", refusal({**request, "out": str(self.folder / "other")})["reason"])

    def test_a_flux_file_that_holds_everything(self) -> None:
        tokens = write_tokenizer(self.folder / "tokens", "<|endoftext|>")
        parts = {"vae": vae(), "text_encoder": clip(CLIPTextModel, 64, tokens, "quick_gelu"), "text_encoder_2": t5(128)}
        tensors = {f"model.diffusion_model.{name}": value for name, value in flux_file(blocks=1, joint=128, pooled=64).items()}
        tensors |= {f"vae.{name}": value for name, value in ldm_vae(parts["vae"]).items()}
        tensors |= {f"text_encoders.clip_l.transformer.{name}": value for name, value in clip_names(parts["text_encoder"]).items()}
        tensors |= {
            f"text_encoders.t5xxl.transformer.{name}": value.half() for name, value in parts["text_encoder_2"].state_dict().items() if "embed_" not in name
        }
        plan = run_helper({"base": self.save("all", tensors), "out": str(self.out), "format": "diffusers", "verify": True})[0]
        # The vocabulary that is brought along is not this tiny model's.
        self.assertEqual({one.split(":")[0] for one in plan["leftOut"]}, {"tokenizer", "tokenizer_2"})
        for name, cls in (("vae", AutoencoderKL), ("text_encoder", CLIPTextModel), ("text_encoder_2", T5EncoderModel)):
            got = cls.from_pretrained(self.out, subfolder=name, local_files_only=True, dtype=torch.float16).state_dict()
            wanted = parts[name].half().state_dict()
            self.assertEqual(set(got), set(wanted))
            self.assertEqual([key for key, value in got.items() if not torch.equal(value, wanted[key])], [])
        config = json.loads((self.out / "vae/config.json").read_text())
        self.assertEqual((config["scaling_factor"], config["shift_factor"], config["block_out_channels"]), (0.3611, 0.1159, [32, 64]))

    def sd3(self) -> Tensors:
        prefix = "text_encoders"
        tensors = {f"model.diffusion_model.{name}": value for name, value in sd3_file(norms=True, dual=(0,), joint=192, pooled=192).items()}
        tensors |= {f"first_stage_model.{name}": value for name, value in ldm_vae(vae()).items()}
        for part, width, act in (("clip_l", 64, "quick_gelu"), ("clip_g", 128, "gelu")):
            names = clip_names(clip(CLIPTextModelWithProjection, width, CLIP_SIZE, act))
            if part == "clip_l":
                del names["text_projection.weight"]  # the published file has none
            tensors |= {f"{prefix}.{part}.transformer.{name}": value for name, value in names.items()}
        encoder = {name: value.half() for name, value in t5(192).state_dict().items() if name != "encoder.embed_tokens.weight"}
        return tensors | {f"{prefix}.t5xxl.transformer.{name}": value for name, value in encoder.items()} | {f"{prefix}.clip_l.logit_scale": random(1)}

    @staticmethod
    def open_single(path: str, **more: Any) -> Any:
        pipe = StableDiffusion3Pipeline.from_single_file(path, **more)
        # diffusers 0.42 with transformers 5 leaves T5's second name of the same embeddings without values, and its dropout on.
        pipe.text_encoder_3.eval()
        pipe.text_encoder_3.set_input_embeddings(pipe.text_encoder_3.shared)
        return pipe

    def assert_same_weights(self, got: Any, wanted: Any, *, atol: float) -> None:
        for part in ("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"):
            one, other = (getattr(pipe, part).state_dict() for pipe in (got, wanted))
            self.assertEqual(set(one), set(other), part)
            for name, value in one.items():
                torch.testing.assert_close(value, other[name], rtol=atol and 2**-10, atol=atol, msg=lambda text, at=(part, name): f"{at}: {text}")

    def test_a_file_with_clips_opens_as_diffusers_opens_the_file_itself(self) -> None:
        base = self.save("sd3", self.sd3())
        request = {"base": base, "out": str(self.out), "format": "diffusers", "verify": True}
        plan = run_helper(request)[0]
        self.assertEqual({one.split(":")[0] for one in plan["leftOut"]}, {"text_encoders.clip_l.logit_scale", "tokenizer_3"})
        index = json.loads((self.out / "model_index.json").read_text())
        self.assertEqual({name for name, value in index.items() if value == [None, None]}, {"tokenizer_3"})
        text = {"tokenizer_3": T5Tokenizer(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁fox", -2.0)], extra_ids=0)}
        configs, whole = self.folder / "configs", self.folder / "whole"
        text["tokenizer_3"].save_pretrained(configs / "tokenizer_3")
        index = {"_class_name": "StableDiffusion3Pipeline", "tokenizer_3": ["transformers", "T5TokenizerFast"]}
        (configs / "model_index.json").write_text(json.dumps(index))
        merge({**request, "out": str(whole), "configDir": str(configs)})
        common = {**text, "local_files_only": True, "dtype": torch.float32}
        got = StableDiffusion3Pipeline.from_pretrained(self.out, **common)
        theirs = self.open_single(base, config=str(self.out), **common)
        self.assert_same_weights(got, theirs, atol=0)
        self.assertTrue(torch.equal(got.text_encoder.text_projection.weight, torch.eye(64)))
        acts = [getattr(got, part).config.hidden_act for part in ("text_encoder", "text_encoder_2")]
        self.assertEqual((acts, got.vae.config.scaling_factor, got.vae.config.shift_factor), (["quick_gelu", "gelu"], 1.5305, 0.0609))
        self.assertEqual([got.tokenizer("fox").input_ids, got.tokenizer_2.pad_token], [[49406, 3240, 49407], "!"])
        image = draw(got, 32)
        np.testing.assert_allclose(image, draw(theirs, 32), rtol=0, atol=1e-4)
        # With a folder that has T5's tokenizer nothing needs to be passed.
        opened = StableDiffusion3Pipeline.from_pretrained(whole, local_files_only=True, dtype=torch.float32)
        np.testing.assert_allclose(image, draw(opened, 32), rtol=0, atol=1e-4)
        # As documented, without T5 it opens by naming the absent parts.
        draw(StableDiffusion3Pipeline.from_pretrained(self.out, **{**common, "text_encoder_3": None, "tokenizer_3": None}), 32)

        lora = lora_for({
            "lora_unet_joint_blocks_1_x_block_attn_qkv": (384, 128), "lora_unet_joint_blocks_2_context_block_adaLN_modulation_1": (256, 128),
            "transformer.transformer_blocks.0.attn.to_k": (128, 128), "lora_te1_text_model_encoder_layers_0_mlp_fc2": (64, 128),
            "lora_te2_text_model_encoder_layers_1_self_attn_v_proj": (128, 128), "lora_te3_encoder_block_0_layer_1_DenseReluDense_wi_1": (384, 192),
        })  # fmt: skip
        loras = [{"path": self.save("lora", lora), "unet": 0.9, "te": 0.6}]
        merge({**request, "loras": loras})
        single = self.folder / "merged.safetensors"
        merge({"base": base, "loras": loras, "out": str(single)})
        merged = StableDiffusion3Pipeline.from_pretrained(self.out, **common)
        self.assert_same_weights(merged, self.open_single(str(single), config=str(self.out), **common), atol=1e-6)
        parts = ("transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
        changed = [
            sum(not torch.equal(value, getattr(got, part).state_dict()[name]) for name, value in getattr(merged, part).state_dict().items()) for part in parts
        ]
        self.assertEqual(changed, [5, 1, 1, 1])


if __name__ == "__main__":
    unittest.main()
