"""MatMul of two tensors that are both computed at run time. This is what attention is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bnfold.affine import DUST, Affine
from bnfold.folding.answers import Answer, Blocked, Choice
from bnfold.folding.nodes import integer, integers, required_input
from bnfold.folding.ops.identity import at_inference
from bnfold.folding.reexpression import Reexpression
from bnfold.folding.rounding import FLOATS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.view import View

__all__ = ["answer_product"]

_MOST_NUMBERS = 1 << 24  # of the products of scales that are compared
_SOFTMAX_OF_ONE_AXIS = 13  # before this opset, Softmax normalises over all axes from its axis on


def answer_product(node: ir.Node, view: View) -> Answer | Choice:
    """What a product of two runtime tensors makes of the re-expressions around it.

    Drawing:
        a·b → scale·y   ⇔   a·(b·scale) → y  along the columns   ⇔   (scale·a)·b → y  along the rows
        (a·scale)·b → y   ⇔   a·(scale·b) → y  along the axis that is summed over
        p·v → scale·y + shift   ⇔   p·(scale·v + shift) → y,  where the rows of p sum to 1

    Algebra:
        y[i, j] = Σ_k a[i, k]·b[k, j];  with factors for all three:  factor_y[i, j] = factor_a[i, k]·factor_b[k, j]
        Σ_k p[i, k]·(v[k, j] + shift[j]) = y[i, j] + shift[j]   for Σ_k p[i, k] = 1, as Softmax writes it

    Conditions:
        1. The tensors are different ones, with as many axes each, and not broadcast where the affine varies.
        2. The factors are as above, for every k.
        3. A shift passes only beside an operand that Softmax wrote and nobody changed since, in the forms that stand in
           ``_sums_to_one``; and it does not vary along the axis that is summed over.

    Source:
        https://onnx.ai/onnx/operators/onnx__MatMul.html; Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762),
        section 3.2.1.

    Raises:
        Blocked: A condition is broken.
    """
    product = _Product(node, view)
    known = {value: view.settled(value) for value in product.tensors if view.settled(value) is not None}
    if not known:
        return Answer()
    if len(known) > 1:
        return Answer(product.completed())
    options = tuple(product.options())
    if not options:
        raise Blocked(product.why_not())
    return Choice(options) if len(options) > 1 else options[0]


class _Product:
    """One MatMul, and what is settled around it."""

    def __init__(self, node: ir.Node, view: View) -> None:
        self._view = view
        self._left, self._right, self._output = required_input(node, 0), required_input(node, 1), node.outputs[0]
        self.tensors = (self._left, self._right, self._output)
        shapes = [view.shape(value) for value in self.tensors]
        if self._left is self._right:  # condition 1
            raise Blocked("multiplies a tensor with itself")
        if len({len(shape) for shape in shapes}) > 1:  # condition 1
            raise Blocked(f"multiplies tensors of {len(shapes[0])} and {len(shapes[1])} axes, known at run time")

    def options(self) -> Iterator[Answer]:
        """The ways to hand the one tensor on that is settled, the others staying as they are until they are asked."""
        source = next(value for value in self.tensors if self._view.settled(value) is not None)
        for target in (self._right, self._left, self._output):
            if target is not source:
                handed_on = self._handed_on(source, target)
                if handed_on is not None:
                    rest = {value: self._identity() for value in self.tensors if value not in (source, target)}
                    yield Answer({target: handed_on, **rest}, is_default=True)

    def completed(self) -> dict[ir.Value, Reexpression]:
        """What the third tensor must be; where all are settled, what the output must be."""
        missing = next((v for v in self.tensors if self._view.settled(v) is None), self._output)
        source, other = (value for value in (self._output, self._right, self._left) if value is not missing)
        for first, second in ((source, other), (other, source)):
            if self._known(second).is_identity and (handed_on := self._handed_on(first, missing)) is not None:
                return {missing: handed_on}
        return {missing: self._combined(missing)}

    def why_not(self) -> str:
        """Why the tensor that is settled cannot be handed on."""
        source = next(value for value in self.tensors if self._view.settled(value) is not None)
        if _has_shift(self._known(source)):
            return f"multiplies two tensors that are both computed at run time, and '{source.name}' has a shift"
        return f"multiplies two tensors that are both computed at run time, and cannot scale '{source.name}' alone"

    def _handed_on(self, source: ir.Value, target: ir.Value) -> Reexpression | None:
        """The re-expression of ``target`` that is the same as that of ``source``; the third tensor stays as it is."""
        known = self._known(source)
        if not self._is_alike(source, target, _axes(known)):
            return None
        rank = self._view.rank(source)
        if self._output not in (source, target):  # both operands: along the axis that is summed over
            outer = rank - 2 if source is self._left else rank - 1
            if outer in _axes(known) or _has_shift(known):
                return None
            return Reexpression(
                read=known.write.map(_swapped) if known.write is not None else None,
                write=known.read.map(_swapped) if known.read is not None else None,
            )
        operand = target if source is self._output else source
        summed, other = (rank - 1, self._right) if operand is self._left else (rank - 2, self._left)
        if summed in _axes(known):  # condition 2
            return None
        if _has_shift(known) and not _sums_to_one(other, 2 * rank - 3 - summed, self._view):  # condition 3
            return None
        return known

    def _combined(self, missing: ir.Value) -> Reexpression:
        """The scale of one tensor, from those of the two others (condition 2)."""
        # In the order [i, k, j] of the sum.
        if missing is self._output:
            write = _without_axis(-2, np.multiply, self._of_left(), self._of_right())
        elif missing is self._right:
            write = _without_axis(-3, np.divide, self._of_output(), self._of_left())
        else:
            write = _without_axis(-1, np.divide, self._of_output(), self._of_right())
        shape = self._view.shape(missing)
        if any(size > 1 and dim != size for size, dim in zip(write.shape, shape, strict=True)):  # condition 1
            raise Blocked(f"broadcasts '{missing.name}' along the affine, or may do so")
        return Reexpression.from_write(Affine(write, np.zeros_like(write)))

    def _of_left(self) -> NDArray[np.float64]:
        return self._scale(self._left)[..., :, :, None]

    def _of_right(self) -> NDArray[np.float64]:
        return self._scale(self._right)[..., None, :, :]

    def _of_output(self) -> NDArray[np.float64]:
        return self._scale(self._output)[..., :, None, :]

    def _scale(self, value: ir.Value) -> NDArray[np.float64]:
        known = self._known(value)
        if known.read is None or known.write is None or _has_shift(known):
            raise Blocked(f"multiplies two tensors that both change, and '{value.name}' otherwise than by a scale")
        return known.write.scale

    def _is_alike(self, source: ir.Value, target: ir.Value, axes: frozenset[int]) -> bool:
        """Whether the axes before the last two, as far as the affine varies along them, are known to be the same."""
        here, there = self._view.shape(source), self._view.shape(target)
        return all(isinstance(here[axis], int) and here[axis] == there[axis] for axis in axes if axis < len(here) - 2)

    def _known(self, value: ir.Value) -> Reexpression:
        return self._view.settled(value) or self._identity()

    def _identity(self) -> Reexpression:
        return Reexpression.from_read(Affine.identity(self._view.rank(self._output)))


def _without_axis(
    axis: int, combine: np.ufunc, left: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The product or the quotient of two arrays, which must not vary along ``axis``."""
    if np.prod(np.broadcast_shapes(left.shape, right.shape), dtype=float) > _MOST_NUMBERS:
        raise Blocked("multiplies two tensors that both change along all of their axes")
    factors: NDArray[np.float64] = combine(left, right)
    first = factors.take([0], axis)
    if (np.abs(factors - first) > DUST * np.abs(first)).any():  # condition 2
        raise Blocked("multiplies two tensors whose scales do not cancel along the axis that is summed over")
    return first.squeeze(axis)


