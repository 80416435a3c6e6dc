"""LyCORIS' own types: LoHa, LoKr, OFT and BOFT, IA3, GLoRA. Checked against the training forward pass of lycoris-lora."""

from __future__ import annotations

import math

import numpy

from factors import load, load_matrix, load_rows
from lora_adapters import Adapter, ReadRows, Rows, need, tucker, unfit
from refusal import Refusal
from safetensors_file import Tensor

CACHE_ELEMENTS = 4 * 1024 * 1024  # a larger factor is read by rows


def loha(name: str, factors: dict[str, Tensor], scale: float) -> Adapter:
    """Δ = (w1_a·w1_b) ∘ (w2_a·w2_b). With Tucker cores each product is w_aᵀ · (t·w_b)."""
    one_a, one_b, two_a, two_b = need(name, factors, "w1_a", "w1_b", "w2_a", "w2_b")
    if "t1" not in factors:
        if one_a.columns != one_b.rows or two_a.columns != two_b.rows or one_a.rows != two_a.rows or one_b.columns != two_b.columns:
            raise unfit(name, one_a, one_b, two_a, two_b)

        def plain(_: ReadRows) -> Rows:
            return hadamard(load_matrix(one_a), load_matrix(one_b), load_matrix(two_a), load_matrix(two_b))

        return Adapter(one_a.rows, one_b.columns, "LoHa", scale, plain)
    core_one, core_two = need(name, factors, "t1", "t2")
    for core, outer, inner in ((core_one, one_a, one_b), (core_two, two_a, two_b)):
        if len(core.shape) < 3 or core.rows != outer.rows or core.shape[1] != inner.rows:
            raise unfit(name, core, outer, inner)
    if one_a.columns != two_a.columns or one_b.columns * math.prod(core_one.shape[2:]) != two_b.columns * math.prod(core_two.shape[2:]):
        raise unfit(name, one_a, two_a, one_b, two_b)

    def cored(_: ReadRows) -> Rows:
        outer_one, outer_two = (numpy.ascontiguousarray(load_matrix(one).T) for one in (one_a, two_a))
        return hadamard(outer_one, tucker(load(core_one), load_matrix(one_b)), outer_two, tucker(load(core_two), load_matrix(two_b)))

    return Adapter(one_a.columns, one_b.columns * math.prod(core_one.shape[2:]), "LoHa (Tucker)", scale, cored)


def hadamard(up_one: numpy.ndarray, down_one: numpy.ndarray, up_two: numpy.ndarray, down_two: numpy.ndarray) -> Rows:
    def rows(first: int, last: int, read: ReadRows) -> numpy.ndarray:
        delta = up_one[first:last] @ down_one
        delta *= up_two[first:last] @ down_two
        return delta

    return rows


def lokr(name: str, factors: dict[str, Tensor], scale: float) -> Adapter:
    """Δ = w1 ⊗ w2, each whole or a product; a kernel belongs to w2. Row i·c+k of Δ is w1[i] ⊗ w2[k]."""
    first_whole, second_whole, core = factors.get("kr_w1"), factors.get("kr_w2"), factors.get("kr_t2")
    one = [first_whole] if first_whole else need(name, factors, "kr_w1_a", "kr_w1_b")
    two = [second_whole] if second_whole else need(name, factors, "kr_w2_a", "kr_w2_b")
    if len(one) == 2 and one[0].columns != one[1].rows:
        raise unfit(name, *one)
    if core is not None and not second_whole:
        if len(core.shape) < 3 or core.rows != two[0].rows or core.shape[1] != two[1].rows:
            raise unfit(name, core, *two)
        height, width = two[0].columns, two[1].columns * math.prod(core.shape[2:])
    else:
        if len(two) == 2 and two[0].columns != two[1].rows:
            raise unfit(name, *two)
        height, width = two[0].rows, two[-1].columns

    def prepare(_: ReadRows) -> Rows:
        small = load_matrix(one[0]) if len(one) == 1 else load_matrix(one[0]) @ load_matrix(one[1])
        if second_whole:
            whole = load_matrix(second_whole) if height * width <= CACHE_ELEMENTS else None

            def large(first: int, last: int) -> numpy.ndarray:
                return load_rows(second_whole, first, last) if whole is None else whole[first:last]
        else:
            up = load_matrix(two[0]) if core is None else numpy.ascontiguousarray(load_matrix(two[0]).T)
            down = load_matrix(two[1]) if core is None else tucker(load(core), load_matrix(two[1]))

            def large(first: int, last: int) -> numpy.ndarray:
                return up[first:last] @ down

        def rows(first: int, last: int, read: ReadRows) -> numpy.ndarray:
            delta = numpy.empty((last - first, small.shape[1], width), numpy.float32)
            at = first
            while at < last:
                block, inside = divmod(at, height)
                count = min(height - inside, last - at)
                numpy.multiply(small[block][None, :, None], large(inside, inside + count)[:, None, :], out=delta[at - first : at - first + count])
                at += count
            return delta.reshape(last - first, -1)

        return rows

    return Adapter(one[0].rows * height, one[-1].columns * width, "LoKr", scale, prepare)


def rotations(blocks: Tensor, bound: float) -> numpy.ndarray:
    """Cayley's (I+Q)(I−Q)⁻¹ of each block, Q = B − Bᵀ; Q's norm over all blocks is held below `bound`."""
    values = load(blocks).astype(numpy.float64)
    skew = values - values.swapaxes(-1, -2)
    norm = float(numpy.linalg.norm(skew)) + 1e-8
    if bound > 0 and norm > bound:
        skew *= bound / norm
    identity = numpy.eye(values.shape[-1])
    return ((identity + skew) @ numpy.linalg.inv(identity - skew)).astype(numpy.float32)


