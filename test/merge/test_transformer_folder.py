"""Flux and SD3 single files as diffusers directories: beside diffusers' own conversion, and opened by from_pretrained without a network."""

from __future__ import annotations

import json
import math
import os
import struct
import sys
import tempfile
import unittest
from itertools import accumulate
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
from helper_run import HELPER, merge, refusal, run_helper
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers", reason="diffusers is not installed")

from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from transformer_files import Tensors, answer, by_diffusers, flux_file, random, reference, sd3_file

sys.path.append(str(HELPER))
from beside import shapes_of, small_files
from model import open_model
from request import parse_request
from transformer_folder import convert_transformer_file

CLASSES: dict[str, Any] = {"Flux": FluxTransformer2DModel, "SD3": SD3Transformer2DModel}
FILES = {
    "dev": ("Flux", lambda: flux_file()),
    "schnell": ("Flux", lambda: flux_file(guidance=False)),
    "sd3": ("SD3", lambda: sd3_file()),
    "sd3.5-large": ("SD3", lambda: sd3_file(norms=True)),
    "sd3.5-medium": ("SD3", lambda: sd3_file(norms=True, dual=(0, 1))),
}
RANK = 3


def weights_of(folder: Path) -> Tensors:
    return {name: value for file in sorted(folder.glob("*.safetensors")) for name, value in load_file(file).items()}


def lora_for(tensors: Tensors, prefix: str, *, dots: bool) -> Tensors:
    out: Tensors = {}
    for name, value in tensors.items():
        stem, _, leaf = name.rpartition(".")
        if leaf == "weight" and value.ndim >= 2:
            key = prefix + (stem if dots else stem.replace(".", "_"))
            down, up = ("lora_A.weight", "lora_B.weight") if dots else ("lora_down.weight", "lora_up.weight")
            out |= {f"{key}.{down}": random(RANK, *value.shape[1:]), f"{key}.{up}": random(value.shape[0], RANK, *(1 for _ in value.shape[2:]))}
    return out


def planned(shapes: dict[str, tuple[int, ...]], path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """What a directory's transformer would hold, and its config, of a file that has a header and no bytes on the disk."""
    sizes = [2 * math.prod(shape) for shape in shapes.values()]
    ends = list(accumulate(sizes))
    entries = zip(shapes.items(), sizes, ends, strict=True)
    text = json.dumps({name: {"dtype": "F16", "shape": shape, "data_offsets": [end - size, end]} for (name, shape), size, end in entries}).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + ends[-1])
    components, _ = convert_transformer_file(open_model(str(path)), parse_request({"base": str(path), "out": str(path.parent / "out"), "format": "diffusers"}))
    made = small_files(open_model(str(path)), components)
    return shapes_of(components["transformer"]), json.loads(made.texts["transformer/config.json"])


