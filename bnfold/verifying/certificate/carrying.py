"""How a change of its inputs passes through an operator without weights, and how one of its output comes back.

``push`` gives the map of the output, given those of the inputs: reference = map(candidate). It is None where the
operator does not compute the same function of changed inputs. ``pull`` is its inverse in one input.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from bnfold.affine import Affine
from bnfold.verifying.certificate.attention import pull_product, push_product
from bnfold.verifying.certificate.pieces import concatenated, embedded, part_of, slice_of_concat
from bnfold.verifying.certificate.reading import attribute, given, is_standard, shape_of
from bnfold.verifying.certificate.windows import FREE, HOMOGENEOUS, MAXIMA, MEANS, allows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.verifying.certificate.reading import Constants

    Numbers = NDArray[np.float64]

__all__ = ["is_carrier", "pull", "push", "sum_of"]

_REDUCTIONS = frozenset({"ReduceMax", "ReduceMean", "ReduceSum"})
_MOVES = frozenset({"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"})
_PARTS = frozenset({"Split", "Slice", "Gather"})
_SUMS = frozenset({"Add", "Sum"})
_BLOCKS = frozenset({"DepthToSpace", "SpaceToDepth"})
_KINDS = (
    FREE | HOMOGENEOUS | MAXIMA | MEANS | _MOVES | _PARTS | _REDUCTIONS | _SUMS
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
        return part_of(node, first, constants, index)
    if kind in _REDUCTIONS:
        return _over_axes(node, first, constants)
    return _reduced(node, kind, first) if allows(node, kind, first, constants) else None


def pull(node: ir.Node, slot: int, wanted: Affine, constants: Constants, index: int = 0) -> Affine | None:
    """The map of one input that gives the output ``wanted``; that of a sum has the whole shift."""
    kind, data = _kind(node, constants), node.inputs[slot]
    if data is None:
        return None
    if kind in _SUMS | {"Sub", "Mul"}:
        return _of_rank(wanted, data)
    if kind == "Concat":
        return slice_of_concat(node, slot, wanted)
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
        return embedded(node, wanted, constants, index)
    shape = shape_of(data)
    if shape is None:
        return None
    if kind in _REDUCTIONS:
        return _over_axes(node, wanted, constants, back=True)
    if wanted.rank != len(shape):
        return None
    return wanted if allows(node, kind, wanted, constants) else None


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
        return concatenated(node, data)
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


def _over_axes(node: ir.Node, one: Affine, constants: Constants, *, back: bool = False) -> Affine | None:
    """Of a ReduceMax, ReduceMean or ReduceSum: what does not vary along the axes that are reduced."""
    shape = None if node.inputs[0] is None else shape_of(node.inputs[0])
    listed = constants.array(given(node, 1)) if len(node.inputs) > 1 else attribute(node, "axes", None)
    if shape is None or listed is None or not len(listed):
        return None
    rank, keeps = len(shape), bool(attribute(node, "keepdims", 1))
    axes = tuple(sorted(int(axis) % rank for axis in listed))
    if node.op_type == "ReduceMax" and (one.scale <= 0).any():
        return None
    if node.op_type == "ReduceSum" and one.shift.any():
        count = math.prod(shape[axis] or 0 for axis in axes)
        if not count:
            return None
        one = Affine(one.scale, one.shift / count if back else one.shift * count)
    if back and not keeps:
        return one.map(lambda array: np.expand_dims(array, axes)) if one.rank == rank - len(axes) else None
    if one.rank != rank or set(axes) & one.axes:
        return None
    return one if keeps or back else one.map(lambda array: array.squeeze(axes))


def _reduced(node: ir.Node, kind: str, one: Affine) -> Affine | None:
    """Of operators on windows: the map may vary along the channels only."""
    if kind in FREE | HOMOGENEOUS or one.is_identity:
        rank = _output_rank(node, one.rank)
        return one if rank == one.rank else Affine.identity(rank) if one.is_identity else None
    output = _output_rank(node, one.rank)
    if not one.axes <= {1} or output not in {one.rank, 2}:
        return None
    if output == one.rank:
        return one
    return one.map(lambda array: array.reshape(array.shape[:2]))


def _output_rank(node: ir.Node, rank: int) -> int:
    shape = shape_of(node.outputs[0])
    return rank if shape is None else len(shape)


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


def _of_rank(wanted: Affine, data: ir.Value) -> Affine | None:
    shape = shape_of(data)
    if shape is None or len(shape) == wanted.rank:
        return wanted
    if len(shape) > wanted.rank or any(axis < wanted.rank - len(shape) for axis in wanted.axes):
        return None
    return wanted.map(lambda array: array.reshape(array.shape[wanted.rank - len(shape) :]))


def _widened(one: Affine, rank: int) -> Affine:
    return one if one.rank == rank else one.map(lambda array: array.reshape((1,) * (rank - one.rank) + array.shape))
