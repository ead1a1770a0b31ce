"""Sums of branches: Add and Sub of two runtime tensors, Sum, Mean. This is where residual streams meet.

All tensors that a sum joins share their scale, while their shifts need only add up, and a branch that ends in a Conv or
a Gemm can pay any shift with its bias. So along a stream x → x + F(BN(x)) → … the shift may be another one behind each
sum, for free: the BatchNormalizations of a pre-activation ResNet put their shift into the stream and their scale, where
it is positive, through the Relu into the Conv behind it; those of an iResNet, of any sign, make the zeros that the next
Conv pads with the right ones. Of several that read one segment of a stream, as in a DenseNet, one can go.

A reader that takes a shift of k standard deviations off again loses as many roundings: beyond 2^8 (in float32) the plan
is refused, and ``conditioning`` in the report says how large the shifts are that were accepted.

Source: He et al. 2016 (https://arxiv.org/abs/1603.05027), Han et al. 2017 (https://arxiv.org/abs/1610.02915).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.affine import DUST, Affine
from bnfold.folding.answers import Answer, Blocked, Choice
from bnfold.folding.nodes import required_input
from bnfold.folding.reexpression import Reexpression

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.view import View

__all__ = ["SumRule", "answer_sum"]

# Ops that take a shift into a bias of their own.
_HAVE_BIAS = frozenset({"BatchNormalization", "Conv", "ConvTranspose", "Gemm"})


class SumRule:
    """Carries one scale through all its tensors; a shift goes into any one of them.

    Drawing:
        a + b → scale·y + shift   ⇔   (scale·a + shift) + scale·b → y   ⇔   scale·a + (scale·b + shift) → y

    Algebra:
        With each tensor v′ = scale·v + shift_v:   y′ = ±a′ ± b′   if and only if   shift_y = ±shift_a ± shift_b
        (for Mean of n, 1/n in the place of ±). Where scale is 0 behind it, each branch writes a constant instead.

    Conditions:
        1. The operands have as many axes as the output, and none cancels.
        2. Along the axes on which the affine varies no operand is broadcast.
        3. All tensors have the same scale; it is 0 only where the output is to be a constant.
        4. The shifts add up.

    Source:
        https://onnx.ai/onnx/operators/onnx__Add.html; He et al. 2016 (https://arxiv.org/abs/1603.05027) for the stream.
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Mean", "Sum"})
    data_slots: ClassVar[frozenset[int]] = frozenset(range(64))
    examples: ClassVar[tuple[str, ...]] = (
        """
        sum_of_three (float[N,3,5] x, float[3,3,1] w, float[3,3,1] w2, float[3,3,1] w3, float[3] scale, float[3] bias,
                      float[3] mean, float[3] var) => (float[N,3,5] y) {
            a = Conv (x, w)
            t = Tanh (x)
            b = Conv (t, w2)
            r = Relu (x)
            c = Conv (r, w3)
            h = Sum (a, b, c)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        """
        mean_of_two (float[N,3,5] x, float[3,3,1] w, float[3,3,1] w2, float[3] scale, float[3] bias, float[3] mean,
                     float[3] var) => (float[N,3,5] y) {
            a = Conv (x, w)
            t = Tanh (x)
            b = Conv (t, w2)
            h = Mean (a, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer | Choice:  # noqa: D102 - see Rule
        return answer_sum(node, view)


def answer_sum(node: ir.Node, view: View) -> Answer | Choice:
    """What a sum makes of the re-expressions around it.

    Raises:
        Blocked: A condition of ``SumRule`` is broken.
    """
    weights = _weights(node)
    known = {value: _write(known) for value in weights if (known := view.settled(value)) is not None}
    if not known:
        return Answer()
    scale = next(iter(known.values())).scale
    _check(node, weights, known, view)
    missing = _missing_shift(weights, known)
    open_ = [value for value in weights if value not in known]
    nothing = np.zeros_like(scale)
    if not missing.any():
        return Answer({value: _with(scale, nothing) for value in open_})
    if not open_:
        raise Blocked("has shifts that do not add up")  # condition 4

    def hand_on(taker: ir.Value) -> Answer:
        shift = -missing / weights[taker]
        return Answer({value: _with(scale, shift if value is taker else nothing) for value in open_})

    takers = sorted(
        (value for value in open_ if not view.why_pinned(value)), key=lambda value: _likely_cost(value, node)
    )
    if not takers:
        raise Blocked("has no branch that could take the shift")
    return hand_on(takers[0]) if len(open_) == 1 else Choice(tuple(map(hand_on, takers)))


def _weights(node: ir.Node) -> dict[ir.Value, float]:
    """How often each tensor counts in ``0 = operands − output``: twice, if it is added to itself."""
    operands = [required_input(node, slot) for slot in range(len(node.inputs))]
    weights = dict.fromkeys(operands, 0.0)
    for slot, value in enumerate(operands):
        weights[value] += -1.0 if node.op_type == "Sub" and slot == 1 else 1.0
    if node.op_type == "Mean":
        weights = {value: weight / len(operands) for value, weight in weights.items()}
    if not all(weights.values()):  # condition 1
        raise Blocked("subtracts a tensor from itself")
    return {**weights, node.outputs[0]: -1.0}


def _missing_shift(weights: dict[ir.Value, float], known: dict[ir.Value, Affine]) -> NDArray[np.float64]:
    """What the shifts of the known tensors add up to, and exactly 0 where they cancel but for the last bits."""
    terms = [weights[value] * affine.shift for value, affine in known.items() if affine.shift.any()]
    if not terms:
        return np.zeros((1,) * next(iter(known.values())).rank)
    terms = list(np.broadcast_arrays(*terms))
    missing: NDArray[np.float64] = np.sum(terms, axis=0)
    return np.where(np.abs(missing) <= DUST * np.sum(np.abs(terms), axis=0), 0.0, missing)


def _write(known: Reexpression) -> Affine:
    if known.write is None:  # condition 3
        raise Blocked("shares one scale among its branches, and a scale of 0 cannot be undone in the others")
    return known.write


def _check(node: ir.Node, weights: dict[ir.Value, float], known: dict[ir.Value, Affine], view: View) -> None:
    scale = next(iter(known.values())).scale
    if any((np.abs(affine.scale - scale) > DUST * np.abs(scale)).any() for affine in known.values()):
        raise Blocked("has branches that would need different scales")  # condition 3
    if (scale == 0).any() and node.outputs[0] not in known:  # condition 3
        raise Blocked("shares one scale among its branches, and a scale of 0 cannot be undone in the others")
    axes = frozenset().union(*(affine.axes for affine in known.values()))
    output = view.shape(node.outputs[0])
    for value in weights:
        shape = view.shape(value)
        if len(shape) != len(output):  # condition 1
            raise Blocked(f"broadcasts '{value.name}', which has {len(shape)} axes")
        if any(not isinstance(shape[axis], int) or shape[axis] != output[axis] for axis in axes):  # condition 2
            raise Blocked(f"broadcasts '{value.name}' along the channels, or may do so")


def _with(scale: NDArray[np.float64], shift: NDArray[np.float64]) -> Reexpression:
    return Reexpression.from_write(Affine(scale, shift))


def _likely_cost(value: ir.Value, node: ir.Node) -> int:
    """Cheapest: a branch that nobody else reads, and whose writer has a bias."""
    producer = value.producer()
    if producer is node:
        return 3  # the output: all that reads it is drawn in
    if len(value.uses()) > 1 or producer is None:
        return 2
    return 0 if producer.op_type in _HAVE_BIAS else 1
