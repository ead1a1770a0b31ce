"""If, Loop and Scan: affines cross the borders of their bodies."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.folding.answers import Answer, Blocked
from bnfold.folding.nodes import body_of, first_stacked_output, integers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.reexpression import Reexpression
    from bnfold.folding.view import View

    Move = Callable[[NDArray[np.float64]], NDArray[np.float64]]
    # Two tensors of which one becomes the other, and how the arrays of an affine move there and back.
    Tie = tuple[ir.Value, ir.Value, Move, Move]

__all__ = ["IfRule", "LoopRule"]

_BATCHED_SCAN = 8  # the opset whose Scan has a batch axis of its own


class IfRule:
    """Carries any affine between its output and that of both branches.

    Drawing:
        If(u | v) → scale·y + shift   ⇔   If(scale·u + shift | scale·v + shift) → y

    Algebra:
        y is u or v: what holds for one of the three holds for all of them. A tensor that is an output twice ties two
        such triples together.

    Conditions:
        1. Both branches write what has the axes, and along the axes on which the affine varies the sizes, of the
           affine: the branches of an If may differ in shape.

    Source:
        https://onnx.ai/onnx/operators/onnx__If.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"If"})
    data_slots: ClassVar[frozenset[int]] = frozenset()
    examples: ClassVar[tuple[str, ...]] = (
        """
        behind (float[N,2,5] x, float[1] t, float[3,2,3] w, float[3,2,3] w2, float[3] scale, float[3] bias,
                float[3] mean, float[3] var) => (float[N,3,3] y) {
            m = ReduceMax <keepdims = 0> (x)
            condition = Greater (m, t)
            h = If (condition) <
                then_branch = a () => (float[N,3,3] u) { u = Conv (x, w) },
                else_branch = b () => (float[N,3,3] v) { v = Conv (x, w2) }
            >
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        """
        out_of_one_branch (float[N,2,5] x, float[1] t, float[2,2,1] w, float[3,2,3] w2, float[2] scale, float[2] bias,
                           float[2] mean, float[2] var) => (float[N,3,3] y) {
            m = ReduceMax <keepdims = 0> (x)
            condition = Greater (m, t)
            h = If (condition) <
                then_branch = a () => (float[N,2,5] u) { u = Conv (x, w) },
                else_branch = b () => (float[N,2,5] v) {
                    g = Tanh (x)
                    v = BatchNormalization (g, scale, bias, mean, var)
                }
            >
            y = Conv (h, w2)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        branches = [body_of(node, name).outputs for name in ("then_branch", "else_branch")]
        if len({len(outputs) for outputs in (node.outputs, *branches)}) > 1:
            raise Blocked("has branches that do not write as many tensors as it does")
        rows = list(zip(node.outputs, *branches, strict=True))
        ties = [(left, right, _unmoved, _unmoved) for row in rows for left, right in pairwise(row)]
        answer = _spread(ties, view)
        for _, *written in rows:
            for value in written:
                if value in answer.carry:
                    _check_shape(value, answer.carry[value], view)
        return answer


class LoopRule:
    """Carries any affine between a tensor that each iteration writes and the tensor in which these are stacked.

    Drawing:
        Loop(u) → scale·y + shift   ⇔   Loop(scale·u + shift) → y

    Algebra:
        y[k] is u of iteration k. The arrays of the affine have one axis more outside, of size 1: the first axis, and
        for Scan the one that scan_output_axes says. In which order Scan stacks makes no difference then.

    Conditions:
        1. The affine does not vary along the axis of the iterations.
        2. The tensor is none that the next iteration reads. (Inside, such a tensor is pinned.)
        3. A Scan is of opset 9 or newer: before, its tensors had a batch axis of their own.

    Source:
        https://onnx.ai/onnx/operators/onnx__Loop.html, https://onnx.ai/onnx/operators/onnx__Scan.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Loop", "Scan"})
    data_slots: ClassVar[frozenset[int]] = frozenset()
    examples: ClassVar[tuple[str, ...]] = (
        """
        loop (float[N,2,5] x, float[3,2,3] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
                => (float[12,3,3] y) {
            times = Constant <value_int = 4> ()
            stacked = Loop (times, "") <
                body = b (int64 i, bool going) => (bool again, float[3,3,3] u) {
                    again = Identity (going)
                    shifted = Add (x, x)
                    u = Conv (shifted, w)
                }
            >
            shape = Constant <value_ints = [12, 3, 3]> ()
            h = Reshape (stacked, shape)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        """
        scan (float[6,3,2,5] x, float[4,2,3] w, float[2] scale, float[2] bias, float[2] mean, float[2] var)
                => (float[18,4,3] y) {
            stacked = Scan <num_scan_inputs = 1, scan_output_axes = [1], scan_output_directions = [1],
                body = b (float[3,2,5] piece) => (float[3,2,5] u) {
                    t = Tanh (piece)
                    u = BatchNormalization (t, scale, bias, mean, var)
                }
            > (x)
            shape = Constant <value_ints = [18, 2, 5]> ()
            h = Reshape (stacked, shape)
            y = Conv (h, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        if node.op_type == "Scan" and view.opset(node) <= _BATCHED_SCAN:  # condition 3
            raise Blocked("is of opset 8, where its tensors have a batch axis of their own")
        first = first_stacked_output(node)
        written = body_of(node, "body").outputs[first:]
        carried = first - 1 if node.op_type == "Loop" else first  # the condition stays inside
        for value in node.outputs[:carried]:
            if (known := view.settled(value)) is not None and not known.is_identity:  # condition 2
                raise Blocked(f"carries what becomes '{value.name}' from one iteration to the next")
        stacked = node.outputs[carried:]
        axes = integers(node, "scan_output_axes", ()) or (0,) * len(written)
        ties = [(u, y, *_stacking(axis)) for u, y, axis in zip(written, stacked, axes, strict=False)]
        return _spread(ties, view)


def _spread(ties: Sequence[Tie], view: View) -> Answer:
    """Demand of each tensor what holds for those that it is tied to, until nothing new follows."""
    carry: dict[ir.Value, Reexpression] = {}
    progress = True
    while progress:
        progress = False
        for left, right, forward, back in ties:
            at_left, at_right = (carry.get(value, view.settled(value)) for value in (left, right))
            if at_left is not None and at_right is None:
                carry[right] = at_left.map(forward)
            elif at_left is None and at_right is not None:
                carry[left] = at_right.map(back)
            else:
                continue
            progress = True
    for left, right, forward, _ in ties:  # name them all: a disagreement is found by that
        at_left = carry.get(left, view.settled(left))
        if at_left is not None and not carry.setdefault(right, demand := at_left.map(forward)).agrees(demand):
            raise Blocked(f"hands on '{right.name}' twice, and would need it in two forms")
    return Answer(carry)


def _check_shape(value: ir.Value, known: Reexpression, view: View) -> None:
    for affine in (known.read, known.write):
        if affine is None or known.is_identity:
            continue
        shape = view.shape(value)
        sizes = np.maximum(affine.scale.shape, affine.shift.shape)
        if len(shape) != affine.rank or any(shape[axis] != sizes[axis] for axis in affine.axes):  # condition 1
            raise Blocked(f"has a branch whose output '{value.name}' has another shape, or may have")


def _unmoved(array: NDArray[np.float64]) -> NDArray[np.float64]:
    return array


def _stacking(axis: int) -> tuple[Move, Move]:
    def unstacked(array: NDArray[np.float64]) -> NDArray[np.float64]:
        if array.shape[axis] != 1:  # condition 1
            raise Blocked(f"stacks its iterations along axis {axis % array.ndim}, along which the affine varies")
        return np.squeeze(array, axis)

    return lambda array: np.expand_dims(array, axis), unstacked
