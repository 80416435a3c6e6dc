"""Several requests in one pass: each gets its own picture and info, and what cannot share a pass is refused."""

from __future__ import annotations

import base64
import io
import json
import unittest
from typing import Any

import numpy as np
from engine_process import LONG, SMALL, shared_engine
from PIL import Image


def picture_of(answer: Any) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))), dtype=np.int16)


class Batches(unittest.TestCase):
    def setUp(self) -> None:
        self.engine = shared_engine()

    def batch(self, *requests: Any) -> Any:
        return self.engine.post("txt2img-batch", {"requests": list(requests)})

    def test_each_request_gets_what_it_would_get_alone(self) -> None:
        for sampler in ("Euler", "Euler a"):
            with self.subTest(sampler):
                requests = [
                    {**SMALL, "sampler_name": sampler, "prompt": prompt, "negative_prompt": negative, "seed": seed, "subseed": 9}
                    for prompt, negative, seed in (("a cat", "", 1), ("(a dog:1.2)", "blurry", 2), ("a cat", "", 3))
                ]
                answer = self.batch(*requests)
                self.assertEqual(answer.status, 200, answer.body[:500])
                lines = [json.loads(line) for line in answer.body.split(b"\n")]
                self.assertEqual(len(lines), 3)
                for request, line in zip(requests, lines, strict=True):
                    alone = self.engine.post("txt2img", request).json
                    self.assertEqual(line["parameters"], alone["parameters"])
                    info, lone = json.loads(line["info"]), json.loads(alone["info"])
                    self.assertEqual({**info, "job_timestamp": ""}, {**lone, "job_timestamp": ""})
                    # A network adds up in another order when it works on several at once.
                    self.assertLessEqual(int(np.abs(picture_of(line) - picture_of(alone)).max()), 2)

    def test_a_random_seed_is_one_for_each(self) -> None:
        lines = [json.loads(line) for line in self.batch(*[{**SMALL, "seed": -1}] * 2).body.split(b"\n")]
        self.assertNotEqual(json.loads(lines[0]["info"])["seed"], json.loads(lines[1]["info"])["seed"])

    def test_what_cannot_share_a_pass_is_refused(self) -> None:
        for odd in ({"steps": 4}, {"width": 128}, {"prompt": "word " * 100}):
            with self.subTest(odd):
                answer = self.batch(SMALL, {**SMALL, **odd})
                self.assertEqual((answer.status, answer.json["error"]), (500, "BatchError"))
        for both in ({"n_iter": 2}, {"batch_size": 2}, {"enable_hr": True}, {"subseed_strength": 0.5}):
            with self.subTest(both):
                self.assertEqual(self.batch({**SMALL, **both}, {**SMALL, **both}).json["error"], "BatchError")
        self.assertEqual(self.engine.post("txt2img-batch", {"requests": []}).status, 422)

    def test_an_interrupt_by_name_ends_the_whole_batch(self) -> None:
        request = self.engine.in_background("txt2img-batch", {"requests": [LONG, {**LONG, "seed": 8}], "force_task_id": "both"})
        self.engine.until("sampling", lambda: self.engine.progress()["state"]["sampling_step"] > 0 and self.engine.progress()["current_task"] == "both")
        self.assertEqual(self.engine.post("interrupt?force_task_id=both").json["was"], "running")
        lines = [json.loads(line) for line in request.result().body.split(b"\n")]
        self.assertTrue(all(json.loads(line["info"])["interrupted"] for line in lines))


if __name__ == "__main__":
    unittest.main()
