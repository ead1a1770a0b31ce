"""Ops that compare the cells along an axis: Softmax, LogSoftmax, Hardmax, ArgMax, ArgMin."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.folding.answers import Answer, Blocked
from bnfold.folding.nodes import integer, required_input
from bnfold.folding.ops.carrying import check_free

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.folding.view import View

__all__ = ["ComparingRule"]

_ONLY_ORDER_COUNTS = frozenset({"ArgMax", "ArgMin", "Hardmax"})
_FLATTENS = frozenset({"Hardmax", "LogSoftmax", "Softmax"})
_ONE_AXIS = 13  # the opset from which these have one axis; before, they flattened all axes from there on to one


class ComparingRule:
    """Absorbs a shift in front of it, which makes no difference to it.

    Drawing:
        x + shift → Softmax → y         ⇒   x → Softmax → y
        scale·x + shift → ArgMax → y    ⇒   x → ArgMax → y      (scale > 0)

    Algebra:
        exp(x + shift) / Σ exp(x + shift) = exp(x) / Σ exp(x)   for a shift that is the same for all terms
        An increasing function keeps the largest where it is.

    Conditions:
        1. The affine does not vary along the axes that are compared: one; before opset 13, Softmax, LogSoftmax and
           Hardmax compare all from there on.
        2. The scale is 1; of ArgMax, ArgMin and Hardmax it is positive.
        3. The output stays as it is.

    Source:
        https://onnx.ai/onnx/operators/onnx__Softmax.html, https://onnx.ai/onnx/operators/onnx__ArgMax.html
    """

    op_types: ClassVar[frozenset[str]] = _ONLY_ORDER_COUNTS | _FLATTENS
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        softmax (float[N,4,5] x, float[4,3] w, float[4] scale, float[4] bias, float[4] mean, float[4] var)
                => (float[N,5,3] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            t = Transpose <perm = [0,2,1]> (n)
            h = MatMul (t, w)
            y = Softmax <axis = 1> (h)
        }
        """,
        """
        where_the_largest_is (float[N,4,5] x, float[4] positive_scale, float[4] bias, float[4] mean, float[4] var)
                => (int64[N,4,1] y) {
            n = BatchNormalization (x, positive_scale, bias, mean, var)
            y = ArgMax <axis = 2> (n)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        known = view.settled(node.outputs[0])
        if known is not None and not known.is_identity:  # condition 3
            raise Blocked("writes what no affine may change")
        read = view.read(required_input(node, 0))
        check_free(read, _compared(node, view, read.rank), "compares")  # condition 1
        if node.op_type in _ONLY_ORDER_COUNTS:
            if not (read.scale > 0).all():  # condition 2
                raise Blocked("carries no scale that is negative or 0")
        elif (read.scale != 1).any():  # condition 2
            raise Blocked("takes no scale, only a shift")
        return Answer()


def _compared(node: ir.Node, view: View, rank: int) -> range:
    if node.op_type in _FLATTENS and view.opset(node) < _ONE_AXIS:
        return range(integer(node, "axis", 1) % rank, rank)
    axis = integer(node, "axis", -1 if node.op_type in _FLATTENS else 0) % rank
    return range(axis, axis + 1)
