"""Ops that sort: TopK."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.folding.answers import Blocked
from bnfold.folding.nodes import integer
from bnfold.folding.ops.carrying import affines_around, carry_as_is, check_free

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.folding.answers import Answer
    from bnfold.folding.view import View

__all__ = ["TopKRule"]


class TopKRule:
    """Carries a positive scale and any shift: they leave the order as it is.

    Drawing:
        scale·x + shift → TopK → y   ⇔   x → TopK → scale·y + shift      (scale > 0)

    Algebra:
        An increasing function keeps the order, so that the same cells come first; their indices do not change.

    Conditions:
        1. The affine does not vary along the axis that is sorted.
        2. Every scale is positive. (Where it is 0, all cells would be the same, and which of them come first another
           matter.)

    Source:
        https://onnx.ai/onnx/operators/onnx__TopK.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"TopK"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        top (float[N,2,6] x, float[3,2,1] w, float[3] positive_scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,4] y, int64[N,3,4] i) {
            h = Conv (x, w)
            k = Constant <value_ints = [4]> ()
            t, i = TopK (h, k)
            y = BatchNormalization (t, positive_scale, bias, mean, var)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        for affine in affines_around(node, view):
            check_free(affine, {integer(node, "axis", -1) % affine.rank}, "sorts")  # condition 1
            if not (affine.scale > 0).all():  # condition 2
                raise Blocked("sorts: carries no scale that is negative or 0")
        return carry_as_is(node, view)
