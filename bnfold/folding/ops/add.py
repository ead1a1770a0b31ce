"""Add: of a constant, which is the bias behind a MatMul above all, and of two branches."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.affine import Affine
from bnfold.folding.answers import Answer, Blocked, Choice, Rewrite
from bnfold.folding.nodes import required_input
from bnfold.folding.ops.broadcasting import BROADCASTS, without_leading_ones
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
        behind:      scale·(u + c) + shift = scale·u + c′        c′ = scale·c + shift
        in front:    scale·u + shift + c   = scale·(u + c′)      c′ = (shift + c)/scale
        Where the scale in front is 0, y becomes the constant shift + c for its readers.

    Conditions:
        1. The opset is 7 or newer.
        2. It broadcasts into u, whose shape is that of the output: an affine means the same on both.
        3. It does not grow, but to one number a channel: [H, W] times [C, 1, 1] would be C times as large.

    Source:
        https://onnx.ai/onnx/operators/onnx__Add.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Add"})
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
            b = Conv (x, w2)
            h = Add (a, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer | Choice:  # noqa: D102 - see Rule
        if view.opset(node) < BROADCASTS:  # condition 1
            raise Blocked(f"is of opset {view.opset(node)}, whose broadcasting is another one")
        slot = next((slot for slot in (1, 0) if view.find_weight(required_input(node, slot)) is not None), None)
        if slot is None:
            return answer_sum(node, view)
        constant = view.weight(required_input(node, slot), "an operand")
        data, output = required_input(node, 1 - slot), node.outputs[0]
        _check_broadcast(constant, data, view)
        if view.settled(data) is not None:
            affine = view.read(data)
            known, new = _in_front(affine, constant)
            carry = {output: known}
        else:
            affine = view.write(output)
            known, new = _behind(affine, constant)
            carry = {data: known}
        if new.size > max(constant.size, affine.scale.size, affine.shift.size):  # condition 3
            raise Blocked(f"would see its constant grow from {constant.size} to {new.size} numbers")
        return Answer(carry, lambda: Rewrite(node, {slot: without_leading_ones(new, constant.ndim)}, dtype_slot=slot))


def _check_broadcast(constant: NDArray[np.float64], data: ir.Value, view: View) -> None:
    shape = view.shape(data)
    aligned = shape[len(shape) - constant.ndim :] if constant.ndim <= len(shape) else ()
    fits = constant.ndim <= len(shape) and all(
        size in (1, dim) for size, dim in zip(constant.shape, aligned, strict=True)
    )
    if not fits:  # condition 2
        raise Blocked(f"broadcasts '{data.name}' to the shape of its constant, {list(constant.shape)}, or may do so")


def _behind(write: Affine, constant: NDArray[np.float64]) -> tuple[Reexpression, NDArray[np.float64]]:
    handed_on = Affine(write.scale, np.zeros_like(write.scale))
    return Reexpression.from_write(handed_on), write.scale * constant + write.shift


def _in_front(read: Affine, constant: NDArray[np.float64]) -> tuple[Reexpression, NDArray[np.float64]]:
    total = read.shift + constant
    dead = read.scale == 0
    handed_on = Affine(read.scale, np.where(dead, total, 0.0))
    return Reexpression.from_read(handed_on), np.where(dead, constant, total / np.where(dead, 1.0, read.scale))
