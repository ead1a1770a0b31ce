"""How a change of its inputs passes through an operator without weights, and how one of its output comes back.

``push`` gives the map of the output, given those of the inputs: reference = map(candidate). It is None where the
operator does not compute the same function of changed inputs. ``pull`` is its inverse in one input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bnfold.affine import Affine
from bnfold.verifying.certificate.attention import pull_product, push_product
from bnfold.verifying.certificate.reading import attribute, given, is_standard, shape_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.verifying.certificate.reading import Constants

    Numbers = NDArray[np.float64]

__all__ = ["is_carrier", "pull", "push", "sum_of"]

_FREE = frozenset({"Identity", "Cast", "Dropout"})
_HOMOGENEOUS = frozenset({"Relu", "LeakyRelu", "PRelu"})
_MAXIMA = frozenset({"MaxPool", "GlobalMaxPool", "ReduceMax"})
_MEANS = frozenset({"AveragePool", "GlobalAveragePool", "ReduceMean"})
_MOVES = frozenset({"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"})
_PARTS = frozenset({"Split", "Slice", "Gather"})
_SUMS = frozenset({"Add", "Sum"})
_BLOCKS = frozenset({"DepthToSpace", "SpaceToDepth"})
_KINDS = (
    _FREE | _HOMOGENEOUS | _MAXIMA | _MEANS | _MOVES | _PARTS | _SUMS
    | {"Concat", "DepthToSpace", "MatMul", "Mul", "Neg", "Pad", "Resize", "SpaceToDepth", "Sub"}
)  # fmt: skip
_LARGEST = 1 << 24  # elements of a map that is reshaped
_CLOSE = 1e-9


def is_carrier(node: ir.Node, constants: Constants) -> bool:
    """Whether this module knows an operator; one with weights is no carrier, and is asked for before."""
    return is_standard(node) and _kind(node, constants) in _KINDS


def _kind(node: ir.Node, constants: Constants) -> str:
    """The operator; of a Clip what it is by its limits."""
    if node.op_type != "Clip":
        return node.op_type
    low, high = (
        attribute(node, name, None) if given(node, slot) is None else constants.numbers(given(node, slot))
        for slot, name in ((1, "min"), (2, "max"))
    )
    if high is not None or given(node, 2) is not None:
        return "Clip"
    if low is None and given(node, 1) is None:
        return "Identity"
    return "Relu" if low is not None and not np.any(low) else "Clip"


def push(node: ir.Node, maps: Sequence[Affine | None], constants: Constants, index: int = 0) -> Affine | None:
    """The map of an output.

    Args:
        node: The reference's.
        maps: Those of its inputs; None for what is constant or absent.
        constants: Those of the reference.
        index: Which output.
    """
    data = [one for one in maps if one is not None]
    if not data:
        return None
    first, kind = data[0], _kind(node, constants)
    if kind == "MatMul":
        return push_product(node, *data) if len(data) == 2 else None
    if kind in _SUMS | {"Sub", "Mul", "Concat"}:
        return _combined(node, data) if len(data) == len(node.inputs) else None
    if len(data) != 1 or maps[0] is None:
        return None
    if kind == "Neg":
        return Affine(first.scale, -first.shift)
    if kind in _BLOCKS:
        return _in_blocks(node, first, spread=kind == "SpaceToDepth")
    if kind in _MOVES:
        return _moved(node, first, constants)
    if kind in _PARTS:
        return _part(node, first, constants, index)
    if kind in {"ReduceMean", "ReduceMax"} and not first.is_identity and not _reduces_space(node, constants):
        return None
    return _reduced(node, kind, first) if _allows(node, kind, first) else None


def pull(node: ir.Node, slot: int, wanted: Affine, constants: Constants, index: int = 0) -> Affine | None:
    """The map of one input that gives the output ``wanted``; that of a sum has the whole shift."""
    kind, data = _kind(node, constants), node.inputs[slot]
    if data is None:
        return None
    if kind in _SUMS | {"Sub", "Mul"}:
        return _of_rank(wanted, data)
    if kind == "Concat":
        return _slice_of_concat(node, slot, wanted)
    if kind == "MatMul":
        return pull_product(node, slot, wanted)
    if slot != 0:
        return None
    if kind == "Neg":
        return Affine(wanted.scale, -wanted.shift)
    if kind in _BLOCKS:
        return _in_blocks(node, wanted, spread=kind == "DepthToSpace")
    if kind in _MOVES:
        return _moved(node, wanted, constants, back=True)
    if kind in _PARTS:
        return _embedded(node, wanted, constants, index)
    shape = shape_of(data)
    if shape is None:
        return None
    if wanted.rank != len(shape):
        return _raised(node, wanted, constants, len(shape))
    return wanted if _allows(node, kind, wanted) else None


def sum_of(node: ir.Node, maps: Sequence[Affine]) -> Affine | None:
    """The map of a sum: its operands have one scale."""
    rank = max(one.rank for one in maps)
    wide = [_widened(one, rank) for one in maps]
    scale, shift = wide[0].scale, wide[0].shift
    sign = -1.0 if node.op_type == "Sub" else 1.0
    for other in wide[1:]:
        if not bool(np.all(np.abs(other.scale - scale) <= _CLOSE * np.abs(scale))):
            return None
        total = shift + sign * other.shift
        shift = np.where(np.abs(total) <= 1e-13 * (np.abs(shift) + np.abs(other.shift)), 0.0, total)
    return Affine(scale + np.zeros_like(scale), shift)


def _combined(node: ir.Node, data: Sequence[Affine]) -> Affine | None:
    if node.op_type == "Concat":
        return _concatenated(node, data)
    if node.op_type != "Mul":
        return sum_of(node, data)
    rank = max(one.rank for one in data)
    left, right = (_widened(one, rank) for one in data)
    if left.shift.any() or right.shift.any():
        return None
    return Affine(left.scale * right.scale, np.zeros((1,) * rank))


def _in_blocks(node: ir.Node, one: Affine, *, spread: bool) -> Affine | None:
    """Along channels: what each of the deep ones has of the block that it is from, or what all of a block have."""
    size = int(attribute(node, "blocksize", 1)) ** 2
    mode = attribute(node, "mode", "DCR")
    is_inner = node.op_type == "DepthToSpace" and mode in {"CRD", b"CRD"}  # the place in the block counts faster
    if not one.axes <= {1} or one.rank != 4:
        return None

    def spread_out(array: Numbers) -> Numbers:
        vector = array.reshape(-1)
        return (np.repeat(vector, size) if is_inner else np.tile(vector, size)).reshape(1, -1, 1, 1)

    def gathered(array: Numbers) -> Numbers:
        vector = array.reshape(-1)
        blocks = vector.reshape(-1, size).T if is_inner else vector.reshape(size, -1)
        return (blocks[0] if (blocks == blocks[0]).all() else np.full(0, 0.0)).reshape(1, -1, 1, 1)

    def moved(array: Numbers) -> Numbers:
        if array.size == 1:
            return array
        return spread_out(array) if spread else gathered(array)

    scale, shift = moved(one.scale), moved(one.shift)
    return Affine(scale, shift) if scale.size and shift.size else None


def _reduces_space(node: ir.Node, constants: Constants) -> bool:
    """Whether the axes that are reduced are some behind the channels."""
    listed = constants.array(given(node, 1)) if len(node.inputs) > 1 else attribute(node, "axes", None)
    shape = None if node.inputs[0] is None else shape_of(node.inputs[0])
    if listed is None or shape is None:
        return False
    return len(listed) > 0 and all(int(axis) % len(shape) > 1 for axis in listed)


def _allows(node: ir.Node, kind: str, one: Affine) -> bool:
    """Whether an operator on single elements, or on windows, lets a map pass."""
    if kind in _FREE:
        return True
    is_positive = bool((one.scale > 0).all())
    if kind in _HOMOGENEOUS:
        return is_positive and not one.shift.any()
    if kind in _MAXIMA:
        return is_positive and len(node.outputs) == 1
    if kind == "Pad":
        return not one.shift.any() and attribute(node, "mode", b"constant") in {"constant", b"constant"}
    pads = any(attribute(node, "pads", ())) or attribute(node, "auto_pad", "NOTSET") not in {"NOTSET", "VALID"}
    counts_pads = kind == "AveragePool" and pads and (attribute(node, "count_include_pad", 0) or _rounds_up(node))
    return kind in _MEANS | {"Resize"} and not (counts_pads and one.shift.any())


def _rounds_up(node: ir.Node) -> bool:
    """Whether a window may lie beside the data, of which runtimes make what they like."""
    return bool(attribute(node, "ceil_mode", 0))


def _reduced(node: ir.Node, kind: str, one: Affine) -> Affine | None:
    """Of operators on windows: the map may vary along the channels only."""
    if kind in _FREE | _HOMOGENEOUS or one.is_identity:
        rank = _output_rank(node, one.rank)
        return one if rank == one.rank else Affine.identity(rank) if rank is not None and one.is_identity else None
    output = _output_rank(node, one.rank)
    if not one.axes <= {1} or output not in {one.rank, 2}:
        return None
    if output == one.rank:
        return one
    return one.map(lambda array: array.reshape(array.shape[:2]))


def _raised(node: ir.Node, wanted: Affine, constants: Constants, rank: int) -> Affine | None:
    """Back through a reduction that drops the axes behind the channels."""
    is_reduction = node.op_type in {"ReduceMean", "ReduceMax"} and _reduces_space(node, constants)
    if not is_reduction or wanted.rank != 2 or not _allows(node, node.op_type, wanted):
        return None
    return wanted.map(lambda array: array.reshape(array.shape + (1,) * (rank - 2)))


def _output_rank(node: ir.Node, rank: int) -> int | None:
    shape = shape_of(node.outputs[0])
    if shape is not None:
        return len(shape)
    return None if node.op_type in {"ReduceMean", "ReduceMax"} else rank


def _moved(node: ir.Node, one: Affine, constants: Constants, *, back: bool = False) -> Affine | None:
    data, output = node.inputs[0], node.outputs[0]
    if data is None:
        return None
    if node.op_type == "Transpose":
        perm = attribute(node, "perm", None) or tuple(reversed(range(one.rank)))
        if len(perm) != one.rank:
            return None
        order = tuple(int(axis) for axis in (np.argsort(perm) if back else perm))
        return one.map(lambda array: array.transpose(order))
    before, after = shape_of(data), shape_of(output)
    if before is None or after is None:
        return None
    if one.is_identity:
        return Affine.identity(len(before if back else after))
    return _reshaped(one, after, before) if back else _reshaped(one, before, after)


def _reshaped(one: Affine, before: Sequence[int | None], after: Sequence[int | None]) -> Affine | None:
    """The map of one sample: sizes that are not known are 1, on which nothing may depend."""
    if len(before) != one.rank or any(size is None for axis, size in enumerate(before) if axis in one.axes):
        return None
    if any(size not in {1, before[axis]} for array in (one.scale, one.shift) for axis, size in enumerate(array.shape)):
        return None
    known, wanted = ([1 if size is None else size for size in shape] for shape in (before, after))
    total, target = int(np.prod(known)), int(np.prod(wanted))
    open_axes = [axis for axis, size in enumerate(after) if size is None]
    if total != target and len(open_axes) == 1 and target and total % target == 0:
        wanted[open_axes[0]] = total // target
    elif total != target and target % max(total, 1) == 0 and before and None in before and before.count(None) == 1:
        known[list(before).index(None)] = target // total
    if int(np.prod(known)) != int(np.prod(wanted)) or not 0 < int(np.prod(known)) <= _LARGEST:
        return None
    shape = tuple(known)
    moved = one.map(lambda array: np.broadcast_to(array, shape).reshape(wanted))
    return None if moved.axes & set(open_axes) else moved


def _pick(node: ir.Node, size: int, axis: int, constants: Constants, index: int) -> NDArray[np.int64] | None:
    """The positions along the axis that an output of a Split, a Slice or a Gather has."""
    every = np.arange(size)
    if node.op_type == "Split":
        sizes = constants.array(given(node, 1))
        listed = attribute(node, "split", None) if sizes is None else sizes.tolist()
        if listed is None:
            chunk = -(-size // len(node.outputs))
            listed = [min(chunk, size - chunk * i) for i in range(len(node.outputs))]
        start = int(sum(listed[:index]))
        return every[start : start + int(listed[index])]
    indices = constants.array(given(node, 1))
    return None if indices is None or indices.ndim != 1 else every[indices]


def _slices(node: ir.Node, constants: Constants) -> list[tuple[int, slice]] | None:
    found = [constants.array(given(node, slot)) for slot in range(1, 5)]
    starts, ends, axes, steps = found
    if starts is None or ends is None:
        return None
    axes = np.arange(len(starts)) if axes is None else axes
    steps = np.ones_like(starts) if steps is None else steps
    if (steps <= 0).any():
        return None
    return [
        (int(axis), slice(int(start), int(end), int(step)))
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True)
    ]


def _selections(
    node: ir.Node, rank: int, constants: Constants, index: int
) -> list[tuple[int, NDArray[np.int64]]] | None:
    """For each axis that is cut, the positions that stay; axes of unknown size are left out."""
    data = node.inputs[0]
    shape = None if data is None else shape_of(data)
    if shape is None or len(shape) != rank:
        return None
    if node.op_type == "Slice":
        cuts = _slices(node, constants)
        if cuts is None:
            return None
        sizes = [(axis % rank, cut, shape[axis % rank]) for axis, cut in cuts]
        return [(axis, np.arange(size)[cut]) for axis, cut, size in sizes if size is not None]
    axis = attribute(node, "axis", 0) % rank
    size = shape[axis]
    picked = None if size is None else _pick(node, size, axis, constants, index)
    return None if picked is None else [(axis, picked)]


def _part(node: ir.Node, one: Affine, constants: Constants, index: int) -> Affine | None:
    if one.is_identity:
        shape = shape_of(node.outputs[index])
        return None if shape is None else Affine.identity(len(shape))
    selections = _selections(node, one.rank, constants, index)
    if selections is None:
        return None
    for axis, positions in selections:
        one = one.map(lambda array, a=axis, p=positions: array if array.shape[a] == 1 else array.take(p, a))  # type: ignore[misc]
    return one


def _embedded(node: ir.Node, wanted: Affine, constants: Constants, index: int) -> Affine | None:
    """A part that is wanted, among the identity."""
    selections = _selections(node, wanted.rank, constants, index)
    data = node.inputs[0]
    shape = None if data is None else shape_of(data)
    if selections is None or shape is None:
        return None
    for axis, positions in selections:
        size = shape[axis]
        if size is None:
            return None

        def embed(
            array: Numbers, rest: float, a: int = axis, p: NDArray[np.int64] = positions, n: int = size
        ) -> Numbers:
            whole = np.full((*array.shape[:a], n, *array.shape[a + 1 :]), rest)
            whole[(slice(None),) * a + (p,)] = array
            return whole

        wanted = Affine(embed(wanted.scale, 1.0), embed(wanted.shift, 0.0))
    return wanted


def _concatenated(node: ir.Node, data: Sequence[Affine]) -> Affine | None:
    axis, rank = attribute(node, "axis", 0), data[0].rank
    axis %= rank
    if all(one.is_close(data[0]) and axis not in one.axes for one in data):
        return data[0]
    shapes = [None if value is None else shape_of(value) for value in node.inputs]
    sizes = [None if shape is None else shape[axis] for shape in shapes]
    if any(one.rank != rank or size is None for one, size in zip(data, sizes, strict=True)):
        return None
    pieces = list(zip(data, [size or 0 for size in sizes], strict=True))

    def joined(arrays: list[tuple[Numbers, int]]) -> Numbers:
        common = np.broadcast_shapes(*((*a.shape[:axis], 1, *a.shape[axis + 1 :]) for a, _ in arrays))
        return np.concatenate([np.broadcast_to(a, (*common[:axis], n, *common[axis + 1 :])) for a, n in arrays], axis)

    return Affine(joined([(one.scale, n) for one, n in pieces]), joined([(one.shift, n) for one, n in pieces]))


def _slice_of_concat(node: ir.Node, slot: int, wanted: Affine) -> Affine | None:
    axis = attribute(node, "axis", 0) % wanted.rank
    if axis not in wanted.axes:
        return wanted
    shapes = [None if value is None else shape_of(value) for value in node.inputs[: slot + 1]]
    sizes = [None if shape is None else shape[axis] for shape in shapes]
    if any(size is None for size in sizes):
        return None
    start = sum(size or 0 for size in sizes[:slot])
    part = np.arange(start, start + (sizes[slot] or 0))
    return wanted.map(lambda array: array if array.shape[axis] == 1 else array.take(part, axis))


def _of_rank(wanted: Affine, data: ir.Value) -> Affine | None:
    shape = shape_of(data)
    if shape is None or len(shape) == wanted.rank:
        return wanted
    if len(shape) > wanted.rank or any(axis < wanted.rank - len(shape) for axis in wanted.axes):
        return None
    return wanted.map(lambda array: array.reshape(array.shape[wanted.rank - len(shape) :]))


def _widened(one: Affine, rank: int) -> Affine:
    return one if one.rank == rank else one.map(lambda array: array.reshape((1,) * (rank - one.rank) + array.shape))
