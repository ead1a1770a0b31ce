"""Neg."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.affine import Affine
from bnfold.folding.ops.elementwise import answer_elementwise

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.folding.answers import Answer
    from bnfold.folding.view import View

__all__ = ["NegationRule"]


class NegationRule:
    """Carries any affine, either way; the shift changes its sign.

    Drawing:
        scale·x + shift → Neg → y   ⇔   x → Neg → scale·y − shift

    Algebra:
        −(scale·x + shift) = scale·(−x) − shift

    Conditions:
        None.

    Source:
        https://onnx.ai/onnx/operators/onnx__Neg.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Neg"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        behind (float[N,2,5] x, float[3,2,1] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,5] y) {
            h = Conv (x, w)
            m = Neg (h)
            y = BatchNormalization (m, scale, bias, mean, var)
        }
        """,
        """
        in_front (float[N,5] x, float[4,5] w, float[5] scale, float[5] bias, float[5] mean, float[5] var)
                => (float[N,4] y) {
            h = BatchNormalization (x, scale, bias, mean, var)
            m = Neg (h)
            y = Gemm <transB = 1> (m, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        return answer_elementwise(node, view, _negated, _negated)


def _negated(affine: Affine) -> Affine:
    return Affine(affine.scale, -affine.shift)
