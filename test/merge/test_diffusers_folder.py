"""Beside diffusers and PEFT themselves: adapters are made and filled by PEFT, saved by diffusers, merged by the helper; the weights must be those
that PEFT's own merge gives, and the merged directory must draw the image that the runtime LoRA draws."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any, ClassVar

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch
from helper_run import ENGINE, merge, run_helper
from safetensors.torch import load_file

pytest.importorskip("peft", reason="peft is not installed")
pytest.importorskip("diffusers", reason="diffusers is not installed")

from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer

UNET = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "ff.net.0.proj", "ff.net.2", "conv1", "conv2", "conv_shortcut", "time_emb_proj", "conv_in"]
TEXT = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
PIPELINES = {"sdxl": StableDiffusionXLPipeline, "sd15": StableDiffusionPipeline}


def make_tiny(place: Path, *more: str) -> None:
    """A directory, and the same model as a single file beside it."""
    made = [sys.executable, str(ENGINE / "tiny_model.py"), str(place), *more, "--single-file", f"{place}.safetensors"]
    subprocess.run(made, check=True, capture_output=True)


class Folder(unittest.TestCase):
    folder: ClassVar[Path]

    @classmethod
    def setUpClass(cls) -> None:
        torch.set_num_threads(1)
        cls.temporary = tempfile.TemporaryDirectory(prefix="fettle-folder-")
        cls.folder = Path(cls.temporary.name)
        for kind in PIPELINES:
            make_tiny(cls.folder / kind, "--kind", kind)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.temporary.cleanup()

    def load(self, kind: str, place: Path, variant: str | None = "fp16") -> Any:
        more = {"add_watermarker": False} if kind == "sdxl" else {"safety_checker": None, "requires_safety_checker": False}
        pipe = PIPELINES[kind].from_pretrained(place, variant=variant, dtype=torch.float32, local_files_only=True, **more)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    @staticmethod
    def parts(pipe: Any) -> dict[str, Any]:
        return {name: getattr(pipe, name) for name in ("unet", "text_encoder", "text_encoder_2") if getattr(pipe, name, None) is not None}

    def adapt(self, kind: str, name: str, *, dora: bool = False) -> tuple[Path, dict[str, torch.Tensor]]:
        """(the LoRA as diffusers saves it, {component/name: the weight after PEFT's own merge})."""
        pipe = self.load(kind, self.folder / kind)
        layers: dict[str, Any] = {}
        adapters: dict[str, Any] = {}
        for number, (part, model) in enumerate(self.parts(pipe).items()):
            targets = UNET if part == "unet" else TEXT
            model.add_adapter(LoraConfig(r=4, lora_alpha=2 + number, target_modules=targets, use_dora=dora, init_lora_weights=False), adapter_name="default")
            with torch.no_grad():
                for key, value in model.named_parameters():
                    if "magnitude" in key:
                        value.mul_(1 + 0.1 * torch.rand_like(value))
                    elif "lora_" in key:
                        value.copy_(torch.randn_like(value) * 0.1)
            layers[part] = get_peft_model_state_dict(model, adapter_name="default")
            adapters[part] = model
        place = self.folder / f"{kind}-{name}"
        metadata = _collate_lora_metadata(adapters)
        texts = {f"{part}_lora_layers": layers[part] for part in layers if part != "unet"}
        PIPELINES[kind].save_lora_weights(place, unet_lora_layers=layers["unet"], **texts, **metadata)
        wanted: dict[str, torch.Tensor] = {}
        for part, model in self.parts(pipe).items():
            for path, layer in model.named_modules():
                if isinstance(layer, LoraLayer):
                    layer.merge()  # type: ignore[attr-defined]
                    full = path if part != "text_encoder" or path.startswith("text_model.") else f"text_model.{path}"
                    wanted[f"{part}/{full}.weight"] = layer.get_base_layer().weight.detach().clone()
        return place / "pytorch_lora_weights.safetensors", wanted

    def draw(self, kind: str, pipe: Any) -> np.ndarray:
        random = torch.Generator().manual_seed(3)
        ended = pipe("a red fox on a hill", num_inference_steps=4, width=64, height=64, generator=random, output_type="np", guidance_scale=4.5)
        return ended.images[0]

    def merged_weights(self, place: Path) -> dict[str, torch.Tensor]:
        return {f"{file.parent.name}/{key}": value for file in place.glob("*/*.safetensors") for key, value in load_file(file).items()}

    def test_weights_are_those_that_peft_merges(self) -> None:
        for kind in PIPELINES:
            for dora in (False, True):
                with self.subTest(kind=kind, dora=dora):
                    lora, wanted = self.adapt(kind, f"weights-{dora}", dora=dora)
                    out = self.folder / f"{kind}-weights-{dora}-merged"
                    base = str(self.folder / f"{kind}.safetensors")
                    merge({"base": base, "loras": [{"path": str(lora)}], "out": str(out), "format": "diffusers", "dtype": "fp16"})
                    merged = self.merged_weights(out)
                    self.assertGreater(len(wanted), 100)
                    for name, weight in wanted.items():
                        torch.testing.assert_close(merged[name].float(), weight, rtol=2**-10.5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")

    def test_an_adapter_that_peft_itself_saved(self) -> None:
        """adapter_model.safetensors: no part in its names, its alpha in adapter_config.json beside it."""
        base = self.folder / "sdxl.safetensors"
        cases = {"unet": (["to_q", "to_v", "ff.net.2"], r"down_blocks\..*\.to_v"), "text_encoder": (["q_proj", "fc1"], "layers.1.mlp.fc1")}
        for part, (targets, pattern) in cases.items():
            with self.subTest(part=part):
                model = get_peft_model(
                    self.parts(self.load("sdxl", self.folder / "sdxl"))[part],
                    LoraConfig(r=4, lora_alpha=3, alpha_pattern={pattern: 7}, use_rslora=True, target_modules=targets, init_lora_weights=False),
                )
                place = self.folder / f"peft-{part}"
                model.save_pretrained(place)
                request = {"base": str(base), "loras": [{"path": str(place / "adapter_model.safetensors")}], "format": "diffusers", "dtype": "fp16"}
                out = self.folder / f"peft-{part}-merged"
                merge({**request, "out": str(out)})
                merged = self.merged_weights(out)
                for name, weight in model.merge_and_unload().state_dict().items():
                    full = name if part == "unet" or name.startswith("text_model.") else f"text_model.{name}"
                    if not name.endswith("position_ids"):
                        torch.testing.assert_close(merged[f"{part}/{full}"].float(), weight, rtol=2**-10.5, atol=1e-6)
                (place / "adapter_config.json").unlink()
                plan = run_helper({**request, "out": str(self.folder / "never"), "dryRun": True})[0]
                self.assertIn("adapter_config.json", plan["coverage"][0]["note"])

    def test_merged_directory_draws_what_the_runtime_lora_draws(self) -> None:
        for kind in PIPELINES:
            lora, _ = self.adapt(kind, "image")
            pipe = self.load(kind, self.folder / kind)
            plain = self.draw(kind, pipe)
            pipe.load_lora_weights(lora, adapter_name="made")
            pipe.set_adapters(["made"], [0.8])
            runtime = self.draw(kind, pipe)
            self.assertGreater(np.abs(runtime - plain).max(), 0.05, "the LoRA changed no image")
            for base in (self.folder / kind, self.folder / f"{kind}.safetensors"):
                with self.subTest(kind=kind, base=base.name):
                    for dtype, variant, tolerance in (("fp32", None, 2e-3), ("fp16", "fp16", 3e-2)):
                        out = self.folder / f"{kind}-{base.suffix[1:]}-{dtype}"
                        request = {"base": str(base), "loras": [{"path": str(lora), "unet": 0.8, "te": 0.8}], "out": str(out), "dtype": dtype}
                        merge({**request, "format": "diffusers", "variant": variant, "verify": True})
                        image = self.draw(kind, self.load(kind, out, variant))
                        self.assertLess(np.abs(image - runtime).max(), tolerance)

    def test_shards_and_another_vae(self) -> None:
        base, out = self.folder / "sdxl.safetensors", self.folder / "shards"
        lora, _ = self.adapt("sdxl", "shards")
        other = self.folder / "other"
        make_tiny(other, "--seed", "9")
        vae = other / "vae/diffusion_pytorch_model.fp16.safetensors"
        merge({
            "base": str(base), "loras": [{"path": str(lora)}], "out": str(out), "format": "diffusers", "dtype": "fp16", "shardBytes": 300_000, "vae": str(vae),
        })  # fmt: skip
        self.assertGreater(len(list((out / "unet").glob("*-of-*.safetensors"))), 2)
        self.assertTrue((out / "unet/diffusion_pytorch_model.safetensors.index.fp16.json").is_file())
        pipe = self.load("sdxl", out)
        theirs = load_file(vae)
        for name, value in pipe.vae.state_dict().items():
            self.assertTrue(torch.equal(value, theirs[name].float()), name)
        # The same VAE in LDM's names, put into a single file.
        single = self.folder / "vae-swapped.safetensors"
        merge({"base": str(base), "loras": [{"path": str(lora)}], "out": str(single), "vae": f"{other}.safetensors"})
        swapped, source = load_file(single), load_file(f"{other}.safetensors")
        for name in source:
            if name.startswith("first_stage_model."):
                self.assertTrue(torch.equal(swapped[name], source[name]), name)
        self.draw("sdxl", pipe)

    def test_merged_single_file_loads_with_from_single_file(self) -> None:
        for kind, pipeline in PIPELINES.items():
            with self.subTest(kind):
                lora, wanted = self.adapt(kind, "single")
                out = self.folder / f"{kind}-merged.safetensors"
                merge({"base": str(self.folder / f"{kind}.safetensors"), "loras": [{"path": str(lora)}], "out": str(out)})
                more = {"add_watermarker": False} if kind == "sdxl" else {"safety_checker": None}
                pipe = pipeline.from_single_file(str(out), config=str(self.folder / kind), local_files_only=True, dtype=torch.float32, **more)
                weights = {f"{part}/{name}": value for part, model in self.parts(pipe).items() for name, value in model.state_dict().items()}
                for name, weight in wanted.items():
                    found = weights.get(name, weights.get(name.replace("text_model.", "", 1)))
                    torch.testing.assert_close(found.float(), weight, rtol=2**-10.5, atol=1e-6)


if __name__ == "__main__":
    unittest.main()
