"""Split, Slice, Gather and Concat: maps of some of the channels, and of several tensors side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bnfold.affine import Affine
from bnfold.verifying.certificate.reading import attribute, given, shape_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.verifying.certificate.reading import Constants

    Numbers = NDArray[np.float64]

__all__ = ["concatenated", "embedded", "part_of", "slice_of_concat"]


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


def part_of(node: ir.Node, one: Affine, constants: Constants, index: int) -> Affine | None:
    """The map of one output of a Split, a Slice or a Gather."""
    if one.is_identity:
        shape = shape_of(node.outputs[index])
        return None if shape is None else Affine.identity(len(shape))
    selections = _selections(node, one.rank, constants, index)
    if selections is None:
        return None
    for axis, positions in selections:
        one = one.map(lambda array, a=axis, p=positions: array if array.shape[a] == 1 else array.take(p, a))  # type: ignore[misc]
    return one


def embedded(node: ir.Node, wanted: Affine, constants: Constants, index: int) -> Affine | None:
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


def concatenated(node: ir.Node, data: Sequence[Affine]) -> Affine | None:
    """The map of a Concat, given those of its operands."""
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


def slice_of_concat(node: ir.Node, slot: int, wanted: Affine) -> Affine | None:
    """The map of one operand of a Concat that gives the output ``wanted``."""
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
