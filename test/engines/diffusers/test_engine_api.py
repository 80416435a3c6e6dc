"""Shapes and statuses of the API: every listing, the error table, hostile input."""

from __future__ import annotations

import base64
import io
import json
import unittest
from typing import Any

from engine_process import SMALL, EngineProcess, shared_engine, workplace
from PIL import Image


class Listings(unittest.TestCase):
    def setUp(self) -> None:
        self.engine = shared_engine()

    def test_empty_lists(self) -> None:
        for name in ("sd-vae", "loras", "hypernetworks", "face-restorers", "prompt-styles", "realesrgan-models", "script-info", "extensions"):
            with self.subTest(name):
                answer = self.engine.get(name)
                self.assertEqual((answer.status, answer.json), (200, []))

    def test_models_have_a1111_fields(self) -> None:
        models = self.engine.get("sd-models").json
        self.assertEqual({m["model_name"] for m in models}, {"sdxl", "sd15", "one", "half"})
        for model in models:
            self.assertEqual(set(model), {"title", "model_name", "hash", "sha256", "filename", "config"})

    def test_samplers_and_schedulers(self) -> None:
        samplers = self.engine.get("samplers").json
        self.assertEqual(samplers[0]["name"], "DPM++ 2M")
        self.assertTrue(all(set(s) == {"name", "aliases", "options"} for s in samplers))
        schedulers = self.engine.get("schedulers").json
        self.assertEqual(schedulers[0]["label"], "Automatic")
        self.assertTrue(all(set(s) == {"name", "label", "aliases", "default_rho", "need_inner_model"} for s in schedulers))

    def test_others(self) -> None:
        self.assertEqual(self.engine.get("scripts").json, {"txt2img": [], "img2img": []})
        self.assertEqual(self.engine.get("embeddings").json, {"loaded": {}, "skipped": {}})
        self.assertIn({"name": "Latent"}, self.engine.get("latent-upscale-modes").json)
        self.assertIn("Lanczos", [u["name"] for u in self.engine.get("upscalers").json])
        self.assertEqual(self.engine.get("cmd-flags").json["api"], True)
        memory = self.engine.get("memory").json
        self.assertEqual(set(memory["ram"]), {"free", "used", "total"})
        self.assertIn("cuda", memory)
        self.assertEqual(self.engine.post("refresh-checkpoints").json, None)
        self.assertEqual(self.engine.post("skip").json, None)
        self.assertEqual(self.engine.post("interrupt").json, {})
        self.assertEqual(self.engine.request("GET", "/internal/ping").json, {})
        self.assertEqual(self.engine.request("GET", "/internal/ready").status, 200)
        self.assertEqual(self.engine.request("GET", "/openapi.json").status, 200)

    def test_idle_progress(self) -> None:
        progress = self.engine.get("progress").json
        self.assertEqual((progress["progress"], progress["state"]["job_count"]), (0.0, 0))
        self.assertEqual(
            set(progress["state"]),
            {"skipped", "interrupted", "stopping_generation", "job", "job_count", "job_timestamp", "job_no", "sampling_step", "sampling_steps"},
        )

    def test_options(self) -> None:
        options = self.engine.get("options").json
        self.assertTrue(options["sd_model_checkpoint"].startswith("sdxl"))
        self.assertEqual(options["samples_format"], "png")
        self.assertEqual(self.engine.post("options", {"jpeg_quality": 70, "some_extension_setting": [1]}).json, None)
        options = self.engine.get("options").json
        self.assertEqual((options["jpeg_quality"], options["some_extension_setting"]), (70, [1]))
        self.engine.post("options", {"jpeg_quality": 80})
        self.assertEqual(self.engine.post("options", {"CLIP_stop_at_last_layers": "two"}).status, 422)

    def test_unload_and_reload(self) -> None:
        self.engine.post("txt2img", SMALL)
        self.assertEqual(self.engine.post("unload-checkpoint").json, {})
        self.assertEqual(self.engine.request("GET", "/internal/ready").json["model"], "waiting")
        self.assertEqual(self.engine.post("reload-checkpoint").json, {})
        self.assertEqual(self.engine.request("GET", "/internal/ready").json["model"], "loaded")


