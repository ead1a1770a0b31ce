"""Ops that repeat a tensor along its axes: Expand, Tile."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.folding.answers import Blocked
from bnfold.folding.nodes import required_input
from bnfold.folding.ops.carrying import carry_through

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.answers import Answer
    from bnfold.folding.view import View

__all__ = ["ExpandRule"]

_TILES = 6  # the opset from which Tile has repeats; before, its two inputs said how often and along which axis


class ExpandRule:
    """Carries any affine, either way: channels that are tiled tile its numbers.

    Drawing:
        scale·x + shift → Tile → y   ⇔   x → Tile → scale′·y + shift′

    Algebra:
        Forward, the arrays of the affine are repeated like the data. Back, all copies of a cell must be wanted in one
        form, which is that of the cell.

    Conditions:
        1. Back, the affine is the same for all copies: it does not vary along an axis that Expand makes longer or adds,
           and is periodic along an axis that Tile repeats.
        2. Along an axis on which the affine varies, the sizes, or the number of copies, are known.
        3. A Tile is of opset 6 or newer.

    Source:
        https://onnx.ai/onnx/operators/onnx__Expand.html, https://onnx.ai/onnx/operators/onnx__Tile.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Expand", "Tile"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        expand (float[N,2,1] x, float[3,2,1] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,5] y) {
            h = Conv (x, w)
            sizes = Constant <value_ints = [1, 1, 5]> ()
            e = Expand (h, sizes)
            y = BatchNormalization (e, scale, bias, mean, var)
        }
        """,
        """
        tile (float[N,3,4] x, float[2,6,1] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,2,8] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            repeats = Constant <value_ints = [1, 2, 2]> ()
            t = Tile (n, repeats)
            y = Conv (t, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        data, output = required_input(node, 0), node.outputs[0]
        if node.op_type == "Expand":
            old, added = view.shape(data), view.rank(output) - view.rank(data)
            return carry_through(
                node,
                view,
                lambda array: array.reshape((1,) * added + array.shape),
                lambda array: _before_expand(array, added, old),
            )
        if view.opset(node) < _TILES:  # condition 3
            raise Blocked(f"is of opset {view.opset(node)}, where Tile was another op")
        copies = _copies(node, view)
        return carry_through(node, view, lambda array: _tiled(array, copies), lambda array: _before_tile(array, copies))


def _before_expand(array: NDArray[np.float64], added: int, old: tuple[object, ...]) -> NDArray[np.float64]:
    own = array.shape[added:]
    longer = [axis for axis, size in enumerate(array.shape[:added]) if size > 1]
    longer += [added + axis for axis, (size, dim) in enumerate(zip(own, old, strict=True)) if size > 1 and size != dim]
    if longer:  # condition 1
        raise Blocked(f"expands the axes {longer}, along which the affine varies")
    return array.reshape(own)


def _copies(node: ir.Node, view: View) -> list[int | None]:
    """How often each axis is repeated, or None where that is not known."""
    repeats = view.constant(required_input(node, 1))
    if repeats is not None:
        return [int(count) for count in repeats]
    shapes = zip(view.shape(required_input(node, 0)), view.shape(node.outputs[0]), strict=True)
    return [new // old if isinstance(old, int) and isinstance(new, int) and old else None for old, new in shapes]


def _tiled(array: NDArray[np.float64], copies: list[int | None]) -> NDArray[np.float64]:
    return np.tile(array, [1 if size == 1 else _known(count, axis) for axis, (size, count) in _axes(array, copies)])


def _before_tile(array: NDArray[np.float64], copies: list[int | None]) -> NDArray[np.float64]:
    for axis, (size, count) in _axes(array, copies):
        if size == 1:
            continue
        parts = np.split(array, _known(count, axis), axis)
        if any((part != parts[0]).any() for part in parts):  # condition 1
            raise Blocked(f"repeats axis {axis}, where the affine differs from one copy to the next")
        array = parts[0]
    return array


def _axes(array: NDArray[np.float64], copies: list[int | None]) -> list[tuple[int, tuple[int, int | None]]]:
    return list(enumerate(zip(array.shape, copies, strict=True)))


def _known(count: int | None, axis: int) -> int:
    if not count:  # condition 2
        raise Blocked(f"repeats axis {axis}, along which the affine varies, an unknown number of times, or never")
    return count
