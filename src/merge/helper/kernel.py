"""One thread's arithmetic: bytes → float32 → plus a matrix product → bytes, in buffers made once."""

from __future__ import annotations

import numpy

import native
from halves import NUMPY_TYPES, Scratch, decode_into, encode_into
from refusal import Refusal
from safetensors_file import ITEM_BYTES

CHUNK_ELEMENTS = 256 * 1024  # smaller ones pay Python's overhead, larger ones leave the caches


class Kernel:
    """numpy alone."""

    name = "numpy"

    def __init__(self) -> None:
        self.scratch = Scratch()
        self.bytes: dict[str, numpy.ndarray] = {}

    def raw(self, name: str, count: int, dtype: str) -> numpy.ndarray:
        """A buffer for `count` elements of a dtype, as flat bytes."""
        size = count * ITEM_BYTES[dtype]
        buffer = self.bytes.get(name)
        if buffer is None or len(buffer) < size:
            buffer = self.bytes[name] = numpy.empty(size, numpy.uint8)
        return buffer[:size]

    def floats(self, name: str, count: int) -> numpy.ndarray:
        return self.scratch.get(name, count)

    def decode(self, raw: numpy.ndarray, dtype: str, out: numpy.ndarray) -> None:
        decode_into(raw.view(NUMPY_TYPES[dtype]), dtype, out, self.scratch)

    def product(self, up: numpy.ndarray, down: numpy.ndarray) -> numpy.ndarray:
        return numpy.matmul(up, down, out=self.floats("product", len(up) * down.shape[1]).reshape(len(up), -1))

    def add(self, raw: numpy.ndarray, dtype: str, delta: numpy.ndarray, out: numpy.ndarray) -> bool:
        """The bytes of raw + delta. As `encode`: `delta` may be used up; where the answer is False it is the sum of all that may be infinite or NaN."""
        weights = self.floats("weights", len(delta))
        self.decode(raw, dtype, weights)
        numpy.add(weights, delta, out=delta)
        return self.encode(delta, dtype, out)

    def encode(self, values: numpy.ndarray, dtype: str, raw: numpy.ndarray) -> bool:
        """False when the output may hold infinities or NaN. `values` may be used up, unless it is False."""
        return encode_into(values, dtype, raw.view(NUMPY_TYPES[dtype]), self.scratch)


class NativeKernel(Kernel):
    """With machine code for the common conversions; numpy does what is left over, and what holds infinities or NaN. The same bits as numpy's."""

    name = "native"

    def __init__(self) -> None:
        super().__init__()
        self.functions = native.functions() or {}

    def decode(self, raw: numpy.ndarray, dtype: str, out: numpy.ndarray) -> None:
        done = self.call(f"{dtype.lower()}_to_f32", raw, out, count=len(out))
        if done < len(out):
            super().decode(raw[done * ITEM_BYTES[dtype] :], dtype, out[done:])

    def add(self, raw: numpy.ndarray, dtype: str, delta: numpy.ndarray, out: numpy.ndarray) -> bool:
        done = self.call(f"{dtype.lower()}_add", raw, delta, out, count=len(delta))
        at = done * ITEM_BYTES[dtype]
        return done == len(delta) or super().add(raw[at:], dtype, delta[done:], out[at:])

    def encode(self, values: numpy.ndarray, dtype: str, raw: numpy.ndarray) -> bool:
        done = self.call(f"f32_to_{dtype.lower()}", values, raw, count=len(values))
        return done == len(values) or super().encode(values[done:], dtype, raw[done * ITEM_BYTES[dtype] :])

    def call(self, name: str, *arrays: numpy.ndarray, count: int) -> int:
        """How many it has done, from the first on."""
        whole = count - count % native.STEP
        function = self.functions.get(name)
        if function is None or whole == 0 or function(*(array.ctypes.data for array in arrays), whole):
            return 0
        return whole


KERNELS = ("auto", "native", "numpy")


def choose_kernel(wanted: str) -> type[Kernel]:
    """`wanted`: one of KERNELS."""
    if wanted == "numpy":
        return Kernel
    if native.functions() is not None:
        return NativeKernel
    if wanted == "native":
        raise Refusal("this machine has no native kernel", hint="Leave the kernel away: numpy does the same, slower.", code="merge.invalid-recipe")
    return Kernel
