"""Mul and Div: by a constant, and of two tensors that are computed at run time (gates and norms)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.affine import DUST, Affine
from bnfold.folding.answers import Answer, Blocked, Choice
from bnfold.folding.nodes import required_input
from bnfold.folding.ops.broadcasting import BROADCASTS
from bnfold.folding.ops.constant_operand import find_constant_operand
from bnfold.folding.ops.factors import answer_factor
from bnfold.folding.ops.nonlinear import NonlinearRule
from bnfold.folding.reexpression import Reexpression

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.view import View

__all__ = ["MulRule"]

# Ops that take a scale into their weights, and ops whose output can take none.
_HAVE_WEIGHTS = frozenset({"BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul"})
_TAKE_NONE = NonlinearRule.op_types | {"HardSigmoid", "LogSoftmax", "Softmax"}
# Ops between a gate and its product.
_MOVE = frozenset({"Cast", "Expand", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


class MulRule:
    """Takes the scale of an affine into its constant, and hands the shift on. Of two tensors: carries a scale only.

    Drawing:
        u → Mul(c) → scale·y + shift   ⇒   u + shift′ → Mul(c′)
        scale·u + shift → Mul(c) → y   ⇒   u → Mul(c′) → y + shift″
        a·b → scale·y   ⇔   (scale·a)·b → y   ⇔   a·(scale·b) → y
        a/b → scale·y   ⇔   (scale·a)/b → y   ⇔   a/(b/scale) → y

    Algebra:
        By a constant c (or its reciprocal, for Div, which becomes a Mul):
        behind:      scale·c·u + shift = c′·(u + shift′)         c′ = scale·c, shift′ = shift/c′
        in front:    c·(scale·u + shift) = c′·u + shift″         c′ = c·scale, shift″ = c·shift
        Where c′ is 0 behind, u becomes the constant shift.
        Of two tensors, with each v = scale_v·v′:
        y′ = a′·b′   if and only if   scale_y = scale_a·scale_b         x′·x′: scale_y = scale_x²
        y′ = a′/b′   if and only if   scale_y = scale_a/scale_b
        A factor that is the constant 0 in a channel makes the product 0 there, and so does one that is written as 0.

    Conditions:
        1. The opset is 7 or newer.
        2. Of two tensors: there is no shift.
        3. An operand takes no scale that varies along an axis on which it is broadcast, or may be.
        4. The scales multiply up. A scale of 0 is that of a factor, or of a numerator, and of the output.
        5. A constant is finite, broadcasts into u, and is not divided by u.
        6. It does not grow, but to one number a channel.

    Source:
        https://onnx.ai/onnx/operators/onnx__Mul.html; Hu et al. 2018 (https://arxiv.org/abs/1709.01507) for the gates.
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Mul", "Div"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0, 1})
    examples: ClassVar[tuple[str, ...]] = (
        """
        gate_behind_a_product (float[N,3,5] x, float[3,3,1] w, float[3,3] v, float[3] scale, float[3] zero_bias,
                               float[3] zero_mean, float[3] var) => (float[N,3,5] y) {
            a = Conv (x, w)
            p = GlobalAveragePool (x)
            f = Flatten (p)
            g = Gemm (f, v)
            s = Sigmoid (g)
            axes = Constant <value_ints = [2]> ()
            u = Unsqueeze (s, axes)
            m = Mul (u, a)
            n = BatchNormalization (m, scale, zero_bias, zero_mean, var)
            y = Tanh (n)
        }
        """,
        """
        gate_of_the_same_tensor (float[N,3,5] x, float[3,3,1] w, float[4,3,1] v, float[3] scale, float[3] zero_bias,
                                 float[3] zero_mean, float[3] var) => (float[N,4,5] y) {
            n = BatchNormalization (x, scale, zero_bias, zero_mean, var)
            p = GlobalAveragePool (n)
            c = Conv (p, w)
            g = Sigmoid (c)
            m = Mul (n, g)
            y = Conv (m, v)
        }
        """,
        """
        ratio (float[N,3,5] x, float[3,3,1] w, float[3] scale, float[3] zero_bias, float[3] zero_mean, float[3] var)
                => (float[N,3,5] y) {
            a = Conv (x, w)
            b = Exp (x)
            d = Div (a, b)
            n = BatchNormalization (d, scale, zero_bias, zero_mean, var)
            y = Tanh (n)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer | Choice:  # noqa: D102 - see Rule
        if view.opset(node) < BROADCASTS:  # condition 1
            raise Blocked(f"is of opset {view.opset(node)}, whose broadcasting is another one")
        operand = find_constant_operand(node, view.find_weight)
        return _answer_product(node, view) if operand is None else answer_factor(operand, view)


def _answer_product(node: ir.Node, view: View) -> Answer | Choice:
    powers, output = _powers(node), node.outputs[0]
    settled = {value: known for value in (*powers, output) if (known := view.settled(value)) is not None}
    # Where a scale is 0 there is only one of the two maps. What the output used to be takes reading the operands.
    is_read = output not in settled or all(known.read is not None for known in settled.values())
    affines = {value: view.read(value) if is_read else view.write(value) for value in settled}
    scales = {value: _lifted(_scale(affine), view.rank(output)) for value, affine in affines.items()}
    product = _product([scales[value] ** power for value, power in powers.items() if value in scales])
    wanted = scales.get(output, np.ones(1))
    missing = np.where((wanted == 0) & (product == 0), 1.0, wanted / product)
    missing = np.where(np.abs(missing - 1) <= DUST, 1.0, missing)
    if (missing == 1).all():
        return Answer(settled)
    needs = {value: missing ** (1 / power) for value, power in powers.items() if value not in settled}
    if output not in settled:
        needs[output] = product
    if not needs:
        raise Blocked("has scales that do not multiply up")  # condition 4
    return _choice(node, needs, view, is_read=is_read)


def _choice(node: ir.Node, needs: dict[ir.Value, NDArray[np.float64]], view: View, *, is_read: bool) -> Answer | Choice:
    """Any one of the tensors may take what it would need; the cheapest first."""
    options: list[Answer] = []
    refusals: list[Blocked] = []
    for value in sorted(needs, key=lambda value: _likely_cost(value, node)):
        try:
            options.append(Answer({value: _demand(value, needs[value], node, view, is_read=is_read)}))
        except Blocked as refusal:
            refusals.append(refusal)
    if not options:
        raise refusals[0]
    return options[0] if len(needs) == 1 else Choice(tuple(options))


def _demand(value: ir.Value, scale: NDArray[np.float64], node: ir.Node, view: View, *, is_read: bool) -> Reexpression:
    is_operand = value is not node.outputs[0]
    if pinned := view.why_pinned(value):
        raise Blocked(f"has no tensor that could take the scale: '{value.name}' is {pinned}")
    if not np.isfinite(scale).all() or (is_operand and is_read and not scale.all()):  # condition 4
        raise Blocked(f"has scales that no scale of '{value.name}' could make up for")
    affine = Affine(scale, np.zeros_like(scale))  # without the axes along which nothing varies
    if is_operand:
        own = _lowered(affine.scale, value, view)
        affine = Affine(own, np.zeros_like(own))
    return Reexpression.from_read(affine) if is_read else Reexpression.from_write(affine)


def _powers(node: ir.Node) -> dict[ir.Value, int]:
    """With which power each operand stands in the product."""
    first, second = required_input(node, 0), required_input(node, 1)
    if first is not second:
        return {first: 1, second: 1 if node.op_type == "Mul" else -1}
    if node.op_type == "Div":
        raise Blocked("divides a tensor by itself")
    return {first: 2}


def _scale(affine: Affine) -> NDArray[np.float64]:
    if affine.shift.any():  # condition 2
        raise Blocked("carries no shift")
    return affine.scale


def _product(factors: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    product = np.ones(1)
    for factor in factors:
        product = product * factor
    return product


def _lifted(scale: NDArray[np.float64], rank: int) -> NDArray[np.float64]:
    """The scale of an operand, with as many axes as the output."""
    return scale.reshape((1,) * (rank - scale.ndim) + scale.shape)


def _lowered(scale: NDArray[np.float64], value: ir.Value, view: View) -> NDArray[np.float64]:
    """The scale of the output, with as many axes as an operand."""
    shape = view.shape(value)
    extra = scale.ndim - len(shape)
    own = scale.shape[extra:]
    fits = all(size == 1 for size in scale.shape[:extra]) and all(
        size in (1, dim) for size, dim in zip(own, shape, strict=True)
    )
    if not fits:  # condition 3
        raise Blocked(f"broadcasts '{value.name}' along the channels, or may do so")
    return scale.reshape(own)


def _likely_cost(value: ir.Value, node: ir.Node) -> int:
    """Cheapest: an operand that nobody else reads, and whose writer has weights. Last: a gate."""
    producer = value.producer()
    if producer is node:
        return 3  # the output: all that reads it is drawn in
    shared = len(value.uses()) > 1
    while producer is not None and producer.op_type in _MOVE and producer.inputs[0] is not None:
        producer = producer.inputs[0].producer()
    if producer is None or producer.op_type in _TAKE_NONE:
        return 4
    if shared:
        return 2
    return 0 if producer.op_type in _HAVE_WEIGHTS else 1
