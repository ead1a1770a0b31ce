"""Ops that hand their input on as it is: Identity, and Dropout at inference."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.folding.answers import Answer, Blocked
from bnfold.folding.nodes import find_input, flag
from bnfold.folding.ops.carrying import carry_as_is

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.folding.view import View

__all__ = ["IdentityRule", "at_inference"]


class IdentityRule:
    """Carries any affine, either way.

    Drawing:
        scale·x + shift → Identity → y   ⇔   x → Identity → scale·y + shift

    Algebra:
        y = x

    Conditions:
        1. A Dropout is at inference: its training_mode is absent or a constant false (opset 12 and newer), or its
           is_test is set (opset 6 and older). In between it has no other mode.

    Source:
        https://onnx.ai/onnx/operators/onnx__Dropout.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Identity", "Dropout"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        dropout (float[N,5] x, float[4,5] w, float[5] scale, float[5] bias, float[5] mean, float[5] var)
                => (float[N,4] y) {
            h = BatchNormalization (x, scale, bias, mean, var)
            d = Dropout (h)
            i = Identity (d)
            y = Gemm <transB = 1> (i, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        if node.op_type == "Dropout" and not at_inference(node, view):  # condition 1
            raise Blocked("is in training mode, or may be")
        return carry_as_is(node, view)


def at_inference(node: ir.Node, view: View) -> bool:
    """Whether a Dropout hands its input on as it is."""
    opset = view.opset(node)
    if opset < 7:
        return flag(node, "is_test")
    mode = find_input(node, 2)
    if mode is None:
        return True
    constant = view.constant(mode)
    return constant is not None and not constant.any()
