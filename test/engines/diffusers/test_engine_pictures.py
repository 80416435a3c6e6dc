"""What comes out: determinism, seeds, samplers, infotext, img2img, inpainting, hires fix, saving, formats."""

from __future__ import annotations

import base64
import io
import json
import unittest
from typing import Any

from engine_process import SMALL, shared_engine, workplace
from PIL import Image, ImageChops, ImageDraw, ImageStat


def picture(answer: Any, index: int = 0) -> Image.Image:
    if answer.status != 200:
        raise AssertionError(f"{answer.status}: {answer.body[:500]!r}")
    return Image.open(io.BytesIO(base64.b64decode(answer.json["images"][index])))


def info(answer: Any) -> Any:
    if answer.status != 200:
        raise AssertionError(f"{answer.status}: {answer.body[:500]!r}")
    return json.loads(answer.json["info"])


def to_base64(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def same(a: Image.Image, b: Image.Image) -> bool:
    return ImageChops.difference(a.convert("RGB"), b.convert("RGB")).getbbox() is None


def close(a: Image.Image, b: Image.Image) -> bool:
    """Same up to rounding: sums of floats come in another order in a batch."""
    return max(ImageStat.Stat(ImageChops.difference(a.convert("RGB"), b.convert("RGB"))).mean) < 0.5


def scene(width: int = 64, height: int = 64) -> Image.Image:
    image = Image.new("RGB", (width, height), "navy")
    ImageDraw.Draw(image).ellipse((8, 8, width - 8, height - 8), fill="orange")
    return image


class Txt2Img(unittest.TestCase):
    def setUp(self) -> None:
        self.engine = shared_engine()

    def make(self, **fields: Any) -> Any:
        return self.engine.post("txt2img", {**SMALL, **fields})

    def test_same_seed_same_picture(self) -> None:
        first, again, other = self.make(), self.make(), self.make(seed=8)
        self.assertEqual(first.json["images"], again.json["images"])
        self.assertFalse(same(picture(first), picture(other)))
        self.assertFalse(same(picture(first), picture(self.make(prompt="a dog"))))
        self.assertGreater(min(ImageStat.Stat(picture(first).convert("RGB")).stddev), 5, "the picture is not of one colour")

    def test_echo_and_defaults(self) -> None:
        answer = self.make(nonsense=1, subseed=None)
        echo = answer.json["parameters"]
        self.assertEqual((echo["steps"], echo["cfg_scale"], echo["sampler_index"], echo["override_settings_restore_afterwards"]), (3, 7.0, "Euler", True))
        self.assertNotIn("nonsense", echo)
        schema = self.engine.request("GET", "/openapi.json").json["components"]["schemas"]["Txt2Img"]["properties"]
        self.assertEqual((schema["steps"]["default"], schema["width"]["default"], schema["seed"]["default"]), (50, 512, -1))

    def test_batches_and_seeds(self) -> None:
        answer = self.make(batch_size=2, n_iter=2, seed=10)
        self.assertEqual(len(answer.json["images"]), 4)
        self.assertEqual(info(answer)["all_seeds"], [10, 11, 12, 13])
        self.assertFalse(close(picture(answer, 2), picture(answer, 3)))
        self.assertTrue(close(picture(answer, 3), picture(self.make(seed=13))), "a seed gives one picture, alone or in a batch")
        random = info(self.make(seed=-1))
        self.assertGreaterEqual(random["seed"], 0)

    def test_infotext(self) -> None:
        answer = self.make(negative_prompt="blurry, text", sampler_name="DPM++ 2M", scheduler="Karras")
        text = picture(answer).info["parameters"]
        self.assertEqual(text, info(answer)["infotexts"][0])
        self.assertRegex(
            text,
            r"^a cat\nNegative prompt: blurry, text\nSteps: 3, Sampler: DPM\+\+ 2M, Schedule type: Karras, CFG scale: 7.0, "
            r"Seed: 7, Size: 64x64, Model hash: [0-9a-f]{10}, Model: sdxl, RNG: CPU, Version: \S+$",
        )
        # The real A1111 names the schedule that a sampler takes by itself; "Automatic" stands for samplers without one.
        self.assertEqual(info(answer)["extra_generation_params"], {"Schedule type": "Karras"})
        self.assertEqual(info(self.make(sampler_name="Euler"))["extra_generation_params"], {})
        source = {"init_images": answer.json["images"], "denoising_strength": 0.5, "sampler_name": "Euler"}
        again = info(self.engine.post("img2img", {**SMALL, **source}))
        self.assertEqual(again["extra_generation_params"], {"Denoising strength": 0.5})
        read = self.engine.post("png-info", {"image": answer.json["images"][0]}).json
        self.assertEqual(read["info"], text)
        self.assertEqual(read["items"]["parameters"], text)
        self.assertEqual((read["parameters"]["Prompt"], read["parameters"]["Negative prompt"]), ("a cat", "blurry, text"))
        self.assertEqual((read["parameters"]["Size-1"], read["parameters"]["Seed"]), ("64", "7"))

    def test_formats_keep_the_infotext(self) -> None:
        for name, kind in (("jpg", "JPEG"), ("webp", "WEBP")):
            answer = self.make(override_settings={"samples_format": name})
            self.assertEqual(picture(answer).format, kind)
            read = self.engine.post("png-info", {"image": answer.json["images"][0]}).json
            self.assertEqual(read["info"], info(answer)["infotexts"][0])

    def test_every_sampler_and_schedule(self) -> None:
        plain = picture(self.make(sampler_name="Euler", steps=4))
        for sampler in self.engine.get("samplers").json:
            for steps in (1, 4):
                with self.subTest(sampler["name"], steps=steps):
                    answer = self.make(sampler_name=sampler["name"], steps=steps)
                    self.assertEqual((info(answer)["sampler_name"], info(answer)["warnings"]), (sampler["name"], []))
        for schedule in self.engine.get("schedulers").json:
            for sampler in ("DPM++ 2M", "LMS"):
                with self.subTest(schedule["label"], sampler=sampler):
                    self.assertEqual(info(self.make(sampler_name=sampler, scheduler=schedule["label"], steps=4))["warnings"], [])
        self.assertFalse(same(plain, picture(self.make(sampler_name="Euler", scheduler="Karras", steps=4))))

    def test_names_are_corrected_aloud(self) -> None:
        answer = info(self.make(sampler_name="DPM++ 2M SDE Karras"))
        self.assertEqual((answer["sampler_name"], answer["scheduler"], answer["warnings"]), ("DPM++ 2M SDE", "Karras", []))
        answer = info(self.make(sampler_name="Magic", scheduler="Wave"))
        self.assertEqual((answer["sampler_name"], len(answer["warnings"])), ("DPM++ 2M", 2))
        self.assertEqual(info(self.make(sampler_name="k_euler_a"))["sampler_name"], "Euler a")

    def test_ignored_fields_are_told(self) -> None:
        answer = info(self.make(styles=["x"], restore_faces=True, prompt="cat <lora:thing:0.8>", override_settings={"sd_vae": "other"}))
        self.assertEqual(len(answer["warnings"]), 4, answer["warnings"])

    def test_size_is_rounded_down(self) -> None:
        answer = self.make(width=70, height=79)
        self.assertEqual(picture(answer).size, (64, 72))
        self.assertEqual((info(answer)["width"], info(answer)["height"]), (70, 79))

    def test_prompt_weights_breaks_and_length(self) -> None:
        plain = picture(self.make(prompt="cat house"))
        self.assertFalse(same(plain, picture(self.make(prompt="(cat:1.5) house"))))
        self.assertTrue(same(plain, picture(self.make(prompt="(cat:1.0) house"))))
        self.assertFalse(same(plain, picture(self.make(prompt="cat BREAK house"))))
        long = "word, " * 60
        self.assertFalse(same(picture(self.make(prompt=long + "cat")), picture(self.make(prompt=long + "dog"))), "words past token 77 count")
        self.assertEqual(info(self.make(prompt=long))["warnings"], [])

    def test_clip_skip_moves_sd15_only(self) -> None:
        for model, moved in (("sd15", True), ("sdxl", False)):
            one = picture(self.make(override_settings={"sd_model_checkpoint": model}))
            answer = self.make(override_settings={"sd_model_checkpoint": model, "CLIP_stop_at_last_layers": 2})
            self.assertEqual(not same(one, picture(answer)), moved)
            self.assertIn("Clip skip: 2", info(answer)["infotexts"][0])

    def test_subseed(self) -> None:
        plain = picture(self.make())
        answer = self.make(subseed=3, subseed_strength=0.4, batch_size=2)
        self.assertFalse(same(plain, picture(answer)))
        self.assertEqual((info(answer)["all_seeds"], info(answer)["all_subseeds"]), ([7, 7], [3, 4]))
        self.assertIn("Variation seed: 3, Variation seed strength: 0.4", info(answer)["infotexts"][0])
        self.assertTrue(close(picture(self.make(subseed=7, seed=1, subseed_strength=1)), plain), "at strength 1 the subseed alone decides")

    def test_hires(self) -> None:
        for upscaler in ("Latent", "Latent (bicubic antialiased)", "Latent (nearest-exact)", "Lanczos", None):
            answer = self.make(enable_hr=True, hr_scale=1.5, hr_upscaler=upscaler, denoising_strength=0.6)
            self.assertEqual(picture(answer).size, (96, 96))
            self.assertIn("Denoising strength: 0.6", info(answer)["infotexts"][0])
            self.assertIn("Hires upscale: 1.5", info(answer)["infotexts"][0])
        self.assertEqual(picture(self.make(enable_hr=True, hr_resize_x=128, hr_resize_y=80)).size, (128, 80))
        self.assertEqual(self.make(enable_hr=True, hr_upscaler="Magic").status, 500)

    def test_saving_and_the_grid(self) -> None:
        answer = self.make(save_images=True, batch_size=2, n_iter=2)
        self.assertEqual((len(answer.json["images"]), info(answer)["index_of_first_image"]), (5, 1))
        self.assertEqual(picture(answer, 0).size, (128, 128))
        self.assertEqual(len(info(answer)["infotexts"]), 5)
        saved = sorted((workplace() / "out").glob("txt2img-images/*/*.png"))
        self.assertEqual([file.stem.partition("-")[2] for file in saved], ["7", "8", "9", "10"])
        self.assertEqual(saved[0].read_bytes(), base64.b64decode(answer.json["images"][1]))
        self.assertEqual(self.make(send_images=False).json["images"], [])


class Img2Img(unittest.TestCase):
    def setUp(self) -> None:
        self.engine = shared_engine()

    def make(self, image: Image.Image | None = None, **fields: Any) -> Any:
        return self.engine.post("img2img", {**SMALL, "steps": 6, "init_images": [to_base64(image or scene())], **fields})

    def test_strength(self) -> None:
        weak, strong = picture(self.make(denoising_strength=0.2)), picture(self.make(denoising_strength=1.0))
        self.assertFalse(same(weak, strong))
        other = scene().transpose(Image.Transpose.ROTATE_90).point(lambda v: 255 - v)
        self.assertFalse(same(weak, picture(self.make(other, denoising_strength=0.2))), "the init image matters")
        self.assertEqual(picture(self.make(denoising_strength=0.0)).size, (64, 64))
        self.assertEqual(info(self.make())["denoising_strength"], 0.75)
        self.assertEqual(self.make().json["images"], self.make().json["images"])

    def test_echo_has_no_pictures_unless_asked(self) -> None:
        self.assertIsNone(self.make().json["parameters"]["init_images"])
        self.assertEqual(len(self.make(include_init_images=True).json["parameters"]["init_images"]), 1)

    def test_resize_modes(self) -> None:
        for mode in (0, 1, 2):
            self.assertEqual(picture(self.make(scene(200, 50), resize_mode=mode, width=64, height=96)).size, (64, 96))
        self.assertEqual(picture(self.make(scene(50, 200), resize_mode=2, width=64, height=64)).size, (64, 64))
        self.assertEqual(len(info(self.make(resize_mode=3))["warnings"]), 1)

    def test_batches(self) -> None:
        answer = self.make(batch_size=2, n_iter=2)
        self.assertEqual(len(answer.json["images"]), 4)
        two = self.make(batch_size=2, init_images=[to_base64(scene()), to_base64(scene().rotate(90))])
        self.assertEqual(len(two.json["images"]), 2)
        self.assertEqual(self.make(init_images=[to_base64(scene())] * 3).status, 500)

    def test_transparent_and_grey_pictures(self) -> None:
        for mode in ("RGBA", "L", "P", "LA", "1"):
            self.assertEqual(picture(self.make(scene().convert(mode))).size, (64, 64))

    def test_samplers(self) -> None:
        for sampler in self.engine.get("samplers").json:
            with self.subTest(sampler["name"]):
                self.assertEqual(self.make(sampler_name=sampler["name"], denoising_strength=0.4).status, 200)

    def test_mask_keeps_what_is_not_white(self) -> None:
        mask = Image.new("L", (64, 64))
        mask.paste(255, (32, 0, 64, 64))
        for fields in ({"inpaint_full_res": False}, {"inpaint_full_res": True, "inpaint_full_res_padding": 4}):
            for fill in (0, 1, 2, 3):
                with self.subTest(fields, fill=fill):
                    answer = self.make(mask=to_base64(mask), mask_blur=0, inpainting_fill=fill, denoising_strength=0.9, **fields)
                    result = picture(answer)
                    self.assertTrue(same(result.crop((0, 0, 31, 64)), scene().crop((0, 0, 31, 64))), "the black half is untouched")
                    self.assertFalse(same(result.crop((33, 0, 64, 64)), scene().crop((33, 0, 64, 64))))
                    self.assertEqual(len(info(answer)["warnings"]), 1 if fill > 1 else 0)
        inverted = picture(self.make(mask=to_base64(mask), mask_blur=0, inpainting_mask_invert=1, inpaint_full_res=False))
        self.assertTrue(same(inverted.crop((33, 0, 64, 64)), scene().crop((33, 0, 64, 64))))

    def test_only_masked_keeps_the_size_of_the_picture(self) -> None:
        mask = Image.new("L", (160, 120))
        mask.paste(255, (20, 20, 50, 60))
        result = picture(self.make(scene(160, 120), mask=to_base64(mask), mask_blur=2))
        self.assertEqual(result.size, (160, 120))
        self.assertTrue(same(result.crop((80, 0, 160, 120)), scene(160, 120).crop((80, 0, 160, 120))))

    def test_black_mask(self) -> None:
        self.assertTrue(same(picture(self.make(mask=to_base64(Image.new("L", (64, 64))))), scene()))


if __name__ == "__main__":
    unittest.main()