class Folder(unittest.TestCase):
    def setUp(self) -> None:
        torch.manual_seed(7)
        torch.set_num_threads(1)
        temporary = tempfile.TemporaryDirectory(prefix="fettle-transformer-folder-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.out = self.folder / "out"

    def save(self, name: str, tensors: Tensors) -> str:
        path = self.folder / f"{name}.safetensors"
        save_file({key: value.contiguous() for key, value in tensors.items()}, path)
        return str(path)

    def convert(self, base: str, **more: Any) -> dict[str, Any]:
        return merge({"base": base, "out": str(self.out), "format": "diffusers", "force": True, **more})

    def open(self, kind: str, **more: Any) -> Any:
        return CLASSES[kind].from_pretrained(self.out, subfolder="transformer", local_files_only=True, **more)

    def assert_same(self, got: Tensors, wanted: Tensors) -> None:
        self.assertEqual(set(got), set(wanted))
        for name, value in got.items():
            self.assertEqual(value.dtype, wanted[name].dtype, name)
            self.assertTrue(torch.equal(value, wanted[name]), name)

    def test_tensors_are_those_of_diffusers_own_conversion(self) -> None:
        for name, (kind, make) in FILES.items():
            single = make()
            for prefix in ("", "model.diffusion_model."):
                with self.subTest(name, prefix=prefix):
                    base = self.save("base", {prefix + key: value for key, value in single.items()})
                    self.convert(base, verify=True)
                    self.assert_same(weights_of(self.out / "transformer"), by_diffusers(kind, single))

    def test_from_pretrained_answers_as_the_model_that_diffusers_makes(self) -> None:
        for name, (kind, make) in FILES.items():
            single = make()
            model = reference(kind, single)
            weights, wanted = model.state_dict(), answer(model, kind)
            base = self.save("base", single)
            for more, variant in (({}, None), ({"dtype": "fp32", "variant": "fp16", "shardBytes": 300_000, "verify": True}, "fp16")):
                with self.subTest(name, **more):
                    self.convert(base, **more)
                    if "shardBytes" in more:
                        self.assertGreater(len(list((self.out / "transformer").glob("*-of-*.safetensors"))), 3)
                    model, info = self.open(kind, variant=variant, dtype=torch.float32, output_loading_info=True)
                    self.assertEqual((info["missing_keys"], info["unexpected_keys"]), ([], []))
                    self.assert_same(model.state_dict(), weights)
                    # Mapped weights are aligned otherwise, and are summed in another order.
                    torch.testing.assert_close(answer(model.eval(), kind), wanted, rtol=0, atol=2e-5)

    def test_loras_give_what_they_give_in_the_single_file(self) -> None:
        for name in ("dev", "sd3.5-medium"):
            kind, make = FILES[name]
            single = make()
            theirs = by_diffusers(kind, single)
            base = self.save("base", {f"model.diffusion_model.{key}": value for key, value in single.items()})
            plain = self.save("plain", theirs)
            loras = {
                "kohya": lora_for(single, "lora_unet_", dots=False),
                "diffusers": lora_for(theirs, "transformer.", dots=True),
                "norms": {f"transformer.{key.removesuffix('.weight')}.w_norm": random(*theirs[key].shape) for key in theirs if ".norm_" in key},
            }
            for style, tensors in loras.items():
                with self.subTest(name, style=style):
                    lora = {"path": self.save("lora", tensors), "unet": 0.7}
                    path = self.folder / "merged.safetensors"
                    merge({"base": base, "loras": [lora], "out": str(path), "force": True})
                    bare = {key.removeprefix("model.diffusion_model."): value for key, value in load_file(path).items()}
                    wanted = by_diffusers(kind, bare)
                    for source in (base, plain):
                        self.convert(source, loras=[lora], verify=True)
                        got = weights_of(self.out / "transformer")
                        self.assertEqual(set(got), set(wanted))
                        for key, value in got.items():
                            torch.testing.assert_close(value.float(), wanted[key].float(), rtol=2**-10, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")
                    changed = {key for key, value in got.items() if not torch.equal(value, theirs[key])}
                    matrices = {key for key, value in theirs.items() if key.endswith(".weight") and value.ndim in (2, 4)}
                    self.assertEqual(changed, {key for key in theirs if ".norm_" in key} if style == "norms" else matrices)
                    # … and the directory takes the same LoRA under the same names.
                    again = self.folder / "again"
                    merge({"base": str(self.out), "loras": [lora], "out": str(again), "format": "diffusers", "force": True})
                    self.assertNotEqual(set(weights_of(again / "transformer")) & changed, set())

    def test_a_swapped_half_is_computed_from_its_own_rows(self) -> None:
        single = flux_file()
        key = "final_layer.adaLN_modulation.1"
        up, down = random(2 * 128, RANK), random(RANK, 128)
        lora = self.save("lora", {f"lora_unet_{key.replace('.', '_')}.lora_up.weight": up, f"lora_unet_{key.replace('.', '_')}.lora_down.weight": down})
        self.convert(self.save("base", single), loras=[{"path": lora}], dtype="fp32", verify=True)
        shift, scale = (single[f"{key}.weight"].float() + up.float() @ down.float()).chunk(2)
        got = weights_of(self.out / "transformer")["norm_out.linear.weight"]
        torch.testing.assert_close(got, torch.cat([scale, shift]), rtol=1e-5, atol=1e-6)

    def test_a_transformer_alone_has_a_truthful_index(self) -> None:
        lines = run_helper({"base": self.save("base", flux_file()), "out": str(self.out), "format": "diffusers"})
        index = json.loads((self.out / "model_index.json").read_text())
        self.assertEqual(index["_class_name"], "FluxPipeline")
        self.assertEqual(index["transformer"], ["diffusers", "FluxTransformer2DModel"])
        self.assertEqual(index["scheduler"], ["diffusers", "FlowMatchEulerDiscreteScheduler"])
        absent = {"vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"}
        self.assertEqual({key for key, value in index.items() if value == [None, None]}, absent)
        self.assertEqual({one.split(":")[0] for one in lines[0]["leftOut"]}, absent)
        self.assertEqual({one.name for one in self.out.iterdir() if one.is_dir()}, {"transformer", "scheduler"})

    def test_published_sizes(self) -> None:
        """Whole headers over empty files: names, shapes and configs must be those that diffusers' models of these sizes have."""
        flux = {"guidance_embeds": True}
        common = {"joint": 4096, "pooled": 2048}
        medium = {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536}
        large = {"num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432, "qk_norm": "rms_norm", "pos_embed_max_size": 192}
        newer = {**medium, "qk_norm": "rms_norm", "pos_embed_max_size": 384, "dual_attention_layers": tuple(range(13))}
        with torch.device("meta"):
            # Published Flux has 19 double blocks and 38 single ones.
            made = flux_file(blocks=38, joint=4096, pooled=768, width=3072)
            dev = {key: value for key, value in made.items() if not (key.startswith("double_blocks.") and int(key.split(".")[1]) >= 19)}
            models = {
                "dev": ("Flux", dev, flux),
                "sd3-medium": ("SD3", sd3_file(blocks=24, width=1536, positions=192, **common), {**medium, "pos_embed_max_size": 192}),
                "sd3.5-large": ("SD3", sd3_file(blocks=38, width=2432, positions=192, norms=True, **common), large),
                "sd3.5-medium": ("SD3", sd3_file(blocks=24, width=1536, positions=384, norms=True, dual=tuple(range(13)), **common), newer),
            }
            for name, (kind, tensors, settings) in models.items():
                with self.subTest(name):
                    theirs = CLASSES[kind](**settings)
                    shapes, config = planned({key: tuple(value.shape) for key, value in tensors.items()}, self.folder / "empty.safetensors")
                    self.assertEqual(shapes, {key: tuple(value.shape) for key, value in theirs.state_dict().items()})
                    wanted = {key: value for key, value in theirs.config.items() if not key.startswith("_")}
                    self.assertEqual({key: tuple(config[key]) if isinstance(config[key], list) else config[key] for key in wanted}, wanted)

    def test_refusals(self) -> None:
        request = {"out": str(self.out), "format": "diffusers"}
        single = flux_file(blocks=1)

        def refused(tensors: Tensors, **more: Any) -> str:
            said = refusal({**request, "base": self.save("base", tensors), **more})
            self.assertFalse(self.out.exists())
            return said["reason"]

        self.assertIn("distilled.weight is no tensor of a Flux transformer", refused({**single, "distilled.weight": random(2, 2)}))
        self.assertIn("no txt_in", refused({key: value for key, value in single.items() if key != "txt_in.weight"}).replace("context_embedder", "txt_in"))
        self.assertIn("attn.to_out.0", refused({key: value for key, value in sd3_file().items() if key != "joint_blocks.1.x_block.attn.proj.bias"}))
        self.assertIn("twice", refused({**single, "proj_out.weight": random(64, 128)}))
        narrow = {key: value[:64].contiguous() if key.endswith("norm.scale") else value for key, value in single.items()}
        self.assertIn("64 wide", refused(narrow))
        self.assertIn("no known layout", refused({f"other.{key}": value for key, value in by_diffusers("SD3", sd3_file()).items()}))
        self.assertIn("no diffusers directory of a Flux model", refused(single, configDir=str(self.folder)))


if __name__ == "__main__":
    unittest.main()
