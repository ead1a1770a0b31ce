"""Cast."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import onnx_ir as ir

from bnfold.folding.answers import Blocked
from bnfold.folding.constants import FLOATS
from bnfold.folding.nodes import integer, required_input, text
from bnfold.folding.ops.carrying import carry_through

if TYPE_CHECKING:
    from bnfold.folding.answers import Answer
    from bnfold.folding.view import View

__all__ = ["CastRule"]


class CastRule:
    """Carries any affine, either way, from one floating-point type to another.

    Drawing:
        scale·x + shift → Cast → y   ⇔   x → Cast → scale·y + shift

    Algebra:
        y = x, but for the rounding

    Conditions:
        1. Both types are float16, bfloat16, float or double. (To an integer, or an 8-bit float, the rounding counts.)

    Source:
        https://onnx.ai/onnx/operators/onnx__Cast.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Cast"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        behind (float[N,2,5] x, float[3,2,1] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,5] y) {
            h = Conv (x, w)
            c = Cast <to = 11> (h)
            y = BatchNormalization (c, scale, bias, mean, var)
        }
        """,
        """
        in_front (float[N,5] x, float[4,5] w, float[5] scale, float[5] bias, float[5] mean, float[5] var)
                => (float[N,4] y) {
            h = BatchNormalization (x, scale, bias, mean, var)
            c = Cast <to = 11> (h)
            y = Gemm <transB = 1> (c, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        source, target = view.dtype(required_input(node, 0)), _target(node, view)
        if source not in FLOATS or target not in FLOATS:  # condition 1
            names = [dtype.name if dtype is not None else "a type that is not known" for dtype in (source, target)]
            raise Blocked(f"casts {names[0]} to {names[1]}")
        return carry_through(node, view, lambda array: array, lambda array: array)


def _target(node: ir.Node, view: View) -> ir.DataType | None:
    if view.opset(node) >= 6:
        return ir.DataType(integer(node, "to", 0))
    return ir.DataType.__members__.get(text(node, "to", "").upper())
