"""Ops that read no numbers, only a shape or a type."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.folding.answers import Answer, Blocked

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.folding.view import View

__all__ = ["ShapeRule"]


class ShapeRule:
    """Does not care: what the numbers of its input are makes no difference.

    Drawing:
        x → Shape → y   ⇒   scale·x + shift → Shape → y

    Algebra:
        A re-expression keeps shape and type.

    Conditions:
        1. CastLike reads the type of its second input only; its first is not re-expressed.

    Source:
        https://onnx.ai/onnx/operators/onnx__Shape.html, https://onnx.ai/onnx/operators/onnx__CastLike.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Shape", "Size", "CastLike"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0, 1})
    examples: ClassVar[tuple[str, ...]] = (
        """
        second_reader (float[N,2,4,4] x, float[3,2,3,3] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,2,2] y, int64[4] s) {
            h = Conv (x, w)
            s = Shape (h)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        touched = [*node.inputs[:1], *node.outputs] if node.op_type == "CastLike" else []
        if any(value is not None and view.settled(value) is not None for value in touched):  # condition 1
            raise Blocked("converts a tensor that the fold changes")
        return Answer()
