"""Templates on a real engine: merged models, LoRAs at run time, what is missing or broken, downloads, the bound on models.

The engine asks the real program (`fettle template`), run by bun or deno from this tree.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine_process import HELPER, SMALL, EngineProcess, make_model, workplace

# isort: split
# The modules below are found through the path that engine_process adds.
import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

import counters
from adapters import adapter_name

ROOT = HELPER.parents[3]
RUNTIMES = {"bun": ["src/main.ts"], "deno": ["run", "-A", "src/main.ts"]}
RUNTIME = next((name for name in RUNTIMES if shutil.which(name)), None)


def fettle() -> list[str]:
    assert RUNTIME is not None
    return [shutil.which(RUNTIME) or RUNTIME, *(str(ROOT / part) if part.endswith(".ts") else part for part in RUNTIMES[RUNTIME])]


def make_lora(path: Path, seed: int, *, kind: str = "sdxl", strength: float = 1.0) -> Path:
    """A rank-2 LoRA on the attention of the UNet and of the first text encoder, under diffusers' names."""
    random = np.random.default_rng(seed)
    tensors: dict[str, Any] = {}
    parts = {"unet": "unet/diffusion_pytorch_model.fp16.safetensors", "text_encoder": "text_encoder/model.fp16.safetensors"}
    for part, file in parts.items():
        for name, value in load_file(workplace() / "models" / kind / file).items():
            if not re.search(r"(attn\d\.to_[qkv]|self_attn\.[qkv]_proj)\.weight$", name):
                continue
            out, width = value.shape
            stem = f"{part}.{name.removesuffix('.weight')}"
            tensors[f"{stem}.lora_A.weight"] = (random.standard_normal((2, width)) / width**0.5).astype(np.float32)
            tensors[f"{stem}.lora_B.weight"] = (random.standard_normal((out, 2)) * strength).astype(np.float32)
    assert tensors
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, {"format": "pt"})
    return path


class Files(http.server.SimpleHTTPRequestHandler):
    """Serves the models' folder; each GET of a checkpoint waits until the test lets it go."""

    gate = threading.Event()

    def do_GET(self) -> None:
        if "gated" in self.path:
            self.gate.wait(60)
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *rest: Files(*rest, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        Files.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def engine_for(place: Path, *arguments: str, merged: Path | None = None, vae: Path | None = None, template: str | None = None) -> Iterator[EngineProcess]:
    resolver = [*fettle(), "template", "--file", str(place / "templates.json"), "--models-dir", str(place / "volume")]
    resolver += ["--merged-dir", str(merged)] if merged else []
    first = ["--template", template] if template is not None else []
    environment = {"FETTLE_PYTHON": sys.executable, "FETTLE_STATE_DIR": str(place / "state"), "FETTLE_TEMPLATE_VAE": str(vae or ""), "HF_HUB_OFFLINE": ""}
    engine = EngineProcess("--templates", str(place / "templates.json"), "--template-resolver", json.dumps(resolver), "--no-hashing",
                           "--preload", *first, "--config-dir", str(workplace() / "models" / "one"), *arguments,
                           environment=environment)  # fmt: skip
    try:
        yield engine
    finally:
        engine.stop()


def place_for(name: str, templates: dict[str, Any]) -> Path:
    place = workplace() / name
    place.mkdir()
    (place / "templates.json").write_text(json.dumps({"templates": templates}))
    return place


def make(engine: EngineProcess, template: str | None, **fields: Any) -> Any:
    answer = engine.post("txt2img", {**SMALL, **({"fettle_template": template} if template is not None else {}), **fields})
    assert answer.status == 200, answer.body[:2000]
    return answer.json


def pixels(answer: Any) -> Any:
    assert "images" in answer, answer
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))).convert("RGB"), dtype=np.int16)