def _swapped(array: NDArray[np.float64]) -> NDArray[np.float64]:
    return array.swapaxes(-1, -2)


def _axes(known: Reexpression) -> frozenset[int]:
    return frozenset().union(*(affine.axes for affine in (known.read, known.write) if affine is not None))


def _has_shift(known: Reexpression) -> bool:
    return any(affine is not None and affine.shift.any() for affine in (known.read, known.write))


def _sums_to_one(value: ir.Value, axis: int, view: View) -> bool:
    """Whether Softmax wrote a tensor, normalised along ``axis``, behind nothing but copies and Transposes."""
    rank = view.rank(value)
    node = value.producer()
    while node is not None and (node.op_type == "Transpose" or _copies(node, view)) and node.domain == "":
        if node.op_type == "Transpose":
            axis = (integers(node, "perm", ()) or tuple(reversed(range(rank))))[axis]
        node = required_input(node, 0).producer()
    if node is None or node.op_type != "Softmax" or node.domain != "":
        return False
    if view.opset(node) < _SOFTMAX_OF_ONE_AXIS:
        return integer(node, "axis", 1) % rank == axis == rank - 1
    return integer(node, "axis", -1) % rank == axis


def _copies(node: ir.Node, view: View) -> bool:
    """Whether an op hands its input on as it is, but for the number of bits."""
    if node.op_type == "Dropout":
        return at_inference(node, view)
    return node.op_type == "Identity" or (node.op_type == "Cast" and view.dtype(node.outputs[0]) in FLOATS)
