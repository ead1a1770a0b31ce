"""Add and Sub: of a constant, which is the bias behind a MatMul above all, and of two branches."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.affine import Affine
from bnfold.folding.answers import Answer, Blocked, Choice, Rewrite
from bnfold.folding.ops.broadcasting import BROADCASTS, without_leading_ones
from bnfold.folding.ops.constant_operand import ConstantOperand, check_growth, find_constant_operand
from bnfold.folding.ops.sums import answer_sum
from bnfold.folding.reexpression import Reexpression

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.view import View

__all__ = ["AddRule"]


class AddRule:
    """Takes the shift of an affine into its constant, and hands the scale on. Of two branches: see ``SumRule``.

    Drawing:
        u → Add(c) → scale·y + shift   ⇒   scale·u → Add(c′)
        scale·u + shift → Add(c) → y   ⇒   u → Add(c′) → scale·y

    Algebra:
        Add, u − c and c − u are sign·u + d with d = c, −c, c:
        behind:      scale·(sign·u + d) + shift = sign·(scale·u) + d′      d′ = scale·d + shift
        in front:    sign·(scale·u + shift) + d = scale·(sign·u + d′)      d′ = (sign·shift + d)/scale
        Where the scale in front is 0, y becomes the constant sign·shift + d for its readers.

    Conditions:
        1. The opset is 7 or newer.
        2. It broadcasts into u, whose shape is that of the output: an affine means the same on both.
        3. It does not grow, but to one number a channel: [H, W] times [C, 1, 1] would be C times as large.

    Source:
        https://onnx.ai/onnx/operators/onnx__Add.html, https://onnx.ai/onnx/operators/onnx__Sub.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Add", "Sub"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0, 1})
    examples: ClassVar[tuple[str, ...]] = (
        """
        behind (float[N,5] x, float[5,4] w, float[1,4] c, float[4] scale, float[4] bias, float[4] mean, float[4] var)
                => (float[N,4] y) {
            u = MatMul (x, w)
            h = Add (c, u)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        """
        in_front (float[N,5,7] x, float[5,4] w, float[4] c, float[5] scale, float[5] bias, float[5] mean, float[5] var)
                => (float[N,7,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            t = Transpose <perm = [0,2,1]> (n)
            u = MatMul (t, w)
            h = Add (u, c)
            y = Sigmoid (h)
        }
        """,
        """
        residual (float[N,3,5] x, float[3,3,1] w, float[3,3,1] w2, float[3] scale, float[3] bias, float[3] mean,
                  float[3] var) => (float[N,3,5] y) {
            a = Conv (x, w)
            t = Tanh (x)
            b = Conv (t, w2)
            h = Add (a, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        """
        difference (float[N,3,5] x, float[3,3,1] w, float[3,3,1] w2, float[3] scale, float[3] bias, float[3] mean,
                    float[3] var) => (float[N,3,5] y) {
            a = Conv (x, w)
            t = Tanh (x)
            b = Conv (t, w2)
            h = Sub (a, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        """
        from_a_constant (float[N,5] x, float[5,4] w, float[1,4] c, float[4] scale, float[4] bias, float[4] mean,
                         float[4] var) => (float[N,4] y) {
            u = MatMul (x, w)
            h = Sub (c, u)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer | Choice:  # noqa: D102 - see Rule
        if view.opset(node) < BROADCASTS:  # condition 1
            raise Blocked(f"is of opset {view.opset(node)}, whose broadcasting is another one")
        operand = find_constant_operand(node, view.find_weight)
        return answer_sum(node, view) if operand is None else _answer_constant(operand, view)


def _answer_constant(operand: ConstantOperand, view: View) -> Answer:
    node, data, output = operand.node, operand.data, operand.node.outputs[0]
    shape = view.shape(data)
    if not operand.broadcasts_into(shape):  # condition 2
        shape_text = list(operand.array.shape)
        raise Blocked(f"broadcasts '{data.name}' to the shape of its constant, {shape_text}, or may do so")
    own = operand.affine(len(shape))
    if own is None:
        raise Blocked("adds a constant that is not finite")
    if view.settled(data) is not None:
        affine = view.read(data)
        known, new = _in_front(affine, own)
        carry = {output: known}
    else:
        affine = view.write(output)
        known, new = _behind(affine, own)
        carry = {data: known}
    check_growth(new, operand.array, affine)  # condition 3
    subtracted = node.op_type == "Sub" and operand.slot == 1
    stored = without_leading_ones(-new if subtracted else new, operand.array.ndim)
    return Answer(carry, lambda: Rewrite(node, {operand.slot: stored}, dtype_slot=operand.slot))


def _behind(write: Affine, own: Affine) -> tuple[Reexpression, NDArray[np.float64]]:
    handed_on = Affine(write.scale, np.zeros_like(write.scale))
    return Reexpression.from_write(handed_on), write.scale * own.shift + write.shift


def _in_front(read: Affine, own: Affine) -> tuple[Reexpression, NDArray[np.float64]]:
    total = own.scale * read.shift + own.shift
    dead = read.scale == 0
    handed_on = Affine(read.scale, np.where(dead, total, 0.0))
    return Reexpression.from_read(handed_on), np.where(dead, own.shift, total / np.where(dead, 1.0, read.scale))
