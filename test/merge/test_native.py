"""The native kernel gives numpy's bits: on this machine through the kernel, 64-bit ARM's under emulation."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest.mock import patch

import numpy as np
from helper_run import HELPER

sys.path.insert(0, str(HELPER))

import native
from halves import decode, encode
from kernel import Kernel, NativeKernel, choose_kernel
from native_code import MACHINES
from refusal import Refusal

SMALL = ("F16", "BF16")


def wide_values() -> np.ndarray:
    """float32: all combinations of sign, exponent and the first 11 bits of the mantissa, with rests that are ties, near ties and neither."""
    upper = np.arange(2**20, dtype=np.uint32) << 12
    rests = np.array([0, 1, 0x7FF, 0x800, 0x801, 0xFFF], np.uint32)
    return (upper[:, None] | rests).reshape(-1).view(np.float32)


def is_odd(values: np.ndarray, dtype: str) -> np.ndarray:
    """What the native code leaves to numpy."""
    if dtype == "BF16":
        return ~np.isfinite(values)
    return ~(np.abs(values) < 65520)


def terms(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """All finite patterns, twenty times, and what is added to each."""
    every = np.arange(65536, dtype=np.uint16)
    raw = np.tile(every[np.isfinite(decode(every.tobytes(), dtype))], 20)
    numbers = np.random.default_rng(5)
    with np.errstate(over="ignore"):
        delta = (decode(raw.tobytes(), dtype) * numbers.standard_normal(len(raw)) * 10.0 ** numbers.integers(-5, 2, len(raw))).astype(np.float32)
    return raw, np.where(np.isfinite(delta), delta, np.float32(1))


class Native(unittest.TestCase):
    def setUp(self) -> None:
        if native.functions() is None:
            self.skipTest("this machine has none")

    def test_decodes_every_pattern(self) -> None:
        every = np.arange(65536, dtype=np.uint16)
        for dtype in SMALL:
            ordinary = np.isfinite(decode(every.tobytes(), dtype))
            for bits in (every[ordinary], every, every[~ordinary], every[:37], every[:3]):
                out = np.empty(len(bits), np.float32)
                NativeKernel().decode(bits.view(np.uint8), dtype, out)
                np.testing.assert_array_equal(out.view(np.uint32), decode(bits.tobytes(), dtype).view(np.uint32), dtype)

    def test_encodes_as_numpy_does(self) -> None:
        values = wide_values()
        for dtype in SMALL:
            odd = is_odd(values, dtype)
            finite = values[~odd]
            mixed = np.concatenate([finite[-100:], values[odd][::1001], finite[:101]])
            for case in (finite, mixed, finite[:37], finite[:3]):
                out, given = np.empty(len(case) * 2, np.uint8), case.copy()
                with np.errstate(all="ignore"):
                    told = NativeKernel().encode(given, dtype, out)
                    wanted = Kernel().encode(case.copy(), dtype, theirs := np.empty(len(case) * 2, np.uint8))
                np.testing.assert_array_equal(out.view(np.uint16), theirs.view(np.uint16), dtype)
                if dtype == "F16":
                    self.assertEqual(told, wanted)
                    if not told:
                        np.testing.assert_array_equal(given.view(np.uint32), case.view(np.uint32))

    def test_adds_as_numpy_does(self) -> None:
        for dtype in SMALL:
            raw, delta = terms(dtype)
            with np.errstate(over="ignore"):
                total = decode(raw.tobytes(), dtype) + delta
            odd = is_odd(total, dtype)
            finite = np.flatnonzero(~odd)
            for places in (finite, np.concatenate([finite[-100:], np.flatnonzero(odd)[::1001], finite[:101]]), finite[:37], finite[:3]):
                case, given, ours = raw[places].view(np.uint8), delta[places], np.empty(len(places) * 2, np.uint8)
                with np.errstate(all="ignore"):
                    told = NativeKernel().add(case, dtype, given, ours)
                    Kernel().add(case, dtype, delta[places], theirs := np.empty(len(places) * 2, np.uint8))
                np.testing.assert_array_equal(ours.view(np.uint16), theirs.view(np.uint16), dtype)
                if dtype == "F16":
                    self.assertTrue(not told or np.isfinite(theirs.view(np.float16)).all())
                    if not told:
                        np.testing.assert_array_equal(given, total[places])

    def test_what_it_cannot_is_numpy_s(self) -> None:
        values = np.linspace(-2, 2, 64, dtype=np.float32)
        for dtype in ("F32", "F64", "F8_E4M3", "F8_E5M2"):
            raw = encode(values, dtype)
            out = np.empty(64, np.float32)
            NativeKernel().decode(raw.view(np.uint8), dtype, out)
            np.testing.assert_array_equal(out, decode(raw.tobytes(), dtype))
            ours, theirs = np.empty_like(raw.view(np.uint8)), np.empty_like(raw.view(np.uint8))
            for kernel, result in ((NativeKernel(), ours), (Kernel(), theirs)):
                kernel.add(raw.view(np.uint8), dtype, values.copy(), result)
            np.testing.assert_array_equal(ours, theirs)

    def test_numpy_where_it_cannot_be_had(self) -> None:
        self.assertIs(choose_kernel("auto"), NativeKernel)
        self.assertIs(choose_kernel("numpy"), Kernel)
        refusals = (
            patch.object(native, "cpu_flags", return_value={"sse2"}),
            patch.object(native.os, "memfd_create", side_effect=PermissionError),
            patch.object(native.mmap, "mmap", side_effect=PermissionError),
            patch.object(native.os, "uname", return_value=os.uname_result(("Linux", "", "", "", "riscv64"))),
        )
        for refusal in refusals:
            with contextlib.ExitStack() as stack:
                stack.callback(native.functions.cache_clear)
                native.functions.cache_clear()
                stack.enter_context(refusal)
                self.assertIs(choose_kernel("auto"), Kernel)
                with self.assertRaises(Refusal):
                    choose_kernel("native")

    def test_no_page_is_writable_and_executable(self) -> None:
        native.functions()
        lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
        own = [line[1] for line in lines if "/memfd:fettle-merge" in " ".join(line)]
        self.assertEqual(set(own), {"r-xs"})


TOOLS = ("aarch64-linux-gnu-as", "aarch64-linux-gnu-ld", "qemu-aarch64-static")


@unittest.skipIf(platform.machine() == "aarch64", "tested as this machine's own")
@unittest.skipUnless(all(map(shutil.which, TOOLS)), f"needs {', '.join(TOOLS)}: scripts/test brings them")
class Arm(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="fettle-arm-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        _, offsets, text = MACHINES["aarch64"]
        (self.folder / "code.bin").write_bytes(bytes.fromhex(text))
        labels = "".join(f".globl {name}\n.set {name}, code + {offset}\n" for name, offset in offsets.items())
        (self.folder / "code.s").write_text(f'.text\ncode: .incbin "{self.folder}/code.bin"\n{labels}')
        for name, source in (("code", self.folder / "code.s"), ("driver", Path(__file__).with_name("aarch64_driver.s"))):
            subprocess.run([TOOLS[0], "-o", self.folder / f"{name}.o", source], check=True)

    def call(self, name: str, values: np.ndarray, delta: np.ndarray | None = None) -> tuple[int, bytes]:
        """(its answer, its output)."""
        source, _, target = name.removesuffix("_add").partition("_to_")
        program = self.folder / name
        sizes = {"f32": 4, "f16": 2, "bf16": 2}
        defined = {"function": name, "from_bytes": sizes[source], "delta_bytes": 0 if delta is None else 4, "to_bytes": sizes[target or source]}
        options = [f"--defsym={key}={value}" for key, value in defined.items()]
        subprocess.run([TOOLS[1], *options, "-o", program, self.folder / "driver.o", self.folder / "code.o"], check=True)
        given = values.tobytes() + (b"" if delta is None else delta.tobytes())
        ended = subprocess.run([TOOLS[2], program], input=given, capture_output=True)
        self.assertEqual(ended.stderr, b"")
        return ended.returncode, ended.stdout

    def test_decodes_every_pattern(self) -> None:
        every = np.arange(65536, dtype=np.uint16)
        for dtype in SMALL:
            bits = every[np.isfinite(decode(every.tobytes(), dtype))]
            answer, out = self.call(f"{dtype.lower()}_to_f32", bits)
            self.assertEqual(answer, 0)
            np.testing.assert_array_equal(np.frombuffer(out, np.uint32), decode(bits.tobytes(), dtype).view(np.uint32), dtype)
        for bits in (0x7C00, 0xFC01):
            self.assertEqual(self.call("f16_to_f32", np.array([0] * 31 + [bits], np.uint16))[0], 1)

    def test_encodes_as_numpy_does(self) -> None:
        values = wide_values()
        for dtype in SMALL:
            finite = values[~is_odd(values, dtype)]
            finite = finite[:: len(finite) // 1_500_000 | 1]
            finite = finite[: len(finite) // 16 * 16]
            answer, out = self.call(f"f32_to_{dtype.lower()}", finite)
            self.assertEqual(answer, 0)
            np.testing.assert_array_equal(np.frombuffer(out, np.uint16), encode(finite, dtype).view(np.uint16), dtype)
            for odd in (np.inf, np.nan, -np.inf):
                for place in (0, 7, 15, 31):
                    case = np.zeros(32, np.float32)
                    case[place] = odd
                    self.assertEqual(self.call(f"f32_to_{dtype.lower()}", case)[0], 1)

    def test_adds_as_numpy_does(self) -> None:
        for dtype in SMALL:
            raw, delta = terms(dtype)
            with np.errstate(over="ignore"):
                fine = np.flatnonzero(~is_odd(decode(raw.tobytes(), dtype) + delta, dtype))
            fine = fine[: len(fine) // 16 * 16]
            answer, out = self.call(f"{dtype.lower()}_add", raw[fine], delta[fine])
            self.assertEqual(answer, 0)
            Kernel().add(raw[fine].view(np.uint8), dtype, delta[fine], theirs := np.empty(len(fine) * 2, np.uint8))
            np.testing.assert_array_equal(np.frombuffer(out, np.uint16), theirs.view(np.uint16), dtype)
            for place in (0, 7, 15, 31):
                case = np.zeros(32, np.float32)
                case[place] = np.inf
                self.assertEqual(self.call(f"{dtype.lower()}_add", np.zeros(32, np.uint16), case)[0], 1)


if __name__ == "__main__":
    unittest.main()
