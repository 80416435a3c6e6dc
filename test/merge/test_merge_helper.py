"""The merge helper against formulas: a tiny SDXL and a tiny SD 1.5 as single files, LoRAs in every naming style. The expected weights are
computed on the diffusers folder's tensors and brought into the single file by the model maker's own table, which knows nothing of merging."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
HELPER = ROOT / "src/merge/helper"
ENGINE = ROOT / "src/engines/diffusers/helper"
sys.path.insert(0, str(ENGINE))
sys.path.insert(0, str(HELPER))

import halves  # noqa: E402
from ldm_layout import open_clip, single_file, unet_name  # noqa: E402
from tiny_layout import LAYOUTS  # noqa: E402

Tensors = dict[str, Any]


class Case:
    """One tiny model: its diffusers tensors by part, and the single file made of them."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder, self.layout = kind, folder, LAYOUTS[kind]
        self.base = folder / f"{kind}.safetensors"
        made = [sys.executable, str(ENGINE / "tiny_model.py"), str(folder / kind), "--kind", kind, "--single-file", str(self.base)]
        subprocess.run(made, check=True, capture_output=True)
        self.parts = {"unet": self.load("unet", "diffusion_pytorch_model"), "te1": self.load("text_encoder", "model")}
        if kind == "sdxl":
            self.parts["te2"] = self.load("text_encoder_2", "model")

    def load(self, part: str, name: str) -> Tensors:
        (file,) = sorted((self.folder / self.kind / part).glob(f"{name}*.safetensors"))
        return load_file(file)

    def modules(self, part: str) -> list[str]:
        """What trainers touch: matrices and convolutions; in the text encoders the attention and the MLP."""
        return sorted(
            name.removesuffix(".weight")
            for name, value in self.parts[part].items()
            if name.endswith(".weight") and value.ndim in (2, 4) and (part == "unet" or ".layers." in name)
        )

    def ldm(self, parts: dict[str, Tensors]) -> Tensors:
        """The changed parts under the single file's names."""
        vae = self.load("vae", "diffusion_pytorch_model")
        text = [parts[one] for one in ("te1", "te2") if one in parts]
        return single_file(self.kind, parts["unet"], vae, text, self.layout.layers_per_block, self.layout.attention)

    def ldm_unet_name(self, module: str) -> str:
        return unet_name(f"{module}.weight", self.layout.layers_per_block, list(reversed(self.layout.attention))).removesuffix(".weight")


