"""Ops that reduce whole axes: ReduceMean, ReduceSum, ReduceMax, ReduceMin, ReduceL1, ReduceL2."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.affine import Affine
from bnfold.folding.answers import Answer, Blocked
from bnfold.folding.nodes import flag, integer, required_input
from bnfold.folding.ops.carrying import check_free, list_of_integers

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.folding.view import View

__all__ = ["ReduceRule"]

_PICKS = frozenset({"ReduceMax", "ReduceMin"})
_NORMS = frozenset({"ReduceL1", "ReduceL2"})
_AXES_ARE_INPUT = 18  # but for ReduceSum:
_AXES_OF_SUM_ARE_INPUT = 13


class ReduceRule:
    """Carries a scale, and the shift that a reduction makes of a shift.

    Drawing:
        scale·x + shift → ReduceSum → y   ⇔   x → ReduceSum → scale·y + count·shift

    Algebra:
        mean(scale·x + shift) = scale·mean(x) + shift
        sum(scale·x + shift) = scale·sum(x) + count·shift
        max(scale·x + shift) = scale·max(x) + shift     for scale ≥ 0, and min likewise
        norm(scale·x) = |scale|·norm(x)
        Where keepdims is 0, the axes that go are taken out of the arrays of the affine, too.

    Conditions:
        1. The axes are constants.
        2. The affine does not vary along the axes that are reduced.
        3. Of a sum with a shift, the number of terms is known.
        4. A maximum or minimum is scaled by nothing negative.
        5. A norm gets no shift, and nothing negative is wanted behind it.
        6. Axes that are given but empty, with noop_with_empty_axes: a norm of nothing is not defined alike by all.

    Source:
        https://onnx.ai/onnx/operators/onnx__ReduceMean.html and its siblings
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"ReduceMean", "ReduceSum"}) | _PICKS | _NORMS
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        mean (float[N,3,5,5] x, float[3,4] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            axes = Constant <value_ints = [-1, 2]> ()
            m = ReduceMean <keepdims = 0> (n, axes)
            y = Gemm (m, w)
        }
        """,
        """
        sum (float[N,2,5] x, float[3,2,1] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,1] y) {
            h = Conv (x, w)
            axes = Constant <value_ints = [2]> ()
            s = ReduceSum (h, axes)
            y = BatchNormalization (s, scale, bias, mean, var)
        }
        """,
        """
        maximum (float[N,2,5] x, float[3,2,1] w, float[3] positive_scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,1] y) {
            h = Conv (x, w)
            axes = Constant <value_ints = [2]> ()
            m = ReduceMax (h, axes)
            y = BatchNormalization (m, positive_scale, bias, mean, var)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        data, output = required_input(node, 0), node.outputs[0]
        axes = _reduced_axes(node, view)
        keepdims = bool(integer(node, "keepdims", 1))
        if (known := view.settled(data)) is not None:
            carried = known.map_affine(lambda affine: _forward(node, affine, view, axes))
            return Answer({output: carried if keepdims else carried.map(lambda array: array.squeeze(axes))})
        if (known := view.settled(output)) is not None:
            known = known if keepdims else known.map(lambda array: np.expand_dims(array, axes))
            return Answer({data: known.map_affine(lambda affine: _back(node, affine, view, axes))})
        return Answer()


def _forward(node: ir.Node, affine: Affine, view: View, axes: tuple[int, ...]) -> Affine:
    check_free(affine, axes, "reduces")  # condition 2
    _check(node, affine)
    return Affine(
        np.abs(affine.scale) if node.op_type in _NORMS else affine.scale,
        affine.shift * _terms(node, view, axes) if affine.shift.any() else affine.shift,
    )


def _back(node: ir.Node, affine: Affine, view: View, axes: tuple[int, ...]) -> Affine:
    _check(node, affine)
    if node.op_type in _NORMS and (affine.scale < 0).any():  # condition 5
        raise Blocked("is never negative: carries no negative scale back")
    return Affine(affine.scale, affine.shift / _terms(node, view, axes) if affine.shift.any() else affine.shift)


def _check(node: ir.Node, affine: Affine) -> None:
    if node.op_type in _PICKS and (affine.scale < 0).any():  # condition 4
        raise Blocked("picks the largest or the smallest: carries no negative scale")
    if node.op_type in _NORMS and affine.shift.any():  # condition 5
        raise Blocked("is a norm: carries no shift")


def _terms(node: ir.Node, view: View, axes: tuple[int, ...]) -> int:
    """How often a shift is counted: as many times as a sum has terms, and once by all others."""
    if node.op_type != "ReduceSum":
        return 1
    shape = view.shape(required_input(node, 0))
    sizes = [size for axis in axes if isinstance(size := shape[axis], int) and size > 0]
    if len(sizes) < len(axes):  # condition 3
        raise Blocked(f"sums over the axes {list(axes)}, whose sizes are not known: carries no shift")
    return math.prod(sizes)


def _reduced_axes(node: ir.Node, view: View) -> tuple[int, ...]:
    rank = view.rank(required_input(node, 0))
    since = _AXES_OF_SUM_ARE_INPUT if node.op_type == "ReduceSum" else _AXES_ARE_INPUT
    axes = list_of_integers(node, view, 1, "axes", since)  # condition 1
    if axes:
        return tuple(axis % rank for axis in axes)
    if not flag(node, "noop_with_empty_axes"):
        return tuple(range(rank))
    if node.op_type in _NORMS:  # condition 6
        raise Blocked("reduces no axis (noop_with_empty_axes)")
    return ()
