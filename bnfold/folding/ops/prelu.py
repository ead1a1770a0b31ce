"""PRelu."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.folding.answers import Answer, Blocked, Rewrite
from bnfold.folding.nodes import required_input
from bnfold.folding.ops.broadcasting import BROADCASTS, without_leading_ones
from bnfold.folding.ops.elementwise import answer_elementwise, check_no_shift, is_dead, with_constants

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.affine import Affine
    from bnfold.folding.view import View

__all__ = ["PReluRule"]


class PReluRule:
    """Carries a scale of any sign, either way; no shift. Where the scale is negative, the slope becomes its inverse.

    Drawing:
        scale·x → PRelu(a) → y   ⇔   x → PRelu(a) → scale·y            (scale > 0)
        scale·x → PRelu(a) → y   ⇔   x → PRelu(1/a) → a·scale·y        (scale < 0, a > 0)

    Algebra:
        f(x) = x for x ≥ 0, a·x otherwise. With scale < 0, scale·x is negative where x is positive:
        f(scale·x) = a·scale·x for x ≥ 0, scale·x otherwise = a·scale·(x for x ≥ 0, x/a otherwise)
        Where the scale is 0 the channel is a constant: f(shift) for the readers behind it. A constant c that is wanted
        behind it is c in front of it, or c/a where c < 0.

    Conditions:
        1. The shift is 0 wherever the scale is not.
        2. Where a scale, or a constant, is negative, the slope is a constant; it is positive there, but for a constant
           in front.
        3. The slope does not grow, but to one number a channel.
        4. The slope broadcasts into x; before opset 7 it is one number, or one for each index of the second axis.

    Source:
        https://onnx.ai/onnx/operators/onnx__PRelu.html; He et al. 2015 (https://arxiv.org/abs/1502.01852)
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"PRelu"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        behind (float[N,2,5] x, float[3,2,1] w, float[3,1] positive_slope, float[3] scale, float[3] zero_bias,
                float[3] zero_mean, float[3] var) => (float[N,3,5] y) {
            h = Conv (x, w)
            r = PRelu (h, positive_slope)
            n = BatchNormalization (r, scale, zero_bias, zero_mean, var)
            y = Tanh (n)
        }
        """,
        """
        in_front (float[N,5] x, float[5] positive_slope, float[4,5] w, float[5] scale, float[5] zero_bias,
                  float[5] zero_mean, float[5] var) => (float[N,4] y) {
            h = BatchNormalization (x, scale, zero_bias, zero_mean, var)
            r = PRelu (h, positive_slope)
            y = Gemm <transB = 1> (r, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        data, output = required_input(node, 0), node.outputs[0]
        affine = view.read(data) if view.settled(data) is not None else view.write(output)
        check_no_shift(affine)  # condition 1
        turned = affine.scale < 0
        if not turned.any() and not (affine.shift < 0).any():
            return answer_elementwise(node, view, lambda read: read, lambda write: write)
        stored = view.weight(required_input(node, 1), "a slope")  # condition 2
        slope = _aligned(stored, node, view)
        if (turned & (slope <= 0)).any():  # condition 2
            raise Blocked("carries a negative scale only where its slope is positive")
        carried = answer_elementwise(node, view, lambda read: _forward(read, slope), lambda write: _back(write, slope))
        if not turned.any():
            return carried
        new = np.where(turned, 1 / slope, slope)
        if new.size > max(slope.size, affine.scale.size):  # condition 3
            raise Blocked(f"would see its slope grow from {slope.size} to {new.size} numbers")
        constant = _unaligned(new, stored.ndim, node, view)
        return Answer(carried.carry, lambda: Rewrite(node, {1: constant}))


def _forward(read: Affine, slope: NDArray[np.float64]) -> Affine:
    constants = np.where(read.shift < 0, slope * read.shift, read.shift)
    return with_constants(read, _carried_scale(read, slope), constants)


def _back(write: Affine, slope: NDArray[np.float64]) -> Affine:
    negative = is_dead(write) & (write.shift < 0)
    if (negative & (slope <= 0)).any():  # condition 2
        raise Blocked("never writes the negative constant that is wanted of a channel with scale 0")
    constants = np.where(negative, write.shift / slope, write.shift)
    return with_constants(write, _carried_scale(write, slope), constants)


def _carried_scale(affine: Affine, slope: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is carried, either way: x = scale·x′ gives y = a·scale·y′, and y′ = scale·y takes x′ = a·scale·x."""
    return np.where(affine.scale < 0, slope * affine.scale, affine.scale)


def _aligned(slope: NDArray[np.float64], node: ir.Node, view: View) -> NDArray[np.float64]:
    """The slope with as many axes as the data."""
    shape = view.shape(required_input(node, 0))
    by_axis_1 = view.opset(node) < BROADCASTS  # condition 4
    full = slope.reshape(1, -1, *[1] * (len(shape) - 2)) if by_axis_1 else slope
    full = full.reshape((1,) * (len(shape) - full.ndim) + full.shape)
    fits = full.ndim == len(shape) and all(
        size == 1 or not isinstance(dim, int) or size == dim for size, dim in zip(full.shape, shape, strict=True)
    )
    if not fits:  # condition 4
        raise Blocked(f"has a slope of shape {list(slope.shape)}, which does not broadcast into its data")
    return full


def _unaligned(slope: NDArray[np.float64], rank: int, node: ir.Node, view: View) -> NDArray[np.float64]:
    """The slope as the node wants it: with as few axes as before, if that will do."""
    if view.opset(node) >= BROADCASTS:
        return without_leading_ones(slope, rank)
    if slope.size not in (1, slope.shape[1]):  # condition 4
        raise Blocked(f"is of opset {view.opset(node)}, whose broadcasting is another one")
    return slope.reshape(-1)
