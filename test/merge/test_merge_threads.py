"""Several threads and both kernels: the same bytes; failures with their cause, and a stop in the middle leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from typing import Any

import numpy as np
from helper_run import HELPER, run_helper
from safetensors.numpy import load_file, save_file
from test_merge_robustness import make_files

sys.path.insert(0, str(HELPER))

from kernel import choose_kernel
from shelf import IN_MEMORY_BYTES, Shelf

LIMIT_S = 60


class Threads(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="fettle-threads-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.base, self.lora = make_files(self.folder, 12, 256)
        self.outs = self.folder / "outs"
        self.outs.mkdir()
        self.out = self.outs / "merged.safetensors"

    def request(self, **more: Any) -> dict[str, Any]:
        return {"base": str(self.base), "loras": [{"path": str(self.lora)}], "out": str(self.out), "threads": 2, "sync": False, **more}

    def start(self) -> subprocess.Popen[str]:
        driver = [sys.executable, "-B", str(Path(__file__).with_name("held_merge.py")), str(self.folder), json.dumps(self.request())]
        child = subprocess.Popen(driver, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(child.communicate)
        self.addCleanup(child.kill)
        return child

    def wait_until_held(self) -> None:
        end = time.monotonic() + LIMIT_S
        path = self.folder / "held"
        while not path.exists() or len(set(path.read_text().splitlines())) < 2:
            self.assertLess(time.monotonic(), end, "two threads hold")
            time.sleep(0.002)

    def end(self, child: subprocess.Popen[str]) -> dict[str, Any]:
        """Its last line; nothing may be on stderr."""
        out, err = child.communicate(timeout=LIMIT_S)
        self.assertEqual(err, "", err)
        return json.loads(out.splitlines()[-1])

    def test_threads_and_kernels_give_the_same_bytes(self) -> None:
        for dtype in ("keep", "bf16"):
            outputs = set()
            for kernel in ("auto", "numpy"):
                for threads in (1, 2, 3):
                    lines = run_helper(self.request(threads=threads, kernel=kernel, dtype=dtype))
                    self.assertEqual(lines[-1]["type"], "done", lines[-1])
                    self.assertEqual(lines[0]["kernel"], choose_kernel(kernel).name)
                    outputs.add(self.out.read_bytes())
                    self.out.unlink()
            self.assertEqual(len(outputs), 1, dtype)

    def test_a_stop_ends_them_in_the_middle(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number.name):
                child = self.start()
                self.wait_until_held()
                child.send_signal(number)
                self.assertEqual(self.end(child)["code"], "merge.interrupted")
                self.assertEqual(os.listdir(self.outs), [])
                (self.folder / "held").unlink()

    def test_a_thread_s_refusal_is_the_merge_s(self) -> None:
        name = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q"
        key = "lora_unet_" + name.removeprefix("model.diffusion_model.").replace(".", "_")
        save_file({f"{name}.weight": np.full((256, 256), 60000, np.float16)}, self.base)
        one = np.full((1, 256), 100, np.float16)
        save_file({f"{key}.lora_down.weight": one, f"{key}.lora_up.weight": one.T.copy()}, self.lora)
        for path in (self.base, self.lora):  # a second tensor, so that there is work for two
            tensors = load_file(path)
            save_file({**tensors, **{name.replace("to_q", "to_k"): value for name, value in tensors.items()}}, path)
        (self.folder / "go").touch()
        answer = self.end(self.start())
        self.assertIn("would overflow float16", answer["reason"])
        self.assertIn("bf16", answer["hint"])
        self.assertEqual(os.listdir(self.outs), [])

    def test_what_is_shelved_is_read_by_threads_at_once(self) -> None:
        shelf = Shelf()
        texts = [f"{number} " * 200 for number in range(IN_MEMORY_BYTES // 500)]
        places = [shelf.put(text) for text in texts]
        assert shelf.file is not None
        self.addCleanup(shelf.file.close)
        right: list[bool] = []

        def read() -> None:
            right.append(all(shelf.get(place) == text for place, text in zip(places, texts, strict=True)))

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(right, [True] * 3)


if __name__ == "__main__":
    unittest.main()
