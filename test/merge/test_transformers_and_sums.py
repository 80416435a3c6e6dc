"""Flux and SD3 in both layouts, strengths by part and block, sums of checkpoints, dtypes, and names that older tools wrote."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helper_run import merge, refusal, run_helper
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers", reason="diffusers is not installed")

H, RANK = 16, 3
Tensors = dict[str, torch.Tensor]


def rows(*shape: int) -> torch.Tensor:
    return (torch.randn(*shape) * 0.2).half()


def flux_single() -> Tensors:
    out: Tensors = {}
    for side in ("img", "txt"):
        block = f"double_blocks.0.{side}"
        shapes = {f"{block}_attn.qkv": (3 * H, H), f"{block}_attn.proj": (H, H), f"{block}_mod.lin": (6 * H, H)}
        shapes |= {f"{block}_mlp.0": (4 * H, H), f"{block}_mlp.2": (H, 4 * H)}
        out |= {f"{name}.weight": rows(*shape) for name, shape in shapes.items()} | {f"{name}.bias": rows(shape[0]) for name, shape in shapes.items()}
    shapes = {"single_blocks.0.linear1": (7 * H, H), "single_blocks.0.linear2": (H, 5 * H), "single_blocks.0.modulation.lin": (3 * H, H)}
    shapes |= {"img_in": (H, 8), "txt_in": (H, 12), "final_layer.linear": (8, H), "final_layer.adaLN_modulation.1": (2 * H, H)}
    return out | {f"{name}.weight": rows(*shape) for name, shape in shapes.items()} | {f"{name}.bias": rows(shape[0]) for name, shape in shapes.items()}


def flux_diffusers(single: Tensors) -> Tensors:
    """Cut by hand, as Black Forest Labs' and diffusers' model code say."""
    out: Tensors = {}
    for leaf in ("weight", "bias"):
        for side, names in (("img", ("to_q", "to_k", "to_v")), ("txt", ("add_q_proj", "add_k_proj", "add_v_proj"))):
            for name, part in zip(names, single[f"double_blocks.0.{side}_attn.qkv.{leaf}"].chunk(3), strict=True):
                out[f"transformer_blocks.0.attn.{name}.{leaf}"] = part.contiguous()
        pairs = {
            "img_attn.proj": "attn.to_out.0", "txt_attn.proj": "attn.to_add_out", "img_mlp.0": "ff.net.0.proj", "img_mlp.2": "ff.net.2",
            "txt_mlp.0": "ff_context.net.0.proj", "txt_mlp.2": "ff_context.net.2", "img_mod.lin": "norm1.linear", "txt_mod.lin": "norm1_context.linear",
        }  # fmt: skip
        out |= {f"transformer_blocks.0.{theirs}.{leaf}": single[f"double_blocks.0.{ours}.{leaf}"] for ours, theirs in pairs.items()}
        one = single[f"single_blocks.0.linear1.{leaf}"]
        for name, part in zip(("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"), one.split([H, H, H, 4 * H]), strict=True):
            out[f"single_transformer_blocks.0.{name}.{leaf}"] = part.contiguous()
        out[f"single_transformer_blocks.0.proj_out.{leaf}"] = single[f"single_blocks.0.linear2.{leaf}"]
        out[f"single_transformer_blocks.0.norm.linear.{leaf}"] = single[f"single_blocks.0.modulation.lin.{leaf}"]
        tops = {"x_embedder": "img_in", "context_embedder": "txt_in", "proj_out": "final_layer.linear"}
        out |= {f"{theirs}.{leaf}": single[f"{ours}.{leaf}"] for theirs, ours in tops.items()}
        shift, scale = single[f"final_layer.adaLN_modulation.1.{leaf}"].chunk(2)
        out[f"norm_out.linear.{leaf}"] = torch.cat([scale, shift])
    return out


def sd3_single() -> Tensors:
    shapes: dict[str, tuple[int, ...]] = {"x_embedder.proj": (H, 4, 2, 2), "t_embedder.mlp.0": (H, 8), "t_embedder.mlp.2": (H, H), "context_embedder": (H, 12)}
    shapes |= {"y_embedder.mlp.0": (H, 6), "y_embedder.mlp.2": (H, H), "final_layer.linear": (16, H), "final_layer.adaLN_modulation.1": (2 * H, H)}
    for block in range(2):
        for side in ("x_block", "context_block"):
            name, last = f"joint_blocks.{block}.{side}", side == "context_block" and block == 1
            shapes |= {f"{name}.attn.qkv": (3 * H, H), f"{name}.adaLN_modulation.1": ((2 if last else 6) * H, H)}
            if not last:
                shapes |= {f"{name}.attn.proj": (H, H), f"{name}.mlp.fc1": (4 * H, H), f"{name}.mlp.fc2": (H, 4 * H)}
    out = {f"{name}.weight": rows(*shape) for name, shape in shapes.items()} | {f"{name}.bias": rows(shape[0]) for name, shape in shapes.items()}
    return out | {"pos_embed": rows(1, 9, H)}


def sd3_diffusers(single: Tensors) -> Tensors:
    from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers

    return {name: value.contiguous() for name, value in convert_sd3_transformer_checkpoint_to_diffusers(dict(single)).items()}


def lora_for(tensors: Tensors, prefix: str, *, dots: bool) -> Tensors:
    out: Tensors = {}
    for name, value in tensors.items():
        if name.endswith(".weight") and value.ndim >= 2:
            stem = name.removesuffix(".weight")
            down, up = ("lora_A.weight", "lora_B.weight") if dots else ("lora_down.weight", "lora_up.weight")
            stem = prefix + (stem if dots else stem.replace(".", "_"))
            out |= {f"{stem}.{down}": rows(RANK, *value.shape[1:]), f"{stem}.{up}": rows(value.shape[0], RANK, *(1 for _ in value.shape[2:]))}
    return out


class Transformers(unittest.TestCase):
    def setUp(self) -> None:
        torch.manual_seed(4)
        temporary = tempfile.TemporaryDirectory(prefix="fettle-transformers-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def save(self, name: str, tensors: Tensors) -> str:
        save_file(tensors, self.folder / f"{name}.safetensors")
        return str(self.folder / f"{name}.safetensors")

    def merged(self, base: str, lora: str, **more: Any) -> Tensors:
        out = self.folder / "out.safetensors"
        merge({"base": base, "loras": [{"path": lora, "unet": 0.7, **more}], "out": str(out), "force": True})
        return load_file(out)

    def test_both_layouts_give_the_same_model(self) -> None:
        for kind, single, convert in (("Flux", flux_single(), flux_diffusers), ("SD3", sd3_single(), sd3_diffusers)):
            theirs = convert(single)
            one = self.save("single", {f"model.diffusion_model.{name}": value for name, value in single.items()})
            other = self.save("diffusers", theirs)
            for style, lora in (
                ("kohya", lora_for(single, "lora_unet_", dots=False)),
                ("comfy", lora_for(single, "diffusion_model.", dots=True)),
                ("peft", lora_for(theirs, "transformer.", dots=True)),
                ("onetrainer", lora_for(theirs, "lora_transformer_", dots=False)),
            ):
                with self.subTest(kind=kind, style=style):
                    path = self.save("lora", lora)
                    first, second = self.merged(one, path), self.merged(other, path)
                    bare = convert({name.removeprefix("model.diffusion_model."): value for name, value in first.items()})
                    self.assertEqual(set(bare), set(second))
                    for name, value in second.items():
                        torch.testing.assert_close(bare[name].float(), value.float(), rtol=2**-10, atol=1e-6)
                        if name.endswith(".weight") and value.ndim >= 2:
                            self.assertFalse(torch.equal(value, theirs[name]), name)
                    if style == "peft":
                        for name in (one for one in theirs if one.endswith(".weight") and theirs[one].ndim == 2):
                            up, down = (lora[f"transformer.{name.removesuffix('.weight')}.lora_{letter}.weight"].float() for letter in "BA")
                            torch.testing.assert_close(second[name].float(), theirs[name].float() + 0.7 * up @ down, rtol=2**-10.5, atol=1e-6)

    def test_block_weights(self) -> None:
        names = ["input_blocks.1.1", "input_blocks.4.1", "middle_block.1", "output_blocks.3.1"]
        stems = [f"{name}.transformer_blocks.0.attn1.to_q" for name in names] + ["time_embed.0"]
        weights = {f"model.diffusion_model.{stem}.weight": rows(H, H) for stem in stems}
        base = self.save("base", weights)
        lora = {}
        for stem in stems:
            key = "lora_unet_" + stem.replace(".", "_")
            lora |= {f"{key}.lora_down.weight": rows(RANK, H), f"{key}.lora_up.weight": rows(H, RANK)}
        path = self.save("lora", lora)
        seventeen = [0.5, 0.1, *[1] * 1, 0.2, *[1] * 3, 0.3, 0.4, *[1] * 8]
        by_name = {"BASE": 0.5, "in01": 0.1, "IN04": 0.2, "mid": 0.3, "out03": 0.4}
        twelve = [0.5, 0.2, 1, 1, 1, 0.3, 1, 1, 1, 0.4, 1, 1]
        for blocks, factors in ((seventeen, [0.1, 0.2, 0.3, 0.4, 0.5]), (by_name, [0.1, 0.2, 0.3, 0.4, 0.5]), (twelve, [0, 0.2, 0.3, 0.4, 0.5])):
            got = self.merged(base, path, blocks=blocks)
            for stem, factor in zip(stems, factors, strict=True):
                key = "lora_unet_" + stem.replace(".", "_")
                delta = lora[f"{key}.lora_up.weight"].float() @ lora[f"{key}.lora_down.weight"].float()
                name = f"model.diffusion_model.{stem}.weight"
                torch.testing.assert_close(got[name].float(), weights[name].float() + 0.7 * factor * delta, rtol=2**-10.5, atol=1e-6)
        wrong = {"base": base, "loras": [{"path": path, "blocks": [1, 2, 3]}], "out": str(self.folder / "x.safetensors")}
        self.assertEqual(refusal(wrong)["code"], "merge.invalid-recipe")

    def test_sums_of_checkpoints(self) -> None:
        name = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
        models = [{name: rows(H, H), "position_ids": torch.arange(77)[None], "first_stage_model.x": rows(5)} for _ in range(3)]
        first, second, third = (self.save(f"model-{number}", model) for number, model in enumerate(models))
        a, b, c = (model[name].float() for model in models)
        out = self.folder / "sum.safetensors"
        merge({"base": first, "baseWeight": 0.7, "terms": [{"path": second, "weight": 0.3}], "out": str(out), "verify": True})
        torch.testing.assert_close(load_file(out)[name].float(), 0.7 * a + 0.3 * b, rtol=2**-10.5, atol=1e-6)
        self.assertTrue(torch.equal(load_file(out)["position_ids"], torch.arange(77)[None]))
        lora = self.save("lora", lora_for({name.removeprefix("model.diffusion_model."): models[0][name]}, "lora_unet_", dots=False))
        terms = [{"path": second, "weight": 0.5}, {"path": third, "weight": -0.5}]
        merge({"base": first, "terms": terms, "loras": [{"path": lora}], "out": str(out), "dtype": "fp32"})
        up, down = (value.float() for key, value in sorted(load_file(lora).items(), reverse=True))
        torch.testing.assert_close(load_file(out)[name], a + 0.5 * b - 0.5 * c + up @ down, rtol=1e-5, atol=1e-6)
        other = self.save("other", {name: rows(H, H + 1)})
        self.assertEqual(refusal({"base": first, "terms": [{"path": other, "weight": 1}], "out": str(out)})["code"], "merge.no-match")

    def test_dtypes_and_dry_run(self) -> None:
        name = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q"
        base = self.save("base", {f"{name}.weight": rows(H, H), f"{name}.bias": rows(H), "first_stage_model.x": rows(4, 4), "ids": torch.arange(3)})
        types = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
        for dtype, wanted in types.items():
            out = self.folder / f"{dtype}.safetensors"
            merge({"base": base, "out": str(out), "dtype": dtype, "verify": True})
            got, source = load_file(out), load_file(base)
            for key, value in got.items():
                self.assertTrue(torch.equal(value, source[key].to(wanted if key != "ids" else torch.int64)), key)
        for dtype, wanted in (("fp8_e4m3fn", torch.float8_e4m3fn), ("fp8_e5m2", torch.float8_e5m2)):
            out = self.folder / f"{dtype}.safetensors"
            merge({"base": base, "out": str(out), "dtype": dtype})
            got, source = load_file(out), load_file(base)
            self.assertTrue(torch.equal(got[f"{name}.weight"].view(torch.uint8), source[f"{name}.weight"].to(wanted).view(torch.uint8)))
            self.assertEqual(got[f"{name}.bias"].dtype, torch.float16)
            self.assertEqual(got["first_stage_model.x"].dtype, torch.float16)
            # … and an fp8 model takes a LoRA.
            lora = self.save("lora", lora_for({f"{name.removeprefix('model.diffusion_model.')}.weight": rows(H, H)}, "lora_unet_", dots=False))
            again = self.merged(str(out), lora)
            self.assertEqual(again[f"{name}.weight"].dtype, wanted)
        (plan,) = run_helper({"base": base, "loras": [{"path": lora}], "out": str(self.folder / "dry.safetensors"), "dryRun": True})
        self.assertEqual((plan["type"], plan["changed"], plan["touchedBytes"]), ("plan", 1, H * H * 2))
        self.assertGreater(plan["estimateMs"], 0)
        self.assertFalse((self.folder / "dry.safetensors").exists())

    def test_old_diffusers_names_and_text_projection(self) -> None:
        query = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"
        to_out = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_out.0.weight"
        text = "conditioner.embedders.1.model.text_projection"
        weights = {query: rows(H, H), to_out: rows(H, H), text: rows(H, H)}
        block = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor"
        stems = {query: f"{block}.to_q_lora", to_out: f"{block}.to_out_lora"}
        lora = {f"{stem}.{side}.weight": rows(*shape) for stem in stems.values() for side, shape in (("down", (RANK, H)), ("up", (H, RANK)))}
        key = "lora_te2_text_projection"
        lora |= {f"{key}.lora_down.weight": rows(RANK, H), f"{key}.lora_up.weight": rows(H, RANK)}
        got = self.merged(self.save("base", weights), self.save("lora", lora), te=0.7)
        for name, stem in stems.items():
            delta = lora[f"{stem}.up.weight"].float() @ lora[f"{stem}.down.weight"].float()
            torch.testing.assert_close(got[name].float(), weights[name].float() + 0.7 * delta, rtol=2**-10.5, atol=1e-6)
        delta = lora[f"{key}.lora_up.weight"].float() @ lora[f"{key}.lora_down.weight"].float()
        torch.testing.assert_close(got[text].float(), weights[text].float() + 0.7 * delta.T, rtol=2**-10.5, atol=1e-6)
        np.testing.assert_equal(set(got), set(weights))


if __name__ == "__main__":
    unittest.main()