def random_factors(shape: tuple[int, ...], rank: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    down = (random.standard_normal((rank, *shape[1:])) * 0.1).astype(np.float16)
    up = (random.standard_normal((shape[0], rank, *(1 for _ in shape[2:]))) * 0.1).astype(np.float16)
    return down, up


def delta(down: np.ndarray, up: np.ndarray, scale: float) -> np.ndarray:
    product = up.astype(np.float64).reshape(up.shape[0], -1) @ down.astype(np.float64).reshape(down.shape[0], -1)
    return scale * product.reshape(up.shape[0], *down.shape[1:])


def write_text(path: Path, header: Any, data: bytes = b"") -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


class Merging(unittest.TestCase):
    temporary: ClassVar[tempfile.TemporaryDirectory[str]]
    cases: ClassVar[dict[str, Case]]

    @classmethod
    def setUpClass(cls) -> None:
        cls.temporary = tempfile.TemporaryDirectory(prefix="fettle-merge-")
        cls.cases = {kind: Case(kind, Path(cls.temporary.name)) for kind in ("sdxl", "sd15")}

    @classmethod
    def tearDownClass(cls) -> None:
        cls.temporary.cleanup()

    def path(self, name: str) -> Path:
        return Path(self.temporary.name) / name

    def merge(self, base: Path, loras: list[tuple[Path, float, float]], out: Path, **more: Any) -> list[dict[str, Any]]:
        request = {
            "base": str(base),
            "loras": [{"path": str(path), "unet": unet, "te": te} for path, unet, te in loras],
            "out": str(out),
            "allowUnmatched": False,
            "dryRun": False,
            "threads": 2,
            **more,
        }
        ended = subprocess.run([sys.executable, "-B", str(HELPER / "merge.py"), json.dumps(request)], capture_output=True, text=True, check=False)
        self.assertEqual(ended.stderr, "")
        return [json.loads(line) for line in ended.stdout.splitlines()]

    def refused(self, *args: Any, **more: Any) -> dict[str, Any]:
        last = self.merge(*args, **more)[-1]
        self.assertEqual(last["type"], "error", last)
        self.assertFalse(args[2].exists())
        self.assertEqual(list(args[2].parent.glob(".fettle-merge-*")), [])
        return last

    def full_lora(self, case: Case, style: str, seed: int, strengths: tuple[float, float]) -> tuple[Path, dict[str, Tensors]]:
        """A LoRA over every module, written in a style; and what it adds to each diffusers tensor."""
        random = np.random.default_rng(seed)
        file: Tensors = {}
        metadata: dict[str, str] = {}
        added: dict[str, Tensors] = {part: {} for part in case.parts}
        for part in case.parts:
            for index, module in enumerate(case.modules(part)):
                rank = 2 + index % 3
                alpha = 1.5 if style.startswith("kohya") else 8.0 if style == "peft-metadata" else float(rank)
                down, up = random_factors(case.parts[part][f"{module}.weight"].shape, rank, random)
                self.put(file, style, case, part, module, down, up, alpha)
                strength = strengths[0] if part == "unet" else strengths[1]
                added[part][f"{module}.weight"] = delta(down, up, strength * alpha / rank)
        if style == "peft-metadata":
            metadata["lora_adapter_metadata"] = json.dumps({f"{one}.lora_alpha": 8 for one in ("unet", "text_encoder", "text_encoder_2")})
        path = self.path(f"{case.kind}-{style}-{seed}.safetensors")
        save_file(file, path, metadata)
        return path, added

    def put(self, file: Tensors, style: str, case: Case, part: str, module: str, down: np.ndarray, up: np.ndarray, alpha: float) -> None:
        if style.startswith("peft"):
            prefix = {"unet": "unet", "te1": "text_encoder", "te2": "text_encoder_2"}[part]
            file[f"{prefix}.{module}.lora_A.weight"], file[f"{prefix}.{module}.lora_B.weight"] = down, up
            return
        text = "lora_te_" if case.kind == "sd15" else f"lora_{part}_"
        path = case.ldm_unet_name(module) if style == "kohya-ldm" and part == "unet" else module
        name = ("lora_unet_" if part == "unet" else text) + path.replace(".", "_")
        file[f"{name}.lora_down.weight"], file[f"{name}.lora_up.weight"] = down, up
        file[f"{name}.alpha"] = np.array(alpha, dtype=np.float16)

    def expect_merged(self, case: Case, out: Path, added: list[dict[str, Tensors]]) -> None:
        wanted = {part: {name: value.astype(np.float64) for name, value in tensors.items()} for part, tensors in case.parts.items()}
        for one in added:
            for part, tensors in one.items():
                for name, value in tensors.items():
                    wanted[part][name] = wanted[part][name] + value
        wanted_ldm, base, merged = case.ldm(wanted), load_file(case.base), load_file(out)
        self.assertEqual(list(base), list(merged))
        changed = 0
        for name, before in base.items():
            after = merged[name]
            self.assertEqual((before.dtype, before.shape), (after.dtype, after.shape))
            exact = wanted_ldm[name] if name in wanted_ldm else before.astype(np.float64)
            if np.array_equal(exact, before.astype(np.float64)):
                self.assertEqual(before.tobytes(), after.tobytes(), name)
                continue
            changed += 1
            # One rounding of the exact sum, plus what float32 adds on the way.
            np.testing.assert_allclose(after.astype(np.float64), exact, rtol=2**-10.9, atol=2e-7, err_msg=name)
        self.assertGreater(changed, 100)

    def test_every_naming_style_reaches_every_module(self) -> None:
        for kind, styles in (("sdxl", ("kohya-ldm", "kohya-diffusers", "peft", "peft-metadata")), ("sd15", ("kohya-diffusers", "peft"))):
            for style in styles:
                with self.subTest(kind=kind, style=style):
                    case = self.cases[kind]
                    lora, added = self.full_lora(case, style, 1, (0.8, 0.5))
                    out = self.path(f"out-{kind}-{style}.safetensors")
                    lines = self.merge(case.base, [(lora, 0.8, 0.5)], out)
                    self.assertEqual(lines[-1]["type"], "done", lines[-1])
                    self.assertEqual(lines[0]["coverage"][0]["matched"], {part: len(case.modules(part)) for part in case.parts})
                    self.expect_merged(case, out, [added])

    def test_several_loras_add_up_and_the_same_request_gives_the_same_bytes(self) -> None:
        case = self.cases["sdxl"]
        first, added_first = self.full_lora(case, "kohya-ldm", 2, (0.8, 0.8))
        second, added_second = self.full_lora(case, "peft", 3, (-0.5, -0.5))
        out, again = self.path("two.safetensors"), self.path("two-again.safetensors")
        for place, threads in ((out, 2), (again, 1)):
            lines = self.merge(case.base, [(first, 0.8, 0.8), (second, -0.5, -0.5)], place, threads=threads)
            self.assertEqual(lines[-1]["type"], "done")
        self.expect_merged(case, out, [added_first, added_second])
        self.assertEqual(out.read_bytes(), again.read_bytes())
        with safe_open(out, "np") as file:
            recipe = json.loads(file.metadata()["fettle.merge"])
        self.assertEqual([one["unet"] for one in recipe["loras"]], [0.8, -0.5])
        self.assertEqual(recipe["base"]["sha256"], lines[-1]["sha256"][str(case.base)])
        self.assertNotIn("0" * 64, json.dumps(recipe))

    def test_dtypes(self) -> None:
        name = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"
        random = np.random.default_rng(5)
        weights = random.standard_normal((700, 1100)).astype(np.float32)
        down, up = random_factors(weights.shape, 4, random)
        lora = self.path("one.safetensors")
        key = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
        save_file({f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}, lora)
        import torch
        from safetensors.torch import load_file as load_torch
        from safetensors.torch import save_file as save_torch

        for dtype in (torch.float16, torch.bfloat16, torch.float32):
            base, out = self.path(f"{dtype}.safetensors"), self.path(f"{dtype}-out.safetensors")
            tensor = torch.from_numpy(weights).to(dtype)
            save_torch({name: tensor, "position_ids": torch.arange(77)[None]}, base)
            self.assertEqual(self.merge(base, [(lora, 0.7, 0.7)], out)[-1]["type"], "done")
            merged = load_torch(out)
            exact = tensor.float() + 0.7 * (torch.from_numpy(up).float() @ torch.from_numpy(down).float())
            # The order of a float32 sum may move a value over a rounding border: at most one in a thousand, by one step.
            differs = (merged[name] != exact.to(dtype)).float().mean().item()
            self.assertLess(differs, 0.001 if dtype != torch.float32 else 1)
            torch.testing.assert_close(merged[name].float(), exact, rtol=2**-7.9 if dtype == torch.bfloat16 else 2**-10.9, atol=1e-6)
            self.assertTrue(torch.equal(merged["position_ids"], torch.arange(77)[None]))

    def test_halves_give_the_same_bits_as_numpy_and_torch(self) -> None:
        import torch

        every = np.arange(65536, dtype=np.uint16)
        finite = every[np.isfinite(every.view(np.float16))]
        for bits in (every, finite):
            wide = halves.decode(bits.tobytes(), "F16")
            np.testing.assert_array_equal(wide, bits.view(np.float16).astype(np.float32))
        np.testing.assert_array_equal(halves.encode(halves.decode(finite.tobytes(), "F16"), "F16").view(np.uint16), finite)
        random = np.random.default_rng(7)
        values = (random.standard_normal(1_000_000) * 10.0 ** random.integers(-9, 4, 1_000_000)).astype(np.float32)
        np.testing.assert_array_equal(halves.encode(values, "F16").view(np.uint16), values.astype(np.float16).view(np.uint16))
        brain = torch.from_numpy(values).to(torch.bfloat16)
        np.testing.assert_array_equal(halves.encode(values, "BF16").view(np.int16), brain.view(torch.int16).numpy())
        np.testing.assert_array_equal(halves.decode(brain.view(torch.int16).numpy().tobytes(), "BF16"), brain.float().numpy())
        for dtype, theirs in (("F8_E4M3", torch.float8_e4m3fn), ("F8_E5M2", torch.float8_e5m2)):
            bits = np.arange(256, dtype=np.uint8)
            np.testing.assert_array_equal(halves.decode(bits.tobytes(), dtype), torch.from_numpy(bits).view(theirs).float().numpy())
            inside = values[np.abs(values) <= halves.LARGEST[dtype]]
            np.testing.assert_array_equal(halves.encode(inside, dtype), torch.from_numpy(inside).to(theirs).view(torch.uint8).numpy())
            large = halves.encode(np.array([1e9, -1e9], np.float32), dtype)
            np.testing.assert_array_equal(halves.decode(large.tobytes(), dtype), [halves.LARGEST[dtype], -halves.LARGEST[dtype]])

    def test_what_matches_nothing_is_an_error_with_a_table(self) -> None:
        case = self.cases["sdxl"]
        lora, _ = self.full_lora(case, "kohya-ldm", 4, (1, 1))
        stranger = load_file(lora)
        stranger["lora_unet_no_such_block.lora_down.weight"] = np.ones((2, 4), np.float16)
        stranger["lora_unet_no_such_block.lora_up.weight"] = np.ones((4, 2), np.float16)
        partly = self.path("partly.safetensors")
        save_file(stranger, partly)
        out = self.path("never.safetensors")
        refusal = self.refused(case.base, [(partly, 1.0, 1.0)], out)
        self.assertIn("lora_unet_no_such_block", refusal["reason"])
        self.assertEqual(refusal["details"]["coverage"][0]["unmatched"], 1)
        self.assertEqual(self.merge(case.base, [(partly, 1.0, 1.0)], self.path("rest.safetensors"), allowUnmatched=True)[-1]["type"], "done")
        self.assertIn("made for another kind", self.refused(self.cases["sd15"].base, [(lora, 1.0, 1.0)], out)["hint"])

    def test_a_lora_that_changes_nothing_is_an_error(self) -> None:
        case = self.cases["sdxl"]
        lora, _ = self.full_lora(case, "kohya-ldm", 5, (1, 1))
        fresh = {name: np.zeros_like(value) if "lora_up" in name else value for name, value in load_file(lora).items()}
        path = self.path("fresh.safetensors")
        save_file(fresh, path)
        self.assertIn("changes nothing", self.refused(case.base, [(path, 1.0, 1.0)], self.path("fresh-out.safetensors"))["reason"])

    def test_refuses_what_would_give_a_wrong_model(self) -> None:
        case = self.cases["sdxl"]
        lora, _ = self.full_lora(case, "kohya-ldm", 6, (1, 1))
        tensors = load_file(lora)
        module = next(name for name in tensors if name.endswith("attn1_to_q.lora_down.weight")).removesuffix(".lora_down.weight")
        out = self.path("wrong.safetensors")
        for words, change in {
            "NaN": {f"{module}.lora_down.weight": np.full_like(tensors[f"{module}.lora_down.weight"], np.nan)},
            "the factors of": {f"{module}.dora_scale": np.ones((1, 5), np.float16)},
            "replaced weights": {f"{module}.set_weight": np.ones((4, 4), np.float16)},
            "is incomplete": {"lora_unet_x.hada_w1_a": np.ones((4, 4), np.float16)},
            "do not fit each other": {f"{module}.lora_up.weight": np.ones((4, 17), np.float16)},
            "does not fit": {f"{module}.lora_down.weight": np.ones((tensors[f"{module}.lora_down.weight"].shape[0], 5), np.float16)},
            "overflow": {f"{module}.lora_{one}.weight": np.full_like(tensors[f"{module}.lora_{one}.weight"], 1000) for one in ("up", "down")},
        }.items():
            with self.subTest(words):
                path = self.path("changed.safetensors")
                save_file({**tensors, **change}, path)
                self.assertIn(words, self.refused(case.base, [(path, 4.0, 4.0)], out)["reason"])

    def test_hostile_files(self) -> None:
        case = self.cases["sdxl"]
        lora, _ = self.full_lora(case, "kohya-ldm", 7, (1, 1))
        entry = {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]}
        hostile = {
            "empty": b"",
            "pickle": b"PK\x03\x04" + b"\0" * 100,
            "length": struct.pack("<Q", 2**62) + b"{}",
            "short": b"\x10\0\0\0\0\0\0\0{}",
        }
        files = [self.path(f"hostile-{name}") for name in hostile]
        for file, content in zip(files, hostile.values(), strict=True):
            file.write_bytes(content)
        headers: list[Any] = [
            [],
            b"[" * 200_000,
            b'{"a":1,"a":1}',
            {"a": {**entry, "dtype": "F99"}},
            {"a": {**entry, "shape": [-2, -2]}},
            {"a": {**entry, "shape": [2.0, 2]}},
            {"a": {**entry, "shape": [2**40, 2**40]}},
            {"a": {**entry, "data_offsets": [8, 0]}},
            {"a": entry, "b": entry},
            {"a": {**entry, "data_offsets": [8, 16]}},
            {"a": entry, "__metadata__": {"x": 1}},
        ]
        files += [write_text(self.path(f"hostile-{index}"), header, b"\0" * 8) for index, header in enumerate(headers)]
        files += [write_text(self.path("hostile-cut"), {"a": entry}, b"\0" * 7), self.path("missing"), self.path(".")]
        out = self.path("hostile-out.safetensors")
        for file in files:
            with self.subTest(file.name):
                self.assertIn(str(file), self.refused(file, [(lora, 1.0, 1.0)], out)["reason"])
                self.assertIn(str(file), self.refused(case.base, [(file, 1.0, 1.0)], out)["reason"])

    def test_stacked_projection_of_the_second_text_encoder(self) -> None:
        """Only q and v get a LoRA; k's rows in the stacked tensor stay as they are, to the byte."""
        case = self.cases["sdxl"]
        name = "text_model.encoder.layers.0.self_attn"
        random, file = np.random.default_rng(9), {}
        tensors = dict(case.parts["te2"])
        for letter in "qv":
            down, up = random_factors(tensors[f"{name}.{letter}_proj.weight"].shape, 4, random)
            key = f"lora_te2_{name}_{letter}_proj".replace(".", "_")
            file[f"{key}.lora_down.weight"], file[f"{key}.lora_up.weight"] = down, up
            tensors[f"{name}.{letter}_proj.weight"] = tensors[f"{name}.{letter}_proj.weight"].astype(np.float64) + delta(down, up, 1)
        lora, out = self.path("qv.safetensors"), self.path("qv-out.safetensors")
        save_file(file, lora)
        self.merge(case.base, [(lora, 1.0, 1.0)], out)
        key = "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight"
        before, after = load_file(case.base)[key], load_file(out)[key]
        third = len(before) // 3
        self.assertEqual(before[third : 2 * third].tobytes(), after[third : 2 * third].tobytes())
        np.testing.assert_allclose(after.astype(np.float64), open_clip(tensors)["transformer.resblocks.0.attn.in_proj_weight"], rtol=2**-10.9, atol=1e-7)


if __name__ == "__main__":
    unittest.main()
