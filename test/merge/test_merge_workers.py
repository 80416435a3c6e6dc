"""Workers in processes of their own: the same bytes as threads, failures with their cause, and no end of any process that leaves another behind."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from helper_run import HELPER, merge
from safetensors.numpy import load_file, save_file
from test_merge_robustness import make_files

sys.path.insert(0, str(HELPER))

import blend
import compute
import workers
from shelf import IN_MEMORY_BYTES, Shelf

LIMIT_S = 60


def until(fact: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + LIMIT_S
    while not (found := fact()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {LIMIT_S} s: {what}")
        time.sleep(0.002)
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Workers(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="fettle-workers-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.base, self.lora = make_files(self.folder, 12, 256)
        self.outs = self.folder / "outs"
        self.outs.mkdir()
        self.out = self.outs / "merged.safetensors"

    def request(self, **more: Any) -> dict[str, Any]:
        return {"base": str(self.base), "loras": [{"path": str(self.lora)}], "out": str(self.out), "threads": 2, "kernel": "numpy", "sync": False, **more}

    def start(self, **more: Any) -> subprocess.Popen[str]:
        driver = [sys.executable, "-B", str(Path(__file__).with_name("held_merge.py")), str(self.folder), json.dumps(self.request())]
        child = subprocess.Popen(driver, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
        self.addCleanup(child.communicate)
        self.addCleanup(child.kill)
        return child

    def held(self) -> list[int]:
        """The pids, when both workers have their first segment."""

        def read() -> list[int]:
            path = self.folder / "held"
            pids = [int(line) for line in path.read_text().splitlines()] if path.exists() else []
            return pids if len(set(pids)) == 2 else []

        return until(read, "two processes hold")

    def go(self) -> None:
        (self.folder / "go").touch()

    def end(self, child: subprocess.Popen[str]) -> dict[str, Any]:
        """Its last line; nothing may be on stderr."""
        out, err = child.communicate(timeout=LIMIT_S)
        self.assertEqual(err, "")
        return json.loads(out.splitlines()[-1])

    def test_the_bytes_are_those_of_one_thread_and_all_processes_end(self) -> None:
        merge(self.request(threads=1))
        reference = self.out.read_bytes()
        self.out.unlink()
        child = self.start()
        pids = self.held()
        self.assertNotIn(child.pid, pids)
        self.go()
        self.assertEqual(self.end(child)["type"], "done")
        self.assertEqual(self.out.read_bytes(), reference)
        self.assertEqual([pid for pid in pids if is_alive(pid)], [])

    def test_a_killed_worker_is_an_error_that_names_the_signal(self) -> None:
        child = self.start()
        one, other = self.held()
        os.kill(one, signal.SIGKILL)
        answer = self.end(child)
        self.assertEqual((answer["type"], answer["code"]), ("error", "merge.failed"))
        self.assertIn("signal 9", answer["reason"])
        self.assertFalse(is_alive(other))
        self.assertEqual(os.listdir(self.outs), [])

    def test_workers_end_with_a_killed_helper(self) -> None:
        child = self.start()
        pids = self.held()
        child.kill()
        child.wait(timeout=LIMIT_S)
        until(lambda: not any(is_alive(pid) for pid in pids), "its workers are gone")
        merge(self.request())
        self.assertEqual(os.listdir(self.outs), ["merged.safetensors"])

    def test_a_stop_ends_them_in_the_middle_and_one_sent_to_a_worker_does_nothing(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number.name):
                child = self.start()
                pids = self.held()
                child.send_signal(number)
                self.assertEqual(self.end(child)["code"], "merge.interrupted")
                self.assertEqual([pid for pid in pids if is_alive(pid)], [])
                self.assertEqual(os.listdir(self.outs), [])
                (self.folder / "held").unlink()
        child = self.start()
        for pid in self.held():
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGINT)
        self.go()
        self.assertEqual(self.end(child)["type"], "done")

    def test_a_refusal_comes_back_as_it_was(self) -> None:
        name = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q"
        key = "lora_unet_" + name.removeprefix("model.diffusion_model.").replace(".", "_")
        save_file({f"{name}.weight": np.full((256, 256), 60000, np.float16)}, self.base)
        one = np.full((1, 256), 100, np.float16)
        save_file({f"{key}.lora_down.weight": one, f"{key}.lora_up.weight": one.T.copy()}, self.lora)
        self.widen()
        self.go()
        answer = self.end(self.start())
        self.assertIn("would overflow float16", answer["reason"])
        self.assertIn("bf16", answer["hint"])

    def widen(self) -> None:
        """A second tensor, so that there is work for two."""
        for path in (self.base, self.lora):
            tensors = load_file(path)
            save_file({**tensors, **{name.replace("to_q", "to_k"): value for name, value in tensors.items()}}, path)

    def test_a_disk_that_fills_up_on_the_way(self) -> None:
        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

        self.go()
        answer = self.end(self.start(preexec_fn=limit))
        self.assertEqual(answer["code"], "merge.no-space")
        self.assertEqual(os.listdir(self.outs), [])

    def test_threads_where_no_process_can_be_had_and_where_memory_is_short(self) -> None:
        tensor = compute.OutTensor.__new__(compute.OutTensor)
        segments = [compute.Segment(tensor, 0, 1), compute.Segment(tensor, 1, 2)]
        work: workers.Work = [(one, compute.Write()) for one in segments]

        def hired() -> set[str]:
            mixing = blend.Blend.__new__(blend.Blend)
            return {type(one).__name__ for one in workers.hire(work, mixing, lambda: workers.Kernel, compute.Watch(), count=2, kernel="numpy")}

        with patch.object(compute.Segment, "size", workers.FORKING_PAYS_FROM), patch("os.fork", side_effect=BlockingIOError):
            self.assertEqual(hired(), {"Thread"})
        with patch.object(compute.Segment, "size", workers.FORKING_PAYS_FROM), patch.object(workers, "resident_bytes", return_value=workers.FORKS_FIT_IN):
            self.assertEqual(hired(), {"Thread"})

    def test_what_is_shelved_is_read_by_two_processes_at_once(self) -> None:
        shelf = Shelf()
        texts = [f"{number} " * 200 for number in range(IN_MEMORY_BYTES // 500)]
        places = [shelf.put(text) for text in texts]
        assert shelf.file is not None
        self.addCleanup(shelf.file.close)
        child = os.fork()
        right = all(shelf.get(place) == text for place, text in zip(places, texts, strict=True))
        if child == 0:
            os._exit(0 if right else 1)
        self.assertEqual((right, os.waitpid(child, 0)[1]), (True, 0))


if __name__ == "__main__":
    unittest.main()
