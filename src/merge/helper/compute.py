"""Turns rows of the base into rows of the output, in small chunks: base (or sum) + all products at once + the other adapters, one rounding.
Whatever the number and rank of the LoRAs, a thread holds at most FACTOR_ELEMENTS of factors: more are taken in turns for each chunk."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy

from blend import Blend
from halves import FLOATS, LARGEST
from kernel import CHUNK_ELEMENTS, Kernel
from lora_adapters import Product, ReadRows, Rows
from lora_file import Lora
from plan import Change
from refusal import Refusal
from safetensors_file import ITEM_BYTES, Tensor, read_into
from shape import OutTensor

FACTOR_ELEMENTS = 3 * 1024 * 1024
one_at_a_time = threading.Lock()
"""Held by whoever has factors of more than FACTOR_ELEMENTS in hand."""


@dataclass(slots=True, eq=False)
class Segment:
    """Source rows that change together: all changes cover all of them."""

    out: OutTensor
    first: int
    last: int
    changes: list[Change] = field(default_factory=list)

    @property
    def out_start(self) -> int:
        """Offset in the output's data."""
        columns = self.out.source.columns
        return self.out.start + (self.first - self.out.first) * columns * ITEM_BYTES[self.out.dtype]

    @property
    def size(self) -> int:
        return (self.last - self.first) * self.out.source.columns * ITEM_BYTES[self.out.dtype]


@dataclass
class Watch:
    """What the threads find out: which LoRAs have any weight that is not 0, and whether any byte really changed."""

    active: set[Lora] = field(default_factory=set)
    changed: bool = False


class Piece:
    """One change, or several products as one: rows of a tensor → what to add."""

    def __init__(self, changes: list[Change], blend: Blend, segment: Segment, watch: Watch) -> None:
        self.changes, self.blend, self.segment, self.watch = changes, blend, segment, watch
        self.adapters = [change.adapter() for change in changes]
        self.up: numpy.ndarray | None = None
        self.down: numpy.ndarray | None = None
        self.rows: Rows | None = None
        self.read: ReadRows | None = None

    @property
    def elements(self) -> int:
        return sum(adapter.factor_elements for adapter in self.adapters)

    def load(self) -> None:
        if self.up is not None or self.rows is not None:
            return
        if self.changes[0].rank:
            self.load_products()
            return
        self.read = self.blend.reader(self.changes[0].places)
        self.rows = self.adapters[0].prepare(self.read)

    def load_products(self) -> None:
        """U = [s1·U1, s2·U2 …], D = [D1; D2 …], filled in place: side by side they are one matrix product with one rounding."""
        height, width = self.segment.last - self.segment.first, self.segment.out.source.columns
        rank = sum(change.rank for change in self.changes)
        self.up, self.down = numpy.empty((height, rank), numpy.float32), numpy.empty((rank, width), numpy.float32)
        at = 0
        for change, adapter in zip(self.changes, self.adapters, strict=True):
            made = adapter.prepare(no_rows)
            assert isinstance(made, Product)
            up, down, place = made.up, made.down, change.place
            if place.transposed:
                up, down = down.T, up.T
            begin = place.module_first + self.segment.first - place.first
            if up.any() and down.any():
                self.watch.active.add(change.lora)
            own = up.shape[1]
            numpy.multiply(up[begin : begin + height], numpy.float32(change.scale), out=self.up[:, at : at + own])
            self.down[at : at + own] = down
            at += own

    def drop(self) -> None:
        self.up = self.down = self.rows = self.read = None

    def add(self, kernel: Kernel, total: numpy.ndarray, first: int, last: int, *, fresh: bool) -> None:
        """What rows first…last of the tensor gain, to `total`, or in its place where that is `fresh`."""
        if self.up is not None and self.down is not None:
            up = self.up[first - self.segment.first : last - self.segment.first]
            if fresh:
                numpy.matmul(up, self.down, out=total)
            else:
                numpy.add(total, kernel.product(up, self.down), out=total)
            return
        (change,), (adapter,) = self.changes, self.adapters
        assert self.rows is not None and self.read is not None
        place = change.place
        if place.transposed:
            count = adapter.rows or place.tensor.columns
            delta = numpy.ascontiguousarray(self.rows(0, count, self.read).T[first - place.first : last - place.first])
        else:
            offset = place.module_first - place.first
            delta = self.rows(first + offset, last + offset, self.read)
        if change.lora not in self.watch.active and delta.any():
            self.watch.active.add(change.lora)
        delta = delta.reshape(total.shape)
        if fresh:
            numpy.multiply(delta, numpy.float32(change.scale), out=total)
        else:
            if change.scale != 1:
                delta *= numpy.float32(change.scale)
            total += delta


def no_rows(first: int, last: int) -> numpy.ndarray:
    raise AssertionError("a product needs no base rows")


def make_pieces(segment: Segment, blend: Blend, watch: Watch) -> list[Piece]:
    """Products side by side as far as the bound allows, then the other adapters in the order that was asked for."""
    groups: list[list[Change]] = []
    height = segment.last - segment.first
    room = 0
    for change in segment.changes:
        if not change.rank:
            continue
        # The rows of other segments are cut away after loading; what stays is what counts.
        cost = change.rank * (height + segment.out.source.columns)
        if not groups or cost > room:
            groups.append([])
            room = FACTOR_ELEMENTS
        room -= cost
        groups[-1].append(change)
    groups += [[change] for change in segment.changes if not change.rank]
    return [Piece(group, blend, segment, watch) for group in groups]


