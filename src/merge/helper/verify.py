"""--verify: reads the finished output again before it gets its name. Every floating-point value is looked at (NaN, inf), and rows sampled
from each changed tensor are computed anew in float64, one LoRA after the other, and must be the same to one step of the output's dtype."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy

from blend import Blend
from compute import Segment
from halves import FLOATS, NUMPY_TYPES, Scratch, decode, decode_into
from lora_adapters import Product
from refusal import Refusal
from safetensors_file import ITEM_BYTES, TensorFile, read_exactly, read_into
from write import Job

STEP = {"F16": 2.0**-10, "BF16": 2.0**-7, "F32": 2.0**-16, "F64": 2.0**-16, "F8_E4M3": 2.0**-3, "F8_E5M2": 2.0**-2}
SMALLEST = {"F16": 2.0**-24, "BF16": 2.0**-100, "F32": 2.0**-100, "F64": 2.0**-100, "F8_E4M3": 2.0**-9, "F8_E5M2": 2.0**-16}
CHUNK_BYTES = 4 * 1024 * 1024
SAMPLED_SEGMENTS = 200


@dataclass
class Findings:
    tensors: int = 0
    not_finite: list[str] = field(default_factory=list)
    sampled_rows: int = 0
    worst_steps: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {"tensors": self.tensors, "notFinite": self.not_finite, "sampledRows": self.sampled_rows, "worstSteps": round(self.worst_steps, 3)}


def verify(jobs: list[Job], blend: Blend, stop: threading.Event) -> Findings:
    """Raises when a value was computed wrong or a changed tensor is not finite; NaN and inf that the base itself holds are listed."""
    findings = Findings()
    scratch = Scratch()
    for job in jobs:
        file = TensorFile(job.file.path, job.descriptor, job.data_start + job.file.data_bytes)
        findings.tensors += job.file.count
        for tensor in job.file.tensors:
            if stop.is_set():
                return findings
            if tensor.dtype in FLOATS and not all_finite(file, job.data_start + tensor.start, tensor.size, tensor.dtype, scratch):
                findings.not_finite.append(tensor.name)
    touched = [(job, segment) for job in jobs for segment in job.segments if segment.changes]
    for number in range(0, len(touched), max(1, len(touched) // SAMPLED_SEGMENTS)):
        if stop.is_set():
            return findings
        job, segment = touched[number]
        if not segment.out.transposed:
            check_rows(job, segment, number, blend, findings)
    return findings


def all_finite(file: TensorFile, start: int, size: int, dtype: str, scratch: Scratch) -> bool:
    raw = scratch.buffers.setdefault("verify", numpy.empty(CHUNK_BYTES, numpy.uint8))
    for at in range(0, size, CHUNK_BYTES):
        part = raw[: min(CHUNK_BYTES, size - at)]
        read_into(file, memoryview(part), start + at)
        if dtype in ("F16", "BF16"):
            mask = 0x7C00 if dtype == "F16" else 0x7F80
            if int((part.view(numpy.int16) & mask).max(initial=0)) == mask:
                return False
            continue
        values = scratch.get("values", len(part) // ITEM_BYTES[dtype])
        decode_into(part.view(NUMPY_TYPES[dtype]), dtype, values, scratch)
        if not numpy.isfinite(values).all():
            return False
    return True


def check_rows(job: Job, segment: Segment, seed: int, blend: Blend, findings: Findings) -> None:
    out, source = segment.out, segment.out.source
    row = segment.first + (seed * 7919) % (segment.last - segment.first)
    wanted = blend.rows(source, row, row + 1).astype(numpy.float64)
    size = numpy.abs(wanted)
    for change in segment.changes:
        place = change.place
        if place.transposed:
            return
        read = blend.reader(change.places)
        rows = change.adapter().prepare(read)
        at = row - place.first + place.module_first
        if isinstance(rows, Product):
            delta = rows.up[at : at + 1].astype(numpy.float64) @ rows.down.astype(numpy.float64)
        else:
            delta = rows(at, at + 1, read).astype(numpy.float64)
        wanted += change.scale * delta.reshape(wanted.shape)
        size += abs(change.scale) * numpy.abs(delta.reshape(wanted.shape))
    row_bytes = source.columns * ITEM_BYTES[out.dtype]
    raw = read_exactly(TensorFile(job.file.path, job.descriptor, 0), row_bytes, job.data_start + out.start + (row - out.first) * row_bytes)
    got = decode(raw, out.dtype).astype(numpy.float64)
    # One step of the output's dtype, and what float32 loses in the sum.
    allowed = numpy.maximum(numpy.abs(wanted) * STEP[out.dtype], SMALLEST[out.dtype]) + size * 2.0**-18
    with numpy.errstate(invalid="ignore"):
        steps = numpy.abs(got - wanted).reshape(-1) / allowed.reshape(-1)
    worst = float(numpy.nan_to_num(steps, nan=0.0).max(initial=0))
    findings.sampled_rows += 1
    findings.worst_steps = max(findings.worst_steps, worst)
    if worst > 1 and not (out.dtype.startswith("F8") and numpy.abs(wanted).max() > 400):
        raise Refusal(f"{out.name} was written wrong: row {row} differs by {worst:.1f} steps from its recomputation", code="merge.verify-failed")
