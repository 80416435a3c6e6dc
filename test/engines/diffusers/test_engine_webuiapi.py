"""A public A1111 client library drives the engine: webuiapi, as its own users call it."""

from __future__ import annotations

import threading
import unittest

from engine_process import LONG, shared_engine
from PIL import Image

try:
    import webuiapi
except ImportError:
    webuiapi = None


@unittest.skipIf(webuiapi is None, "webuiapi is not installed: pip install webuiapi")
class WebUIApi(unittest.TestCase):
    def setUp(self) -> None:
        self.engine = shared_engine()
        self.api = webuiapi.WebUIApi(host="127.0.0.1", port=self.engine.port, sampler="Euler a", steps=4)

    def test_txt2img(self) -> None:
        result = self.api.txt2img(prompt="a cat", negative_prompt="ugly", seed=3, width=64, height=64, cfg_scale=7)
        self.assertEqual((result.image.size, result.info["seed"], result.info["sampler_name"]), ((64, 64), 3, "Euler a"))
        self.assertEqual(result.parameters["steps"], 4)
        self.assertTrue(result.image.info["parameters"].startswith("a cat\nNegative prompt: ugly\nSteps: 4"))
        hires = self.api.txt2img(prompt="a cat", width=64, height=64, enable_hr=True, hr_scale=2, hr_upscaler=webuiapi.HiResUpscaler.Latent)
        self.assertEqual(hires.image.size, (128, 128))

    def test_img2img_and_inpainting(self) -> None:
        image = Image.new("RGB", (64, 64), "teal")
        mask = Image.new("RGB", (64, 64))
        mask.paste((255, 255, 255), (0, 0, 32, 64))
        result = self.api.img2img(images=[image], prompt="a dog", seed=5, width=64, height=64, denoising_strength=0.5)
        self.assertEqual(result.image.size, (64, 64))
        inpainted = self.api.img2img(images=[image], mask_image=mask, inpainting_fill=1, prompt="a dog", width=64, height=64)
        self.assertEqual(inpainted.image.getpixel((60, 30)), (0, 128, 128))

    def test_listings(self) -> None:
        self.assertIn("Euler a", self.api.util_get_sampler_names())
        self.assertIn("karras", self.api.util_get_scheduler_names())
        self.assertEqual(len(self.api.util_get_model_names()), 4)
        for call in (
            self.api.get_upscalers, self.api.get_latent_upscale_modes, self.api.get_loras, self.api.get_sd_vae,
            self.api.get_hypernetworks, self.api.get_face_restorers, self.api.get_realesrgan_models, self.api.get_prompt_styles,
            self.api.get_cmd_flags, self.api.get_memory, self.api.get_embeddings, self.api.get_scripts, self.api.refresh_checkpoints,
        ):  # fmt: skip
            call()

    def test_options_and_models(self) -> None:
        self.api.set_options({"CLIP_stop_at_last_layers": 2})
        self.assertEqual(self.api.get_options()["CLIP_stop_at_last_layers"], 2)
        self.api.set_options({"CLIP_stop_at_last_layers": 1})
        title = next(name for name in self.api.util_get_model_names() if name.startswith("sd15"))
        self.api.util_set_model(title, find_closest=False)
        self.assertTrue(self.api.util_get_current_model().startswith("sd15"))
        self.api.set_options({"sd_model_checkpoint": "sdxl"})

    def test_progress_and_interrupt(self) -> None:
        results = []
        worker = threading.Thread(target=lambda: results.append(self.api.txt2img(prompt="a", width=64, height=64, steps=LONG["steps"])))
        worker.start()
        other = webuiapi.WebUIApi(host="127.0.0.1", port=self.engine.port)
        self.engine.until("progress", lambda: 0.0 < other.get_progress()["progress"] < 1.0 and other.get_progress()["state"]["sampling_step"] > 0)
        other.interrupt()
        worker.join(60)
        self.assertEqual(len(results[0].images), 1)
        other.util_wait_for_ready(check_interval=0.05)

    def test_png_info_and_extras(self) -> None:
        result = self.api.txt2img(prompt="a cat", width=64, height=64, seed=1)
        read = self.api.png_info(result.image)
        self.assertTrue(read.info.startswith("a cat\nSteps: 4"))
        self.assertEqual(self.api.extra_single_image(result.image, upscaler_1=webuiapi.Upscaler.Lanczos, upscaling_resize=2).image.size, (128, 128))


if __name__ == "__main__":
    unittest.main()
