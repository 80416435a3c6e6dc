"""Models: the tiny ones, single files against directories, switching, what is refused, and loading without a network."""

from __future__ import annotations

import base64
import io
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

from engine_process import HELPER, SMALL, EngineProcess, make_model, shared_engine, workplace

# isort: split
# The modules below are found through the path that engine_process adds.
import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

import checkpoints
import single_file
import tiny_layout
import tiny_model


def picture(answer: Any) -> Image.Image:
    if answer.status != 200:
        raise AssertionError(f"{answer.status}: {answer.body[:500]!r}")
    return Image.open(io.BytesIO(base64.b64decode(answer.json["images"][0]))).convert("RGB")


class Switching(unittest.TestCase):
    def setUp(self) -> None:
        self.engine = shared_engine()

    def make(self, model: str | None = None, **fields: Any) -> Any:
        overrides = {"override_settings": {"sd_model_checkpoint": model}} if model else {}
        return self.engine.post("txt2img", {**SMALL, **overrides, **fields})

    def test_single_file_gives_the_pictures_of_its_directory(self) -> None:
        for folder, file in (("sdxl", "one"), ("sd15", "half")):
            whole, single = self.make(folder), self.make(file)
            self.assertEqual(json.loads(single.json["info"])["sd_model_name"], file)
            self.assertEqual(picture(whole).tobytes(), picture(single).tobytes())
        self.assertNotEqual(picture(self.make("sdxl")).tobytes(), picture(self.make("sd15")).tobytes())

    def test_override_is_for_one_request(self) -> None:
        before = self.engine.get("options").json["sd_model_checkpoint"]
        self.make("one.safetensors")
        self.assertEqual(self.engine.get("options").json["sd_model_checkpoint"], before)
        self.assertEqual(json.loads(self.make().json["info"])["sd_model_name"], "sdxl")

    def test_names_that_find_a_model(self) -> None:
        self.make("half")
        model = next(m for m in self.engine.get("sd-models").json if m["model_name"] == "half")
        self.assertEqual(model["title"], f"half.safetensors [{model['sha256'][:10]}]")
        for name in ("half", "half.safetensors", model["title"], model["hash"], model["sha256"], model["filename"]):
            self.assertEqual(json.loads(self.make(name).json["info"])["sd_model_name"], "half", name)
        answer = json.loads(self.make("no such model").json["info"])
        self.assertEqual((answer["sd_model_name"], len(answer["warnings"])), ("sdxl", 1))

    def test_override_that_stays_and_options(self) -> None:
        self.make("one", override_settings_restore_afterwards=False)
        self.assertTrue(self.engine.get("options").json["sd_model_checkpoint"].startswith("one.safetensors"))
        self.assertEqual(self.engine.post("options", {"sd_model_checkpoint": "sdxl"}).json, None)
        self.assertTrue(self.engine.request("GET", "/internal/ready").json["checkpoint"].startswith("sdxl"))


class OtherStarts(unittest.TestCase):
    """Half precision on the CPU (slow, but the same code as on a GPU), and flags that change what is loaded."""

    @staticmethod
    def start(*arguments: str) -> EngineProcess:
        models = workplace() / "models"
        return EngineProcess("--model", str(models / "sd15"), "--models-dir", str(models), *arguments)

    def make_all(self, engine: EngineProcess, model: str) -> None:
        """One txt2img, one img2img and one inpainting."""
        image = io.BytesIO()
        Image.new("RGB", (64, 64), "teal").save(image, "PNG")
        encoded = base64.b64encode(image.getvalue()).decode()
        body = {**SMALL, "steps": 1, "override_settings": {"sd_model_checkpoint": model}}
        init = {"init_images": [encoded], "denoising_strength": 1}
        for answer in (engine.post("txt2img", body), engine.post("img2img", body | init), engine.post("img2img", body | init | {"mask": encoded})):
            self.assertEqual(picture(answer).size, (64, 64))

    def test_half_and_a_vae_that_overflows_in_it(self) -> None:
        hot = make_model("hot/hot", "--kind", "sd15")
        file = hot / "vae" / "diffusion_pytorch_model.fp16.safetensors"
        weights = load_file(file)
        name = "decoder.conv_in.weight"
        weights[name] = np.clip(weights[name].astype(np.float32) * 60_000, -65_000, 65_000).astype(np.float16)
        save_file(weights, file, {"format": "pt"})
        engine = self.start("--dtype", "float16", "--models-dir", str(hot.parent))
        self.addCleanup(engine.stop)
        for model in ("sd15", "sdxl", "hot"):
            self.make_all(engine, model)
        engine.line("float16 on cpu")
        engine.line("The VAE produced NaN in torch.float16")
        # fettle's own word for a second try after a black picture; the request's echo does not show it.
        answer = engine.post("txt2img", {**SMALL, "steps": 1, "fettle_vae_dtype": "float32", "override_settings": {"sd_model_checkpoint": "sd15"}})
        self.assertNotIn("fettle_vae_dtype", answer.json["parameters"])
        engine.line("A picture came out black in torch.float16; the VAE runs in float32")
        self.assertEqual(engine.post("txt2img", {**SMALL, "fettle_vae_dtype": "float64"}).status, 422)

    def test_no_half_vae_pickles_and_nan_unchecked(self) -> None:
        import torch

        pickles = workplace() / "pickles"
        shutil.copytree(workplace() / "models" / "one", pickles / "old")
        state = {name: torch.from_numpy(value) for name, value in load_file(workplace() / "models" / "one.safetensors").items()}
        torch.save({"state_dict": state}, pickles / "old.ckpt")
        engine = self.start("--dtype", "float16", "--no-half-vae", "--allow-pickle", "--models-dir", str(pickles), "--disable-nan-check", "--no-hashing")
        self.addCleanup(engine.stop)
        for model in ("sd15", "old"):
            self.make_all(engine, model)
        self.assertEqual(engine.post("txt2img", {**SMALL, "prompt": f"(cat:{'9' * 400})"}).status, 200)
        self.assertIsNone(engine.get("sd-models").json[0]["hash"])


