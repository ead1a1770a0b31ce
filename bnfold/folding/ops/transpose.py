"""Transpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.folding.nodes import integers, required_input
from bnfold.folding.ops.carrying import carry_through

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.folding.answers import Answer
    from bnfold.folding.view import View

__all__ = ["TransposeRule"]


class TransposeRule:
    """Carries any affine, either way, along with its axis.

    Drawing:
        scale·x + shift → Transpose → y   ⇔   x → Transpose → scaleᵀ·y + shiftᵀ

    Algebra:
        The arrays of the affine have the axes of the tensor, and are permuted like it.

    Conditions:
        1. The number of axes is known when there is no perm, which then reverses them.

    Source:
        https://onnx.ai/onnx/operators/onnx__Transpose.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Transpose"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        behind_a_linear (float[N,7,5] x, float[5,4] w, float[4] b, float[4] scale, float[4] bias, float[4] mean,
                         float[4] var) => (float[N,4,7] y) {
            product = MatMul (x, w)
            h = Add (product, b)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        data = required_input(node, 0)
        perm = integers(node, "perm", ()) or tuple(reversed(range(view.rank(data))))  # condition 1
        inverse = tuple(np.argsort(perm))
        return carry_through(node, view, lambda array: array.transpose(perm), lambda array: array.transpose(inverse))
