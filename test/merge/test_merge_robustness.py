"""What goes wrong: killed runs, full and read-only disks, hostile headers and pickles; and that a second run does nothing."""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import random
import resource
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from helper_run import command, merge, refusal, run_helper
from hostile_files import hostile_files
from safetensors.numpy import load_file, save_file

STEM = "model.diffusion_model.input_blocks.4.1.transformer_blocks.{}.attn1.to_q"


def make_files(folder: Path, count: int, size: int) -> tuple[Path, Path]:
    numbers = np.random.default_rng(1)
    base, lora = {}, {}
    for index in range(count):
        name = STEM.format(index)
        base[f"{name}.weight"] = numbers.standard_normal((size, size)).astype(np.float16)
        key = "lora_unet_" + name.removeprefix("model.diffusion_model.").replace(".", "_")
        lora[f"{key}.lora_down.weight"] = numbers.standard_normal((4, size)).astype(np.float16)
        lora[f"{key}.lora_up.weight"] = numbers.standard_normal((size, 4)).astype(np.float16)
        base[f"first_stage_model.x{index}"] = numbers.standard_normal((size, 8)).astype(np.float16)
    save_file(base, folder / "base.safetensors")
    save_file(lora, folder / "lora.safetensors")
    return folder / "base.safetensors", folder / "lora.safetensors"