class Refused(unittest.TestCase):
    """What is no usable model is passed over, and says why when it is asked for by name."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=workplace()))
        self.addCleanup(shutil.rmtree, self.folder, True)

    def refuse(self, path: Path, reason: str) -> None:
        with self.assertRaisesRegex(checkpoints.UnusableModelError, reason):
            checkpoints.inspect(path, allow_pickle=False)

    def test_files(self) -> None:
        bad = self.folder / "a.safetensors"
        for content, reason in (
            (b"", "too short"),
            (struct.pack("<Q", 1 << 60), "cut off"),
            (struct.pack("<Q", 2) + b"[]", "no object"),
            (struct.pack("<Q", 2) + b"{{", "not a safetensors file"),
        ):
            bad.write_bytes(content)
            self.refuse(bad, reason)
        save_file({"lora_unet_x.alpha": np.zeros(1)}, bad)
        self.refuse(bad, "holds no UNet")
        for key, reason in (
            ("cond_stage_model.model.ln_final.weight", "SD 2.x"),
            ("conditioner.embedders.0.model.ln_final.weight", "refiner"),
            ("other", "no text encoder"),
        ):
            save_file({"model.diffusion_model.x": np.zeros(1), key: np.zeros(1)}, bad)
            self.refuse(bad, reason)
        pickle = self.folder / "b.ckpt"
        pickle.write_bytes(b"x")
        self.refuse(pickle, "--allow-pickle")
        self.assertEqual(checkpoints.inspect(pickle, allow_pickle=True).kind, None)

    def test_directories(self) -> None:
        self.refuse(self.folder, "no model_index.json")
        (self.folder / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
        self.refuse(self.folder, "FluxPipeline")
        (self.folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
        self.refuse(self.folder, "unet")

    def test_a_folder_of_everything(self) -> None:
        shutil.copytree(workplace() / "models" / "sd15", self.folder / "deep" / "er" / "mine")
        (self.folder / "lora.safetensors").write_bytes(b"1234567")
        catalogue = checkpoints.Catalogue((), (self.folder, self.folder / "missing"), False)
        catalogue.scan()
        self.assertEqual([checkpoint.name for checkpoint in catalogue.all()], ["mine"])
        self.assertEqual(list(catalogue.refused), [str(self.folder / "lora.safetensors")])

    def test_engine_with_a_broken_model_stays_up(self) -> None:
        broken = self.folder / "broken"
        shutil.copytree(workplace() / "models" / "sdxl", broken)
        (broken / "vae" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"nothing")
        shutil.copyfile(workplace() / "models" / "one.safetensors", self.folder / "lonely.safetensors")
        engine = EngineProcess("--preload", "--model", str(broken), "--model", str(self.folder / "lonely.safetensors"))
        self.addCleanup(engine.stop)
        engine.until("failed", lambda: engine.request("GET", "/internal/ready").json["model"] == "failed")
        ready = engine.request("GET", "/internal/ready")
        self.assertEqual(ready.status, 503)
        self.assertTrue(ready.json["error"])
        self.assertEqual(engine.post("txt2img", SMALL).status, 500)
        # Without its folder of configs this file has sizes nobody knows.
        answer = engine.post("options", {"sd_model_checkpoint": "lonely"})
        self.assertEqual((answer.status, answer.json["error"]), (500, "UnusableModelError"))
        self.assertIn("--config-dir", answer.json["errors"])
        # The whole model put in the place of the broken one: the next request loads it.
        shutil.copytree(workplace() / "models" / "sdxl", broken, dirs_exist_ok=True)
        self.assertEqual(engine.post("txt2img", {**SMALL, "override_settings": {"sd_model_checkpoint": "broken"}}).status, 200)


class Offline(unittest.TestCase):
    """Configs and vocabulary for a checkpoint of real size, without a network. No weights are needed to check them."""

    SHAPES = {  # noqa: RUF012 - a constant
        kind: {"model.diffusion_model.input_blocks.0.0.weight": [320, 4, 3, 3], single_file._EMBEDDING[kind]: [49408, 768]} for kind in ("sd15", "sdxl")
    }

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=workplace()))
        self.addCleanup(shutil.rmtree, self.folder, True)

    def write(self, kind: str, **more: Any) -> Path:
        out = self.folder / kind
        single_file.write_config_folder(out, Path("/models/real.safetensors"), kind, self.SHAPES[kind] | more)
        return out

    def test_sizes_are_those_of_the_real_models(self) -> None:
        import torch
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

        expected = {"sd15": (859_520_964, [123_060_480]), "sdxl": (2_567_463_684, [123_060_480, 694_659_840])}

        def count(model: Any) -> int:
            return sum(parameter.numel() for parameter in model.parameters())

        for kind, (unet, text) in expected.items():
            folder = self.write(kind)
            with torch.device("meta"):
                self.assertEqual(count(UNet2DConditionModel.from_config(json.loads((folder / "unet" / "config.json").read_text()))), unet)
                self.assertEqual(count(AutoencoderKL.from_config(json.loads((folder / "vae" / "config.json").read_text()))), 83_653_863)
                for cls, name, size in zip((CLIPTextModel, CLIPTextModelWithProjection), ("text_encoder", "text_encoder_2"), text, strict=False):
                    self.assertEqual(count(cls(CLIPTextConfig.from_pretrained(folder / name))), size)

    def test_markers_in_the_checkpoint(self) -> None:
        scheduler = json.loads((self.write("sdxl", v_pred=[], ztsnr=[]) / "scheduler" / "scheduler_config.json").read_text())
        self.assertEqual((scheduler["prediction_type"], scheduler["rescale_betas_zero_snr"]), ("v_prediction", True))
        nine = {"model.diffusion_model.input_blocks.0.0.weight": [320, 9, 3, 3]}
        self.assertEqual(json.loads((self.write("sd15", **nine) / "unet" / "config.json").read_text())["in_channels"], 9)

    def test_real_vocabulary(self) -> None:
        from transformers import CLIPTokenizer

        tokenizer = CLIPTokenizer.from_pretrained(self.write("sd15") / "tokenizer")
        self.assertEqual(tokenizer("a photo of an astronaut").input_ids, [49406, 320, 1125, 539, 550, 18376, 49407])


class TinyModel(unittest.TestCase):
    def test_same_seed_same_bytes(self) -> None:
        one, two, other = make_model("tiny/a"), make_model("tiny/b"), make_model("tiny/c", "--seed", "1")
        name = Path("unet") / "diffusion_pytorch_model.fp16.safetensors"
        self.assertEqual((one / name).read_bytes(), (two / name).read_bytes())
        self.assertNotEqual((one / name).read_bytes(), (other / name).read_bytes())
        self.assertEqual([path for path in one.parent.iterdir() if path.name.startswith(".")], [], "no leftovers beside the models")

    def test_replaces_an_older_one(self) -> None:
        place = make_model("tiny/again")
        (place / "stale").write_text("x")
        make_model("tiny/again")
        self.assertFalse((place / "stale").exists())

    def test_every_tensor_is_one_the_real_model_has(self) -> None:
        import torch
        from diffusers import AutoencoderKL, UNet2DConditionModel

        for kind, layout in tiny_layout.LAYOUTS.items():
            with torch.device("meta"):
                unet = UNet2DConditionModel.from_config(tiny_layout.unet_config(layout))
                vae = AutoencoderKL.from_config(tiny_layout.vae_config(layout))
            for model, shapes in ((unet, tiny_layout.unet_shapes(layout)), (vae, tiny_layout.vae_shapes())):
                self.assertEqual({name: tuple(value.shape) for name, value in model.state_dict().items()}, shapes, kind)

    def test_single_file_has_the_names_other_programs_read(self) -> None:
        names = load_file(workplace() / "models" / "one.safetensors").keys()
        for name in (
            "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight",
            "model.diffusion_model.output_blocks.2.2.conv.weight",
            "model.diffusion_model.label_emb.0.0.weight",
            "first_stage_model.encoder.down.0.downsample.conv.weight",
            "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight",
            "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight",
            "conditioner.embedders.1.model.ln_final.weight",
        ):
            self.assertIn(name, names)

    def test_needs_numpy_and_safetensors_only(self) -> None:
        code = f"import sys; sys.path.insert(0, {str(HELPER)!r}); import tiny_model; assert tiny_model.main([{str(workplace() / 'tiny' / 'lean')!r}]) == 0; "
        code += "assert not {'torch', 'diffusers', 'transformers'} & sys.modules.keys()"
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        result = subprocess.run([sys.executable, "-S", str(HELPER / "tiny_model.py"), "/tmp/x"], capture_output=True, text=True)
        self.assertEqual(result.returncode, 3)
        self.assertIn("pip install numpy safetensors", result.stderr)

    def test_vocabulary(self) -> None:
        merges = tiny_model.learn_merges(tiny_model.WORDS, tiny_model.MERGES)
        self.assertEqual((len(merges), len(set(merges))), (91, 91))


if __name__ == "__main__":
    unittest.main()
