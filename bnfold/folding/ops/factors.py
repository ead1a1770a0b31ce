"""A constant factor: what Mul and Div by a constant make of an affine next to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bnfold.affine import DUST, Affine
from bnfold.folding.answers import Answer, Blocked, Rewrite
from bnfold.folding.ops.broadcasting import without_leading_ones
from bnfold.folding.ops.constant_operand import ConstantOperand, check_growth
from bnfold.folding.reexpression import Reexpression

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from bnfold.folding.view import View

__all__ = ["answer_factor"]


def answer_factor(operand: ConstantOperand, view: View) -> Answer:
    """The factor takes the scale in; the shift is handed on, times the factor or divided by it.

    With ``old = read(new)`` in front and ``new = write(old)`` behind, the factor c becomes write.scale·c·read.scale.

    Raises:
        Blocked: A condition of ``MulRule`` is broken.
    """
    node = operand.node
    output = node.outputs[0]
    shape = view.shape(operand.data)
    affine = operand.affine(len(shape))
    if affine is None:  # condition 5 of MulRule
        raise Blocked("divides a constant by the tensor, or has a factor that is not finite: carries nothing")
    if not operand.broadcasts_into(shape):
        raise Blocked(f"broadcasts '{operand.data.name}' to the shape of its constant, or may do so")
    factor = affine.scale
    if view.settled(operand.data) is None:
        return _behind(operand, factor, view.write(output))
    read = view.read(operand.data)
    if view.settled(output) is None:
        return _in_front(operand, factor, read)
    write = view.write(output)
    terms = write.scale * factor * read.shift, write.shift
    if (np.abs(terms[0] + terms[1]) > DUST * np.abs(terms[1])).any():
        raise Blocked("takes in no shift, and the shifts around it do not cancel")
    return Answer(rewrite=_rewrite(operand, write.scale * factor * read.scale, read, write))


def _in_front(operand: ConstantOperand, factor: NDArray[np.float64], read: Affine) -> Answer:
    """c·(scale·x + shift) = (c·scale)·x + c·shift: nothing is divided, so that a scale of 0 does no harm."""
    shift = Affine(np.ones_like(factor), factor * read.shift)
    carry = {} if shift.is_identity else {operand.node.outputs[0]: Reexpression.from_read(shift)}
    return Answer(carry, _rewrite(operand, factor * read.scale, read))


def _behind(operand: ConstantOperand, factor: NDArray[np.float64], write: Affine) -> Answer:
    """scale·c·x + shift = (scale·c)·(x + shift / (scale·c)); where that is 0, x becomes the constant itself."""
    product = write.scale * factor
    dead = (product == 0) & (write.shift != 0)
    scale = np.where(dead, 0.0, 1.0)
    shift = write.shift / np.where(product == 0, 1.0, product)
    handed_on = Affine(scale, shift)
    carry = {} if handed_on.is_identity else {operand.data: Reexpression.from_write(handed_on)}
    return Answer(carry, _rewrite(operand, np.where(dead, 1.0, product), write))


def _rewrite(operand: ConstantOperand, factor: NDArray[np.float64], *affines: Affine) -> Callable[[], Rewrite]:
    node = operand.node
    new = without_leading_ones(Affine(factor, np.zeros_like(factor)).scale, operand.array.ndim)
    check_growth(new, operand.array, *affines)  # condition 6 of MulRule
    # A division becomes the product with the reciprocal: a factor of 0 has none.
    op_type = "Mul" if node.op_type == "Div" else None
    return lambda: Rewrite(node, {operand.slot: new}, dtype_slot=operand.slot, op_type=op_type)