class Robustness(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="fettle-robust-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.base, self.lora = make_files(self.folder, 24, 512)
        self.outs = self.folder / "outs"
        self.outs.mkdir()

    def request(self, out: Path, **more: Any) -> dict[str, Any]:
        return {"base": str(self.base), "loras": [{"path": str(self.lora)}], "out": str(out), **more}

    def test_fifty_killed_runs_leave_nothing_that_looks_whole(self) -> None:
        out = self.outs / "merged.safetensors"
        merge(self.request(self.outs / "reference.safetensors"))
        reference = (self.outs / "reference.safetensors").read_bytes()
        dice = random.Random(5)
        killed = 0
        for _ in range(50):
            child = subprocess.Popen(command(self.request(out, force=True)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            assert child.stdout is not None
            for _ in range(dice.randrange(3)):  # before, at, or after one of its lines …
                child.stdout.readline()
            with self.subTest(), memoryview(b""):
                try:
                    child.wait(timeout=dice.random() * 0.15)  # … and some way on
                except subprocess.TimeoutExpired:
                    child.kill()
                    killed += 1
                child.wait()
                child.stdout.close()
                if out.exists():
                    self.assertEqual(out.read_bytes(), reference)
        self.assertGreater(killed, 20)
        merge(self.request(out, force=True))
        self.assertEqual(out.read_bytes(), reference)
        self.assertEqual(sorted(os.listdir(self.outs)), ["merged.safetensors", "reference.safetensors"])

    def test_a_second_run_does_nothing_and_another_wish_does(self) -> None:
        out = self.outs / "merged.safetensors"
        merge(self.request(out, recipe="a" * 64))
        before = out.stat()
        self.assertTrue(merge(self.request(out, recipe="a" * 64)).get("upToDate"))
        self.assertEqual(out.stat().st_mtime_ns, before.st_mtime_ns)
        changed = self.request(out, recipe="a" * 64)
        changed["loras"][0]["unet"] = 0.5
        self.assertIsNone(merge(changed).get("upToDate"))
        with open(out, "r+b") as file:  # cut short by hand: no longer done
            file.truncate(out.stat().st_size - 1)
        self.assertIsNone(merge(changed).get("upToDate"))

    def test_full_disk(self) -> None:
        mount = self.folder / "small"
        mount.mkdir()
        libc = ctypes.CDLL(None, use_errno=True)
        if os.geteuid() != 0 or libc.mount(b"tmpfs", os.fsencode(mount), b"tmpfs", 0, b"size=4m") != 0:
            self.skipTest("needs the right to mount a small disk")
        self.addCleanup(lambda: libc.umount(os.fsencode(mount)))
        answer = refusal(self.request(mount / "out.safetensors"))
        self.assertEqual(answer["code"], "merge.no-space")
        self.assertEqual(os.listdir(mount), [])

    def test_a_disk_that_fills_up_on_the_way(self) -> None:
        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))

        ended = subprocess.run(command(self.request(self.outs / "out.safetensors")), capture_output=True, text=True, check=False, preexec_fn=limit)
        self.assertEqual(json.loads(ended.stdout.splitlines()[-1])["type"], "error", ended.stderr)
        self.assertEqual(os.listdir(self.outs), [])

    def test_places_that_cannot_be_written(self) -> None:
        loop = self.outs / "loop"
        loop.symlink_to(loop)
        self.assertIn("symbolic links", refusal(self.request(loop))["reason"])
        self.assertIn("symbolic links", refusal(self.request(loop / "out.safetensors"))["reason"])
        folder = self.outs / "folder"
        folder.mkdir()
        (folder / "precious.txt").write_text("mine")
        self.assertEqual(refusal(self.request(folder))["code"], "merge.unwritable")
        self.assertEqual(refusal(self.request(Path("/proc/out.safetensors")))["type"], "error")
        self.assertEqual(refusal(self.request(self.base))["code"], "merge.invalid-recipe")
        (self.folder / "link.safetensors").symlink_to(self.base)
        self.assertEqual(refusal(self.request(self.folder / "link.safetensors"))["code"], "merge.invalid-recipe")
        if os.geteuid() != 0:
            self.outs.chmod(0o555)
            self.assertEqual(refusal(self.request(self.outs / "out.safetensors"))["code"], "merge.unwritable")
            self.outs.chmod(0o755)
        broken = self.request(self.outs / "out.safetensors")
        (self.folder / "self.safetensors").symlink_to(self.folder / "self.safetensors")
        broken["base"] = str(self.folder / "self.safetensors")
        self.assertEqual(refusal(broken)["code"], "merge.invalid-input")

    def test_a_hundred_hostile_headers(self) -> None:
        """In one process by the reader itself; each must be a refusal with the file's name, in bounded memory."""
        script = (
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "from model import open_tensors\nfrom refusal import Refusal\n"
            "for path in sys.argv[2:]:\n"
            "    try:\n        open_tensors(path)\n"
            "    except Refusal as refusal:\n        assert path in str(refusal), (path, refusal); print('refused')\n"
            "    else:\n        print('read', path)\n"
        )
        paths = []
        for number, content in enumerate(hostile_files()):
            paths.append(self.folder / f"hostile-{number}.safetensors")
            paths[-1].write_bytes(content)
        self.assertGreaterEqual(len(paths), 100)
        helper = Path(command({})[2]).parent
        ended = subprocess.run([sys.executable, "-c", script, str(helper), *map(str, paths)], capture_output=True, text=True, check=False)
        self.assertEqual(ended.stderr, "")
        self.assertEqual(ended.stdout.split("\n")[:-1], ["refused"] * len(paths))

    def test_a_checkpoint_pickle_is_read_without_running_it(self) -> None:
        import torch

        tensors = load_file(self.base)
        state = {name: torch.from_numpy(value.copy()) for name, value in tensors.items()}
        path = self.folder / "base.ckpt"
        torch.save({"state_dict": state, "global_step": 7, "epoch": 1, "optimizer_states": [{"lr": 1e-4}]}, path)
        out, reference = self.outs / "from-pickle.safetensors", self.outs / "reference.safetensors"
        merge(self.request(reference))
        merge({**self.request(out), "base": str(path)})
        wanted, got = load_file(reference), load_file(out)
        self.assertEqual(set(wanted), set(got))
        for name, value in wanted.items():
            self.assertEqual(value.tobytes(), got[name].tobytes(), name)

    def test_pickles_that_would_run_code_are_refused(self) -> None:
        marker = self.folder / "ran"

        class Evil:
            def __init__(self, call: Any, *args: Any) -> None:
                self.call, self.args = call, args

            def __reduce__(self) -> tuple[Any, Any]:
                return self.call, self.args

        evils = [Evil(os.system, f"touch {marker}"), Evil(eval, f"open({str(marker)!r}, 'w')"), Evil(getattr, "x", "upper"), Evil(subprocess.Popen, ["true"])]
        raws = [pickle.dumps({"state_dict": {"x": evil}}) for evil in evils]
        raws += [b"", b"\x80\x02", b"cos\nsystem\n(S'true'\ntR.", pickle.dumps({"a": 1}), b"\x80\x02" + b"]" * 100_000 + b"."]
        for number, raw in enumerate(raws):
            path = self.folder / f"evil-{number}.ckpt"
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("archive/data.pkl", raw)
            answer = refusal({**self.request(self.outs / "never.safetensors"), "base": str(path)})
            self.assertEqual(answer["code"], "merge.unsafe-pickle", answer)
        plain = self.folder / "old.pt"
        plain.write_bytes(raws[0])
        self.assertEqual(refusal({**self.request(self.outs / "never.safetensors"), "base": str(plain)})["code"], "merge.unsafe-pickle")
        self.assertFalse(marker.exists())

    def test_memory_does_not_grow_with_the_number_of_loras(self) -> None:
        """Forty LoRAs of a rank far above the usual; the peak is the helper's own, at most 256 MiB."""
        numbers = np.random.default_rng(2)
        base = {f"{STEM.format(index)}.weight": numbers.standard_normal((2048, 2048)).astype(np.float16) for index in range(4)}
        save_file(base, self.folder / "large.safetensors")
        lora = {}
        for index in range(4):
            key = "lora_unet_" + STEM.format(index).removeprefix("model.diffusion_model.").replace(".", "_")
            lora[f"{key}.lora_down.weight"] = (numbers.standard_normal((128, 2048)) * 0.001).astype(np.float16)
            lora[f"{key}.lora_up.weight"] = (numbers.standard_normal((2048, 128)) * 0.001).astype(np.float16)
        save_file(lora, self.folder / "wide.safetensors")
        out = self.outs / "out.safetensors"
        loras = [{"path": str(self.folder / "wide.safetensors"), "unet": 0.1} for _ in range(40)]
        argv = command({"base": str(self.folder / "large.safetensors"), "loras": loras, "out": str(out)})
        peak, last = peak_of(argv)
        self.assertEqual(last["type"], "done", last)
        self.assertLess(peak, 256 * 1024)
        exact = base[f"{STEM.format(0)}.weight"].astype(np.float64)
        key = "lora_unet_" + STEM.format(0).removeprefix("model.diffusion_model.").replace(".", "_")
        exact = exact + 4.0 * lora[f"{key}.lora_up.weight"].astype(np.float64) @ lora[f"{key}.lora_down.weight"].astype(np.float64)
        np.testing.assert_allclose(load_file(out)[f"{STEM.format(0)}.weight"].astype(np.float64), exact, rtol=2**-10.5, atol=1e-6)

    def test_memory_hardly_grows_with_the_modules_of_all_loras(self) -> None:
        """300 modules a LoRA: what is planned for them waits on disk."""
        keys = [f"model.diffusion_model.input_blocks.{index}.1.proj_in" for index in range(300)]
        save_file({f"{key}.weight": np.zeros((8, 8), np.float16) for key in keys}, self.folder / "many.safetensors")
        lora = {}
        for key in keys:
            stem = "lora_unet_" + key.removeprefix("model.diffusion_model.").replace(".", "_")
            lora |= {f"{stem}.lora_down.weight": np.ones((1, 8), np.float16), f"{stem}.lora_up.weight": np.ones((8, 1), np.float16)}
        save_file(lora, self.folder / "small.safetensors")
        peaks = []
        for count in (2, 150):
            request = {"base": str(self.folder / "many.safetensors"), "out": str(self.outs / f"{count}.safetensors")}
            loras = [{"path": str(self.folder / "small.safetensors"), "unet": 0.5} for _ in range(count)]
            peak, last = peak_of(command({**request, "loras": loras}))
            self.assertEqual(last["type"], "done", last)
            self.assertEqual(load_file(self.outs / f"{count}.safetensors")[f"{keys[7]}.weight"][3, 5], count / 2)
            peaks.append(peak)
        self.assertLess(peaks[1] - peaks[0], 24 * 1024, peaks)

    def test_interrupting_leaves_nothing(self) -> None:
        child = subprocess.Popen(command(self.request(self.outs / "out.safetensors")), stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        child.stdout.readline()
        child.terminate()
        lines = [json.loads(line) for line in child.stdout]
        child.wait()
        child.stdout.close()
        self.assertIn(lines[-1].get("code", "done") if lines else "merge.interrupted", ("merge.interrupted", "done"))
        self.assertEqual([name for name in os.listdir(self.outs) if name != "out.safetensors"], [])

    def test_verify_finds_a_base_with_nan(self) -> None:
        tensors = load_file(self.base)
        tensors["first_stage_model.x0"][0, 0] = np.nan
        save_file(tensors, self.folder / "nan.safetensors")
        lines = run_helper({**self.request(self.outs / "out.safetensors", verify=True), "base": str(self.folder / "nan.safetensors")})
        self.assertEqual(lines[-1]["verified"]["notFinite"], ["first_stage_model.x0"])


def peak_of(argv: list[str]) -> tuple[int, dict[str, Any]]:
    """(peak of the process in KiB, its last line)."""
    script = (
        "import json, resource, subprocess, sys\nended = subprocess.run(sys.argv[1:], capture_output=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); print(ended.stdout.decode().splitlines()[-1])"
    )
    peak, last = subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, text=True, check=True).stdout.splitlines()
    return int(peak), json.loads(last)


if __name__ == "__main__":
    unittest.main()
