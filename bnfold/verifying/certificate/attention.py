"""MatMul of two tensors, as attention has it: of scores and values, of queries and keys.

    (a·A)·(s·B + t) = a·s·(A·B) + t     with a for each row of A, s and t for each column of B

A shift passes where each row of A sums to 1, which Softmax makes so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.affine import Affine
from bnfold.verifying.certificate.reading import attribute, is_standard, rank_of

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["is_product", "pull_product", "push_product"]

_PASSING = frozenset({"Cast", "Dropout", "Identity"})
_LATEST = 13  # the opset since which Softmax works along one axis


def is_product(node: ir.Node, data: list[ir.Value]) -> bool:
    """Whether a node multiplies two matrices, none of which is a constant."""
    return node.op_type == "MatMul" and len(data) == 2


def push_product(node: ir.Node, left: Affine, right: Affine) -> Affine | None:
    """The map of the output, given those of both operands."""
    if min(left.rank, right.rank) < 2 or left.shift.any():
        return None
    left, right = _evened(left, -1), _evened(right, -2)
    if not _passes(left, -1) or not _passes(right, -2):
        return None
    if right.shift.any() and not (_sums_to_one(node.inputs[0]) and left.is_identity):
        return None
    rank = max(left.rank, right.rank)
    rows, columns = (_widened(one, rank) for one in (left, right))
    return Affine(rows.scale * columns.scale, columns.shift)


def pull_product(node: ir.Node, slot: int, wanted: Affine) -> Affine | None:
    """The map of one operand that gives the output ``wanted``, the other one being what it was."""
    value = node.inputs[slot]
    rank = None if value is None else rank_of(value)
    if rank is None or rank < 2 or rank > wanted.rank or not _passes(wanted, -1 if slot == 0 else -2):
        return None
    if wanted.shift.any() and (slot == 0 or not _sums_to_one(node.inputs[0])):
        return None
    if any(axis < wanted.rank - rank for axis in wanted.axes):
        return None
    return wanted.map(lambda array: array.reshape(array.shape[wanted.rank - rank :]))


def _passes(one: Affine, axis: int) -> bool:
    """Whether nothing varies along an axis."""
    return axis % one.rank not in one.axes


def _widened(one: Affine, rank: int) -> Affine:
    return one.map(lambda array: array.reshape((1,) * (rank - one.rank) + array.shape))


def _evened(one: Affine, axis: int) -> Affine:
    """Without what varies along an axis by the last bits of float64 alone."""
    first = one.map(lambda array: array.take([0], axis))
    return first if one.is_close(first) else one


def _sums_to_one(value: ir.Value | None) -> bool:
    node = None if value is None else value.producer()
    if node is None or not is_standard(node):
        return False
    if node.op_type in _PASSING:
        return _sums_to_one(node.inputs[0])
    version = (node.graph.opset_imports.get("") if node.graph is not None else None) or _LATEST
    rank = None if value is None else rank_of(value)
    axis = attribute(node, "axis", -1 if version >= _LATEST else 1)
    return node.op_type == "Softmax" and (axis == -1 or (rank is not None and axis == rank - 1))
