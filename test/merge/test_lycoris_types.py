"""Every LyCORIS type beside lycoris-lora itself: its modules are made, filled, saved, and run on unit inputs, which gives the weight that
training saw. The helper's weight must be that one, rounded once to float16."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from helper_run import merge
from safetensors.torch import load_file, save_file

pytest.importorskip("lycoris", reason="lycoris-lora is not installed")

from lycoris.modules.boft import ButterflyOFTModule
from lycoris.modules.diag_oft import DiagOFTModule
from lycoris.modules.full import FullModule
from lycoris.modules.glora import GLoRAModule
from lycoris.modules.ia3 import IA3Module
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule

DORA = {"weight_decompose": True}
# (what, class, settings, [shapes]): 2 numbers are a linear layer, 4 a convolution.
LINEAR, CONV, POINT = (48, 32), (32, 16, 3, 3), (24, 16, 1, 1)
CASES: list[tuple[str, Any, dict[str, Any], list[tuple[int, ...]]]] = [
    ("LoRA", LoConModule, {"lora_dim": 4, "alpha": 2}, [LINEAR, POINT]),
    ("LoCon", LoConModule, {"lora_dim": 4, "alpha": 1}, [CONV]),
    ("LoCon Tucker", LoConModule, {"lora_dim": 4, "alpha": 2, "use_tucker": True}, [CONV]),
    ("rsLoRA", LoConModule, {"lora_dim": 9, "alpha": 2, "rs_lora": True}, [LINEAR]),
    ("LoHa", LohaModule, {"lora_dim": 3, "alpha": 1}, [LINEAR, CONV, POINT]),
    ("LoHa Tucker", LohaModule, {"lora_dim": 3, "alpha": 1, "use_tucker": True}, [CONV]),
    ("LoKr", LokrModule, {"lora_dim": 2, "alpha": 1, "factor": 4}, [LINEAR, CONV]),
    ("LoKr whole", LokrModule, {"lora_dim": 2, "alpha": 1, "factor": 4, "full_matrix": True}, [LINEAR, CONV]),
    ("LoKr both", LokrModule, {"lora_dim": 1, "alpha": 1, "factor": 8, "decompose_both": True}, [LINEAR, CONV]),
    ("LoKr Tucker", LokrModule, {"lora_dim": 1, "alpha": 0.5, "factor": 4, "use_tucker": True}, [CONV]),
    ("DoRA rows", LoConModule, {"lora_dim": 4, "alpha": 2, **DORA}, [LINEAR, CONV]),
    ("DoRA columns", LoConModule, {"lora_dim": 4, "alpha": 2, **DORA, "wd_on_out": False}, [LINEAR, CONV]),
    ("DoRA on LoHa", LohaModule, {"lora_dim": 3, "alpha": 1, **DORA}, [LINEAR, CONV]),
    ("DoRA on LoKr", LokrModule, {"lora_dim": 2, "alpha": 1, "factor": 4, **DORA, "wd_on_out": False}, [LINEAR, CONV]),
    ("OFT", DiagOFTModule, {"lora_dim": 8}, [LINEAR, CONV]),
    ("OFT rescaled, bound", DiagOFTModule, {"lora_dim": 8, "rescaled": True, "constraint": 0.01}, [LINEAR, CONV]),
    ("BOFT", ButterflyOFTModule, {"lora_dim": 4}, [(64, 32), (32, 16, 3, 3)]),
    ("BOFT rescaled", ButterflyOFTModule, {"lora_dim": 8, "rescaled": True}, [(64, 32)]),
    ("IA3 outputs", IA3Module, {}, [LINEAR, CONV]),
    ("IA3 inputs", IA3Module, {"train_on_input": True}, [LINEAR, CONV]),
    ("GLoRA", GLoRAModule, {"lora_dim": 3, "alpha": 1}, [LINEAR, CONV]),
    ("full", FullModule, {}, [LINEAR, CONV]),
    ("norm", NormModule, {}, [(32,)]),
]


def layer_of(shape: tuple[int, ...]) -> torch.nn.Module:
    if len(shape) == 1:
        layer: torch.nn.Module = torch.nn.LayerNorm(shape[0])
    elif len(shape) == 2:
        layer = torch.nn.Linear(shape[1], shape[0])
    else:
        layer = torch.nn.Conv2d(shape[1], shape[0], shape[2])
    with torch.no_grad():
        for value in layer.parameters():
            value.copy_((torch.randn_like(value) * 0.2).half().float())
    return layer.eval()


def weight_by_running(layer: torch.nn.Module, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """(weight, bias) of whatever the layer does now, found by unit inputs."""
    with torch.no_grad():
        if len(shape) == 1:
            # A normalised ±1 pattern stays itself, up to the eps inside the norm.
            pattern = torch.tensor([1.0, -1.0]).repeat(shape[0] // 2) * 1000
            one, other = layer(pattern), layer(-pattern)
            return (one - other) / 2 * pattern.sign(), (one + other) / 2
        zero = torch.zeros(1, shape[1], *shape[2:])
        bias = layer(zero).reshape(-1)
        units = torch.eye(int(np.prod(shape[1:]))).reshape(-1, *shape[1:])
        out = layer(units).reshape(len(units), -1) - bias
        return out.T.reshape(shape), bias


class Types(unittest.TestCase):
    folder: ClassVar[Path]

    @classmethod
    def setUpClass(cls) -> None:
        cls.temporary = tempfile.TemporaryDirectory(prefix="fettle-lycoris-")
        cls.folder = Path(cls.temporary.name)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.temporary.cleanup()

    def test_every_type_gives_the_weight_that_training_saw(self) -> None:
        torch.manual_seed(1)
        base: dict[str, torch.Tensor] = {}
        file: dict[str, torch.Tensor] = {}
        wanted: dict[str, tuple[str, torch.Tensor]] = {}
        for what, kind, settings, shapes in CASES:
            for shape in shapes:
                layer = layer_of(shape)
                number = len(wanted)
                path = f"input_blocks.4.1.transformer_blocks.{number}.attn1.to_q"
                name = "lora_unet_" + path.replace(".", "_")
                base[f"model.diffusion_model.{path}.weight"] = layer.weight.detach().half()  # type: ignore[union-attr, operator]
                base[f"model.diffusion_model.{path}.bias"] = layer.bias.detach().half()  # type: ignore[union-attr, operator]
                module = kind(name, layer, 1.0, **settings)
                module.apply_to()
                self.fill(module)
                module.eval()
                weight, bias = weight_by_running(layer, shape)
                wanted[f"model.diffusion_model.{path}.weight"] = (f"{what} {shape}", weight)
                wanted[f"model.diffusion_model.{path}.bias"] = (f"{what} {shape} bias", bias)
                state = module.custom_state_dict() or module.state_dict()
                file |= {f"{name}.{key}": torch.as_tensor(value).detach().contiguous() for key, value in state.items()}
        save_file(base, self.folder / "base.safetensors")
        save_file(file, self.folder / "lora.safetensors")
        out = self.folder / "out.safetensors"
        loras = [{"path": str(self.folder / "lora.safetensors")}]
        ended = merge({"base": str(self.folder / "base.safetensors"), "loras": loras, "out": str(out), "verify": True})
        self.assertLessEqual(ended["verified"]["worstSteps"], 1)
        merged = load_file(out)
        for key, (what, reference) in wanted.items():
            with self.subTest(what):
                if "bias" not in what:
                    self.assertGreater((reference - base[key].float()).abs().max().item(), 1e-3, "the reference changed nothing")
                # One rounding to float16, and what float32 loses on the way.
                torch.testing.assert_close(merged[key].float(), reference.float(), rtol=2**-10.5, atol=3e-5 if "norm" in what else 2e-6)

    @staticmethod
    def fill(module: torch.nn.Module) -> None:
        with torch.no_grad():
            for name, value in module.named_parameters():
                if name.startswith("org_") or "org_module" in name:
                    continue
                if "dora_scale" in name or name == "rescale":
                    value.mul_(1 + 0.2 * torch.rand_like(value))
                elif name in ("weight", "bias"):  # full: the whole weight; IA3: the vector
                    value.add_(torch.randn_like(value) * 0.1)
                else:
                    value.copy_(torch.randn_like(value) * 0.3)


if __name__ == "__main__":
    unittest.main()