class Errors(unittest.TestCase):
    def setUp(self) -> None:
        self.engine = shared_engine()

    def assert_error(self, answer: Any, status: int, error: str, detail: str | None = None) -> Any:
        self.assertEqual(answer.status, status, answer.body[:300])
        body = answer.json
        self.assertEqual(set(body), {"error", "detail", "body", "errors"})
        self.assertEqual(body["error"], error)
        if detail is not None:
            self.assertEqual(body["detail"], detail)
        return body

    def test_wrong_type_and_bad_json(self) -> None:
        answer = self.engine.post("txt2img", {"steps": "many"})
        self.assertEqual(answer.status, 422)
        self.assertEqual(answer.json["detail"][0]["loc"], ["body", "steps"])
        self.assertEqual(set(answer.json["detail"][0]), {"loc", "msg", "type"})
        self.assertEqual(self.engine.post("txt2img", raw=b"{").status, 422)

    def test_unknown_script(self) -> None:
        for body in ({"script_name": "x/y"}, {"alwayson_scripts": {"x/y": {"args": []}}}):
            self.assert_error(self.engine.post("txt2img", body), 422, "HTTPException", "Script 'x/y' not found")

    def test_init_images(self) -> None:
        self.assert_error(self.engine.post("img2img", {}), 404, "HTTPException", "Init image not found")
        self.assert_error(self.engine.post("img2img", {"init_images": ["zzzz"]}), 500, "HTTPException", "Invalid encoded image")
        self.assert_error(self.engine.post("img2img", {"init_images": ["http://127.0.0.1/x.png"]}), 500, "HTTPException", "Requests not allowed")
        self.assert_error(self.engine.post("png-info", {"image": "AAAA"}), 500, "HTTPException", "Invalid encoded image")

    def test_values_no_picture_can_have(self) -> None:
        for wrong in ({"width": 0}, {"height": 7}, {"steps": 0}, {"steps": -4}, {"batch_size": 0}, {"n_iter": 0}):
            with self.subTest(wrong):
                body = self.assert_error(self.engine.post("txt2img", {**SMALL, **wrong}), 500, "ValueError", "")
                self.assertIn(next(iter(wrong)), body["errors"])

    def test_unknown_model_in_options(self) -> None:
        body = self.assert_error(self.engine.post("options", {"sd_model_checkpoint": "nothing"}), 500, "RuntimeError")
        self.assertEqual(body["errors"], "model 'nothing' not found")

    def test_routes_and_methods(self) -> None:
        self.assertEqual((self.engine.get("nothing").status, self.engine.get("nothing").json), (404, {"detail": "Not Found"}))
        self.assertEqual((self.engine.get("txt2img").status, self.engine.get("txt2img").json), (405, {"detail": "Method Not Allowed"}))

    def test_nan(self) -> None:
        # A weight of 400 digits is infinite as a number; what comes out of the text encoder then is NaN.
        body = self.assert_error(self.engine.post("txt2img", {**SMALL, "prompt": f"(cat:{'9' * 400})"}), 500, "NansException")
        self.assertIn("A tensor with NaNs was produced in Unet.", body["errors"])

    def test_more_pixels_than_allowed(self) -> None:
        self.assertEqual(self.engine.post("txt2img", {**SMALL, "width": 200000, "height": 200000}).status, 422)
        self.assert_error(self.engine.post("txt2img", {**SMALL, "width": 4096, "height": 4096}), 422, "HTTPException")
        self.assertEqual(self.engine.post("txt2img", {**SMALL, "enable_hr": True, "hr_scale": 16, "width": 512, "height": 512}).status, 422)