def metric(engine: EngineProcess, name: str, **labels: str) -> float:
    families = {one["name"]: one["samples"] for one in engine.request("GET", "/internal/metrics").json["metrics"]}
    return sum(value for has, value in families.get(name, []) if labels.items() <= has.items())


@unittest.skipIf(RUNTIME is None, "neither bun nor deno is on the PATH")
class Templates(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        base = str(workplace() / "models" / "one.safetensors")
        loras = workplace() / "loras"
        for seed, name in enumerate(("a-b", "a_b", "style"), 1):
            make_lora(loras / f"{name}.safetensors", seed)
        make_lora(loras / "old.safetensors", 9, kind="sd15")
        (loras / "page.safetensors").write_text("<!doctype html><title>log in</title>")
        path = {name: str(loras / f"{name}.safetensors") for name in ("a-b", "a_b", "style", "old", "page", "missing")}
        cls.place = place_for("templates", {
            "first": {"checkpoint": base, "loras": [{"path": path["style"], "unet": 0.8, "te": 0.4}]},
            "plain": {"checkpoint": base},
            "pair": {"checkpoint": base, "loras": [{"path": path["a-b"], "scale": 0.7}, {"path": path["a_b"], "scale": -0.4}]},
            "twice": {"checkpoint": base, "loras": [{"path": path["a-b"], "scale": 0.3}, {"path": path["a-b"], "scale": 0.4}]},
            "once": {"checkpoint": base, "loras": [{"path": path["a-b"], "scale": 0.7}]},
            "wrong": {"checkpoint": base, "loras": [{"path": path["old"]}, {"path": path["page"]}, {"path": path["missing"]}]},
            "half": {"checkpoint": base, "loras": [{"path": path["old"]}, {"path": path["a-b"], "scale": 0.7}]},
            "dead": {"checkpoint": base, "loras": [{"path": "http://127.0.0.1:9/x.safetensors"}]},
            "nowhere": {"checkpoint": "http://127.0.0.1:9/x.safetensors"},
        })  # fmt: skip
        cls.merged = cls.place / "merged"
        environment = {**os.environ, "FETTLE_PYTHON": sys.executable, "FETTLE_STATE_DIR": str(cls.place / "state")}
        os.environ["FETTLE_TEST_RETRY_MS"] = "1"
        cls.environment = environment
        cls.stack = contextlib.ExitStack()
        cls.engine = cls.stack.enter_context(engine_for(cls.place, merged=cls.merged, template=""))

    @classmethod
    def tearDownClass(cls) -> None:
        cls.stack.close()

    def test_a_job_without_loras_gets_the_base_whatever_ran_before(self) -> None:
        before = pixels(make(self.engine, "plain"))
        self.assertGreater(int(np.abs(pixels(make(self.engine, "pair")) - before).max()), 8)
        self.assertEqual(int(np.abs(pixels(make(self.engine, "plain")) - before).max()), 0)

    def test_collisions_are_kept_apart_and_no_file_is_loaded_twice(self) -> None:
        answer = make(self.engine, "pair")
        names = [lora["adapter"] for lora in answer["template"]["loras"]]
        self.assertEqual(sorted(names), ["a_b", "a_b_2"])
        loads = metric(self.engine, "fettle_lora_loads_total", outcome="loaded")
        twice, once = make(self.engine, "twice"), make(self.engine, "once")
        self.assertEqual(metric(self.engine, "fettle_lora_loads_total", outcome="loaded"), loads)
        self.assertGreater(metric(self.engine, "fettle_lora_duplicates_total", cause="named-twice"), 0)
        self.assertLessEqual(int(np.abs(pixels(twice) - pixels(once)).max()), 1)
        self.assertEqual(twice["warnings"], [])

    def test_names_are_made_safe(self) -> None:
        taken: set[str] = set()
        for stem, expected in (("a-b", ("a_b", "sanitised")), ("a_b", ("a_b_2", "numbered")), ("plain", ("plain", "kept")), ("ü é", ("___", "sanitised"))):
            self.assertEqual(adapter_name(stem, taken), expected)
            taken.add(expected[0])

    def test_what_cannot_be_loaded_is_left_out_with_a_warning(self) -> None:
        plain = pixels(make(self.engine, "plain"))
        for name in ("wrong", "dead"):
            with self.subTest(name):
                answer = make(self.engine, name)
                self.assertEqual(int(np.abs(pixels(answer) - plain).max()), 0)
                self.assertFalse(any(lora["loaded"] for lora in answer["template"]["loras"]))
                self.assertIn(f"Template {name} ran on its checkpoint alone: none of its LoRAs could be used.", answer["warnings"])
                self.assertEqual(len(answer["warnings"]), len(answer["template"]["loras"]) + 1, answer["warnings"])
        answer = make(self.engine, "half")
        self.assertEqual([lora["loaded"] for lora in answer["template"]["loras"]], [False, True])
        self.assertLessEqual(int(np.abs(pixels(answer) - pixels(make(self.engine, "once"))).max()), 1)
        self.assertGreater(metric(self.engine, "fettle_template_fallbacks_total", **{"from": "lora", "to": "base"}), 0)
        self.assertGreater(metric(self.engine, "fettle_model_downloads_total", kind="lora", outcome="failed", code="model.unreachable"), 0)

    def test_without_a_checkpoint_there_is_no_picture(self) -> None:
        answer = self.engine.post("txt2img", {**SMALL, "fettle_template": "nowhere"})
        self.assertEqual(answer.status, 500)
        self.assertRegex(answer.json["errors"], r"Cannot use template nowhere: .*127\.0\.0\.1")
        answer = self.engine.post("txt2img", {**SMALL, "fettle_template": "plian"})
        self.assertRegex(answer.json["errors"], r"has first, plain.*Did you mean \"plain\"\?")

    def test_the_merged_model_draws_what_the_loras_draw(self) -> None:
        loras = make(self.engine, "first")
        self.assertFalse(loras["template"]["merged"])
        plain = pixels(make(self.engine, "plain"))
        self.assertGreater(int(np.abs(pixels(loras) - plain).max()), 8)
        command = [*fettle(), "merge", str(self.place / "templates.json"), "--out", str(self.merged)]
        subprocess.run(command, env=self.environment, check=False, capture_output=True)
        self.assertTrue((self.merged / "first.safetensors").is_file())
        with engine_for(self.place, merged=self.merged, template="first") as engine:
            merged = make(engine, "first")
            self.assertTrue(merged["template"]["merged"])
            self.assertEqual(merged["template"]["recipe"], loras["template"]["recipe"])
            self.assertEqual(metric(engine, "fettle_lora_loads_total"), 0)
            # The merged weights are rounded to float16, those of the adapters are not.
            self.assertLess(float(np.abs(pixels(merged) - pixels(loras)).mean()), 1.0)
            self.assertLessEqual(int(np.abs(pixels(merged) - pixels(loras)).max()), 8)

            # Another strength is another recipe; and what is not whole is not used.
            text = (self.place / "templates.json").read_text()
            (self.place / "templates.json").write_text(text.replace('"unet": 0.8', '"unet": 0.9'))
            stale = make(engine, "first")
            self.assertFalse(stale["template"]["merged"])
            self.assertRegex(" ".join(stale["warnings"]), "is not of this recipe any more")
            (self.place / "templates.json").write_text(text)
            self.assertTrue(make(engine, "first")["template"]["merged"])

    def test_a_merged_model_that_cannot_be_loaded_gives_way(self) -> None:
        base, lora = workplace() / "models" / "one.safetensors", workplace() / "loras" / "a-b.safetensors"
        place = place_for("broken", {"only": {"checkpoint": str(base), "loras": [str(lora)]}})
        command = [*fettle(), "merge", str(place / "templates.json"), "--out", str(place / "merged")]
        subprocess.run(command, env=self.environment, check=True, capture_output=True)
        file = place / "merged" / "only.safetensors"
        raw = file.read_bytes()
        # Whole by its length and its stamp, but no model: its tensors have other names.
        file.write_bytes(raw.replace(b"model.diffusion_model.", b"model.diffusion_midel."))
        with engine_for(place, merged=place / "merged") as engine:
            answer = make(engine, "only")
            self.assertFalse(answer["template"]["merged"])
            self.assertTrue(answer["template"]["loras"][0]["loaded"])
            self.assertIn("The merged model cannot be loaded; the template's own files were used.", answer["warnings"])
            make(engine, "only")
            self.assertEqual(metric(engine, "fettle_template_fallbacks_total", **{"from": "merged"}), 1)


@unittest.skipIf(RUNTIME is None, "neither bun nor deno is on the PATH")
class Downloads(unittest.TestCase):
    def test_one_download_for_jobs_and_machines_that_ask_together(self) -> None:
        Files.gate.clear()
        models = workplace() / "models"
        shutil.copy(models / "one.safetensors", models / "gated.safetensors")
        self.addCleanup((models / "gated.safetensors").unlink)
        with serving(models) as url:
            place = place_for("download", {"far": {"checkpoint": f"{url}/gated.safetensors"}})
            with engine_for(place) as one, engine_for(place) as other:
                jobs = [engine.in_background("txt2img", {**SMALL, "fettle_template": "far", "force_task_id": f"job-{index}"})
                        for index, engine in enumerate((one, one, other))]  # fmt: skip
                called_off = one.in_background("txt2img", {**SMALL, "fettle_template": "far", "force_task_id": "unwanted"})

                def waiting(engine: EngineProcess, others: int) -> bool:
                    seen = engine.progress()
                    return seen["state"]["job"] == "scripts_fetch" and seen["queued"] == others

                one.until("its jobs wait", lambda: waiting(one, 2))
                other.until("its job waits", lambda: waiting(other, 0))
                self.assertEqual(one.post("interrupt?force_task_id=unwanted").json["was"], "queued")
                self.assertEqual(called_off.result().json["images"], [])
                self.assertFalse(jobs[0].done)
                Files.gate.set()
                pictures = [pixels(job.result().json) for job in jobs]
                self.assertEqual(int(np.abs(pictures[0] - pictures[2]).max()), 0)
                downloads = [metric(engine, "fettle_model_downloads_total", kind="checkpoint", outcome="downloaded") for engine in (one, other)]
                self.assertEqual(sum(downloads), 1)
                self.assertEqual(len(list((place / "volume" / ".fettle" / "blobs").glob("*/*.safetensors"))), 1)


@unittest.skipIf(RUNTIME is None, "neither bun nor deno is on the PATH")
class Memory(unittest.TestCase):
    def test_the_model_that_was_used_longest_ago_goes(self) -> None:
        models = workplace() / "models"
        for seed in (1, 2):
            make_model(f"models/lru{seed}", "--seed", str(seed))
        place = place_for("memory", {name: {"checkpoint": str(models / name)} for name in ("sdxl", "lru1", "lru2")})
        with engine_for(place, "--model-memory", "1000", template="sdxl", vae=models / "lru1" / "vae") as engine:
            make(engine, "sdxl")
            held = metric(engine, "fettle_model_cache_bytes")
        with engine_for(place, "--model-memory", str(int(held * 2.5 / 2**20)), template="sdxl") as engine:
            loads = []
            for name in ("sdxl", "lru1", "sdxl", "lru2", "sdxl", "lru1"):
                make(engine, name)
                loads.append(metric(engine, "fettle_model_loads_total", outcome="loaded"))
                self.assertLessEqual(metric(engine, "fettle_model_cache_models"), 2)
                self.assertLessEqual(metric(engine, "fettle_model_cache_bytes"), metric(engine, "fettle_model_cache_limit_bytes"))
            self.assertEqual(loads, [1, 2, 2, 3, 3, 4])
            self.assertEqual(metric(engine, "fettle_model_cache_evictions_total"), 2)


@unittest.skipIf(RUNTIME is None, "neither bun nor deno is on the PATH")
class Keeping(unittest.TestCase):
    def test_a_template_is_merged_in_the_background_and_used_then(self) -> None:
        lora = make_lora(workplace() / "loras" / "kept.safetensors", 21)
        place = place_for("keeping", {"kept": {"checkpoint": str(workplace() / "models" / "one.safetensors"), "loras": [str(lora)]}})
        with engine_for(place, "--keep-merged", merged=place / "merged") as engine:
            first = make(engine, "kept")
            self.assertFalse(first["template"]["merged"])
            engine.until("the template is merged", lambda: metric(engine, "fettle_template_merges_total", outcome="merged") == 1)
            second = make(engine, "kept")
            self.assertTrue(second["template"]["merged"], second["warnings"])
            self.assertLessEqual(int(np.abs(pixels(first) - pixels(second)).max()), 8)


class OtherVae(unittest.TestCase):
    def test_it_takes_the_place_of_one_that_needs_float32_and_a_broken_one_does_not(self) -> None:
        import torch
        from diffusers import AutoencoderKL

        import vae

        models = workplace() / "models"
        own = AutoencoderKL.from_pretrained(models / "sdxl" / "vae", variant="fp16", dtype=torch.float32)
        other = make_model("models/other", "--seed", "5", "--single-file", str(workplace() / "other.safetensors"))
        prefix = "first_stage_model."
        whole = load_file(workplace() / "other.safetensors")
        ldm = {name.removeprefix(prefix): value for name, value in whole.items() if name.startswith(prefix)}
        save_file(ldm, workplace() / "ldm-vae.safetensors")
        (workplace() / "page.safetensors").write_text("<!doctype html>")
        own.register_to_config(force_upcast=True)
        places = [other, other / "vae", other / "vae" / "diffusion_pytorch_model.fp16.safetensors", workplace() / "ldm-vae.safetensors"]
        notes: list[str] = []
        found = [vae.replaced(own, place, notes) for place in places]
        self.assertEqual(notes, [])
        weights = [one.decoder.conv_out.weight for one in found]
        for weight in weights:
            self.assertTrue(torch.equal(weight, weights[0]))
        self.assertFalse(torch.equal(weights[0], own.decoder.conv_out.weight))
        self.assertIs(vae.replaced(own, workplace() / "page.safetensors", notes), own)
        self.assertRegex(notes[0], r"The VAE page\.safetensors cannot be loaded .* the model's own was used")
        own.register_to_config(force_upcast=False)
        self.assertIs(vae.replaced(own, other, notes), own)


class PlainPrompts(unittest.TestCase):
    def test_a_prompt_that_cannot_be_embedded_is_used_plainly(self) -> None:
        import prompt

        class Broken:
            kind, components = "sdxl", {"tokenizer": None, "text_encoder": None, "tokenizer_2": None, "text_encoder_2": None}

        arguments, notes = prompt.encode_or_plain(Broken(), "a (cat:1.2) <lora:x:1>", "(bad)", 1)
        self.assertEqual(arguments, {"prompt": "a cat ", "negative_prompt": "bad"})
        self.assertRegex(notes[0], "used plainly and cut at 77 tokens")


class Names(unittest.TestCase):
    def test_every_count_is_in_the_docs(self) -> None:
        text = (ROOT / "docs" / "templates.md").read_text()
        self.assertEqual([name for name in counters.FAMILIES if f"`{name}`" not in text], [])

    def test_what_is_not_in_the_table_cannot_be_counted(self) -> None:
        with self.assertRaises(KeyError):
            counters.count("fettle_misspelt_total")


if __name__ == "__main__":
    unittest.main()
