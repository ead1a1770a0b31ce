"""Concat, and Split, which is its inverse."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.folding.nodes import integer, required_input
from bnfold.folding.ops.pieces import answer_pieces

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.folding.answers import Answer
    from bnfold.folding.view import View

__all__ = ["ConcatRule"]


class ConcatRule:
    """Carries any affine, either way: cut into the pieces', or put together from theirs.

    Drawing:
        Concat(a, b) → scale·y + shift   ⇔   Concat(scale₁·a + shift₁, scale₂·b + shift₂) → y
        Split(x) → a, b likewise, from the other side

    Algebra:
        The arrays of the affine are cut, or concatenated, where the tensors are. Towards the whole, a piece that nobody
        asked about is extended by the identity.

    Conditions:
        1. Where the affine varies along the axis, the size of each piece there is known.
        2. A tensor that is two pieces gets one form.

    Source:
        https://onnx.ai/onnx/operators/onnx__Concat.html, https://onnx.ai/onnx/operators/onnx__Split.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Concat", "Split"})
    data_slots: ClassVar[frozenset[int]] = frozenset(range(4096))
    examples: ClassVar[tuple[str, ...]] = (
        """
        of_branches (float[N,2,5] x, float[3,2,1] w, float[2,2,1] w2, float[5] scale, float[5] bias, float[5] mean,
                     float[5] var) => (float[N,5,5] y) {
            a = Conv (x, w)
            b = Conv (x, w2)
            h = Concat <axis = 1> (a, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        """
        beside_another_branch (float[N,3,5] x, float[4,6,1] w, float[3] scale, float[3] bias, float[3] mean,
                               float[3] var) => (float[N,4,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            t = Tanh (x)
            h = Concat <axis = -2> (n, t)
            y = Conv (h, w)
        }
        """,
        """
        split (float[N,2,5] x, float[4,2,1] w, float[2] scale, float[2] bias, float[2] mean, float[2] var)
                => (float[N,2,5] y, float[N,2,5] z) {
            h = Conv (x, w)
            a, b = Split <axis = 1, num_outputs = 2> (h)
            y = BatchNormalization (a, scale, bias, mean, var)
            z = Tanh (b)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        axis = integer(node, "axis", 0 if node.op_type == "Split" else 1)
        if node.op_type == "Split":
            return answer_pieces(required_input(node, 0), node.outputs, axis, view)
        pieces = [required_input(node, slot) for slot in range(len(node.inputs))]
        return answer_pieces(node.outputs[0], pieces, axis, view)