class Hostile(unittest.TestCase):
    """Whatever comes in, an answer goes out and the same process makes the next picture."""

    def setUp(self) -> None:
        self.engine = shared_engine()
        self.pid = self.engine.process.pid

    def tearDown(self) -> None:
        self.assertEqual(self.engine.post("txt2img", SMALL).status, 200)
        self.assertIsNone(self.engine.process.poll())

    def test_wrong_types_in_every_field(self) -> None:
        fields = self.engine.request("GET", "/openapi.json").json["components"]["schemas"]
        for route, schema in (("txt2img", "Txt2Img"), ("img2img", "Img2Img")):
            for name in fields[schema]["properties"]:
                for value in ({"a": [1]}, [[]], "\x00\ud800", 1e308, -(10**30)):
                    body = {**SMALL, "init_images": ["x"], name: value}
                    answer = self.engine.post(route, body)
                    self.assertIn(answer.status, (200, 400, 404, 422, 500, 503), (name, value))
                    self.assertIsInstance(answer.json, dict)

    def test_bodies_that_are_no_request(self) -> None:
        for raw in (b"", b"null", b"[]", b'"x"', b"\xff\xfe", b"\x00", b"{" * 100, b"NaN", b'{"steps": NaN}', b'{"cfg_scale": Infinity}'):
            with self.subTest(raw[:20]):
                self.assertIn(self.engine.post("txt2img", raw=raw).status, (400, 422))

    def test_deep_nesting(self) -> None:
        for depth in (500, 100_000):
            raw = b'{"alwayson_scripts":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
            self.assertIn(self.engine.post("txt2img", raw=raw).status, (400, 422, 500))
            raw = b'{"script_args":' + b"[" * depth + b"]" * depth + b',"steps":1,"width":64,"height":64}'
            self.assertIn(self.engine.post("txt2img", raw=raw).status, (200, 400, 422, 500))

    def test_fifty_megabytes_of_prompt(self) -> None:
        answer = self.engine.post("txt2img", {**SMALL, "prompt": "x" * 50_000_000})
        self.assertEqual(answer.status, 422)
        self.assertLess(len(answer.body), 1000)

    def test_long_and_bracketed_prompts(self) -> None:
        for prompt in ("(" * 20000, "(a" * 20000, "[a:" * 20000, "a, " * 3000, "\\" * 9999, "<lora:" * 999):
            with self.subTest(prompt[:6]):
                answer = self.engine.post("txt2img", {**SMALL, "steps": 1, "prompt": prompt})
                self.assertEqual(answer.status, 200, answer.body[:300])

    def test_odd_characters(self) -> None:
        for prompt in ("nul \x00 nul", "Привет 你好 🐈", "\r\n\t", "<|endoftext|><|startoftext|>", 'a "quoted": b,\nSteps: 3'):
            with self.subTest(prompt):
                answer = self.engine.post("txt2img", {**SMALL, "prompt": prompt})
                self.assertEqual(answer.status, 200, answer.body[:300])
                self.assertEqual(json.loads(answer.json["info"])["prompt"], prompt)
        self.assertEqual(self.engine.post("txt2img", raw=b'{"prompt": "\\ud800"}').status, 422)

    def test_pictures_that_are_none(self) -> None:
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64)).save(buffer, "PNG")
        whole = buffer.getvalue()
        for data in (b"", whole[:60], b"\x89PNG\r\n\x1a\n" + b"\x00" * 99, whole.replace(b"IDAT", b"IDAX"), b"GIF89a" + b"\xff" * 50):
            body = {**SMALL, "init_images": [base64.b64encode(data).decode()]}
            self.assertIn(self.engine.post("img2img", body).status, (404, 500))


class Guarded(unittest.TestCase):
    """An engine with users and a small body limit. It never gets to load a model; listing needs none."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.engine = EngineProcess("--max-body-mb", "1", environment={"FETTLE_API_AUTH": "ann:secret,bob:other"})

    @classmethod
    def tearDownClass(cls) -> None:
        cls.engine.stop()

    def test_basic(self) -> None:
        for given, status, detail in ((None, 401, "Not authenticated"), (b"ann:wrong", 401, "Incorrect username or password"), (b"bob:other", 200, None)):
            headers = {"Authorization": "Basic " + base64.b64encode(given).decode()} if given else {}
            answer = self.engine.get("sd-models", headers=headers)
            self.assertEqual(answer.status, status)
            if detail:
                self.assertEqual((answer.json["error"], answer.json["detail"]), ("HTTPException", detail))
        self.assertEqual(self.engine.request("GET", "/internal/ping").status, 200)
        flags = self.engine.get("cmd-flags", headers={"Authorization": "Basic " + base64.b64encode(b"ann:secret").decode()})
        self.assertNotIn(b"secret", flags.body)

    def test_body_limit(self) -> None:
        headers = {"Authorization": "Basic " + base64.b64encode(b"ann:secret").decode()}
        answer = self.engine.post("png-info", raw=b'{"image":"' + b"A" * 2_000_000 + b'"}', headers=headers)
        self.assertEqual(answer.status, 413)

    def test_no_model(self) -> None:
        headers = {"Authorization": "Basic " + base64.b64encode(b"ann:secret").decode()}
        self.assertEqual(self.engine.get("sd-models", headers=headers).json, [])
        answer = self.engine.post("txt2img", SMALL, headers=headers)
        self.assertEqual((answer.status, answer.json["error"]), (500, "FileNotFoundError"))
        self.assertIn("No checkpoints found", answer.json["errors"])


def load_tests(loader: unittest.TestLoader, tests: unittest.TestSuite, pattern: str | None) -> unittest.TestSuite:
    workplace()
    return tests


if __name__ == "__main__":
    unittest.main()