class Computer:
    """One thread's worker."""

    def __init__(self, kernel: Kernel, blend: Blend, watch: Watch) -> None:
        self.kernel, self.blend, self.watch = kernel, blend, watch

    def run(self, segment: Segment, write: Write) -> None:
        pieces = make_pieces(segment, self.blend, self.watch)
        heavy = any(piece.elements > FACTOR_ELEMENTS for piece in pieces)
        if heavy:
            with one_at_a_time:
                self.run_pieces(segment, pieces, write)
        else:
            self.run_pieces(segment, pieces, write)

    def run_pieces(self, segment: Segment, pieces: list[Piece], write: Write) -> None:
        out, kernel = segment.out, self.kernel
        source, dtype = out.source, out.dtype
        turns = len(pieces) > 1 and sum(piece.elements for piece in pieces) > FACTOR_ELEMENTS
        elements = CHUNK_ELEMENTS * (4 if turns else 1)
        step = segment.last - segment.first if out.transposed else max(1, elements // max(1, source.columns))
        straight = bool(pieces) and out.is_copy and not self.blend.mixes(source)
        for first in range(segment.first, segment.last, step):
            if write.stopped():
                return
            last = min(segment.last, first + step)
            count = (last - first) * source.columns
            before, after = self.read(source, first, last), kernel.raw("out", count, dtype)
            values = self.delta(pieces, first, last, turns=turns).reshape(-1)
            if straight:
                finite = kernel.add(before, dtype, values, after)
            else:
                values = self.mix(out, before, values, first, last)
                finite = kernel.encode(values, dtype, after)
            if not finite:
                refuse_overflow(out, values, after)
            if not self.watch.changed and segment.changes and (len(before) != len(after) or not numpy.array_equal(before, after)):
                self.watch.changed = True
            write(after, segment.out_start + (first - segment.first) * source.columns * ITEM_BYTES[dtype])

    def delta(self, pieces: list[Piece], first: int, last: int, *, turns: bool) -> numpy.ndarray:
        """All that the pieces add, [rows, columns]; nothing without pieces."""
        if not pieces:
            return numpy.empty((0, 0), numpy.float32)
        columns = pieces[0].segment.out.source.columns
        total = self.kernel.floats("delta", (last - first) * columns).reshape(last - first, columns)
        for piece in pieces:
            piece.load()
            piece.add(self.kernel, total, first, last, fresh=piece is pieces[0])
            if turns:
                piece.drop()
        return total

    def mix(self, out: OutTensor, raw: numpy.ndarray, delta: numpy.ndarray, first: int, last: int) -> numpy.ndarray:
        """The base's bytes as float32, or the sum of checkpoints, plus the delta, in the output's order."""
        columns = out.source.columns
        weights = self.kernel.floats("weights", (last - first) * columns)
        self.kernel.decode(raw, out.source.dtype, weights)
        self.blend.add_terms(out.source, first, last, weights)
        if delta.size:
            numpy.add(weights, delta, out=weights)
        return numpy.ascontiguousarray(weights.reshape(last - first, columns).T).reshape(-1) if out.transposed else weights

    def read(self, source: Tensor, first: int, last: int) -> numpy.ndarray:
        """The base's bytes."""
        raw = self.kernel.raw("in", (last - first) * source.columns, source.dtype)
        read_into(source.file, memoryview(raw), source.start + first * source.columns * ITEM_BYTES[source.dtype])
        return raw


class Write:
    """Where a segment's bytes go; and whether to go on."""

    def __call__(self, raw: numpy.ndarray, offset: int) -> None:
        raise NotImplementedError

    def stopped(self) -> bool:
        return False


def refuse_overflow(out: OutTensor, weights: numpy.ndarray, raw: numpy.ndarray) -> None:
    """inf in float16 that was not there before. What the base itself holds (inf, NaN) stays; fp8 saturates by design."""
    if out.dtype != "F16":
        return
    bits = raw.view(numpy.int16)
    if int((bits & 0x7C00).max(initial=0)) != 0x7C00:
        return
    over = numpy.isfinite(weights) & numpy.isinf(raw.view(numpy.float16))
    if over.any():
        most = float(numpy.abs(weights[over]).max())
        hint = "Use a smaller strength, or another dtype: bf16 reaches further."
        raise Refusal(f"{out.source.name} would overflow float16 (|weight| up to {most:.0f}, at most {LARGEST['F16']:.0f})", hint=hint)


def cut(out: OutTensor, changes: list[Change], blend: Blend) -> list[Segment]:
    """Cuts an output tensor at every change's first and last row; a segment without changes is there only where bytes cannot be copied."""
    inside = [one for one in changes if one.place.first < out.last and one.place.last > out.first]
    edges = {out.first, out.last}
    if not out.transposed:
        edges |= {min(max(edge, out.first), out.last) for one in inside for edge in (one.place.first, one.place.last)}
    convert = out.source.dtype in FLOATS and (not out.is_copy or blend.mixes(out.source))
    segments = []
    for first, last in zip(sorted(edges), sorted(edges)[1:], strict=False):
        over = [one for one in inside if one.place.first <= first and last <= one.place.last]
        if over or convert:
            segments.append(Segment(out, first, last, over))
    return segments