def oft(name: str, factors: dict[str, Tensor], constraint: float) -> Adapter:
    """W' = rescale ∘ (R·W), R of blocks on the diagonal (OFT) or of butterfly stages (BOFT). Δ = W' − W, so strength interpolates."""
    (blocks,) = need(name, factors, "oft_blocks")
    rescale = factors.get("rescale")
    if len(blocks.shape) not in (3, 4) or blocks.shape[-1] != blocks.shape[-2]:
        raise unfit(name, blocks)
    size = blocks.shape[-1]
    out = blocks.shape[-3] * size
    if rescale is not None and math.prod(rescale.shape) != out:
        raise unfit(name, blocks, rescale)
    if len(blocks.shape) == 4 and (size % 2 or out > 1 << 16):
        raise Refusal(f"{blocks.file.path}: {name} has a BOFT that cannot be merged ({list(blocks.shape)})", code="merge.invalid-input")

    def prepare(_: ReadRows) -> Rows:
        turn = rotations(blocks, constraint * out)
        factor = None if rescale is None else load(rescale, (out, 1))
        mixed = diagonal(turn) if len(blocks.shape) == 3 else butterfly(turn, out)

        def rows(first: int, last: int, read: ReadRows) -> numpy.ndarray:
            delta = mixed(first, last, read)
            if factor is not None:
                delta *= factor[first:last]
            delta -= read(first, last)
            return delta

        return rows

    return Adapter(out, 0, "OFT" if len(blocks.shape) == 3 else "BOFT", 1.0, prepare)


def diagonal(turn: numpy.ndarray) -> Rows:
    size = turn.shape[-1]

    def rows(first: int, last: int, read: ReadRows) -> numpy.ndarray:
        begin, end = first // size, -(-last // size)
        weight = read(begin * size, end * size).reshape(end - begin, size, -1)
        mixed = turn[begin:end].transpose(0, 2, 1) @ weight
        return mixed.reshape((end - begin) * size, -1)[first - begin * size : last - begin * size].copy()

    return rows


def butterfly(turn: numpy.ndarray, out: int) -> Rows:
    """Rows of the product of all stages, applied to the weight in pieces: the whole of either would not fit the memory bound."""
    stages, _, size, _ = turn.shape

    def of_product(first: int, last: int) -> numpy.ndarray:
        columns = numpy.zeros((out, last - first), numpy.float32)
        columns[numpy.arange(first, last), numpy.arange(last - first)] = 1
        for stage in reversed(range(stages)):  # rows of B_m…B_1 are columns of B_1ᵀ…B_mᵀ
            reach = 2**stage * (size // 2)
            shuffled = columns.reshape(-1, 2, reach, last - first).swapaxes(1, 2).reshape(-1, size, last - first)
            shuffled = turn[stage].transpose(0, 2, 1) @ shuffled
            columns = shuffled.reshape(-1, reach, 2, last - first).swapaxes(1, 2).reshape(out, last - first)
        return numpy.ascontiguousarray(columns.T)

    def rows(first: int, last: int, read: ReadRows) -> numpy.ndarray:
        mixing = of_product(first, last)
        total: numpy.ndarray | None = None
        step = max(1, last - first)
        for at in range(0, out, step):
            part = mixing[:, at : at + step] @ read(at, min(out, at + step))
            total = part if total is None else numpy.add(total, part, out=total)
        assert total is not None
        return total

    return rows


def ia3(name: str, factors: dict[str, Tensor]) -> Adapter:
    """Δ = W ∘ w, along the inputs or the outputs."""
    weight, on_input = need(name, factors, "ia3", "on_input")
    along_input = any(on_input.read())
    length = math.prod(weight.shape)

    def prepare(_: ReadRows) -> Rows:
        values = load(weight, (length,))

        def rows(first: int, last: int, read: ReadRows) -> numpy.ndarray:
            source = read(first, last)
            if not along_input:
                return source * values[first:last, None]
            if source.shape[1] % length:
                raise unfit(name, weight)
            return (source.reshape(last - first, length, -1) * values[None, :, None]).reshape(last - first, -1)

        return rows

    return Adapter(0 if along_input else length, 0, "IA3", 1.0, prepare)


def glora(name: str, factors: dict[str, Tensor], scale: float) -> Adapter:
    """Δ = b1·b2 + W·a1·a2; with a kernel the second term at each of its places."""
    one_a, two_a, one_b, two_b = need(name, factors, "a1", "a2", "b1", "b2")
    if one_a.columns != two_a.rows or one_b.columns != two_b.rows or one_a.rows != two_a.columns or two_b.columns % one_a.rows:
        raise unfit(name, one_a, two_a, one_b, two_b)

    def prepare(_: ReadRows) -> Rows:
        inner_one, inner_two, up, down = (load_matrix(one) for one in (one_a, two_a, one_b, two_b))

        def rows(first: int, last: int, read: ReadRows) -> numpy.ndarray:
            source = read(first, last).reshape(last - first, len(inner_one), -1).transpose(0, 2, 1)
            turned = ((source @ inner_one) @ inner_two).transpose(0, 2, 1).reshape(last - first, -1)
            return turned + up[first:last] @ down

        return rows

    return Adapter(one_b.rows, two_b.columns, "GLoRA", scale, prepare)
