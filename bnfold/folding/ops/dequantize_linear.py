"""DequantizeLinear of constants: the weights and biases of quantised models."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx_ir as ir

from bnfold.folding.answers import Answer, Blocked, Rewrite
from bnfold.folding.constants import spread
from bnfold.folding.nodes import find_input, integer, required_input
from bnfold.folding.rounding import round_once

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bnfold.folding.view import View

__all__ = ["DequantizeLinearRule"]

_HAS_AXIS = 13  # the opset from which a scale may be a vector


class DequantizeLinearRule:
    """Takes a positive scale into its own scale, which becomes one for each channel; the integers stay as they are.

    Drawing:
        codes → DequantizeLinear(step, zero) → factor·w + shift   ⇒   codes′ → DequantizeLinear(step′, zero)

    Algebra:
        factor·(codes − zero)·step + shift = (codes′ − zero)·step′
        step′ = factor·step          codes′ = codes + shift/step′, which is rounded

    Conditions:
        1. The codes are constants: what is between a QuantizeLinear and a DequantizeLinear of activations was
           calibrated, and is compared bit for bit.
        2. The factor is positive, and so is step′ as it is stored: runtimes take no other scale.
        3. The factor is the same wherever step is one number: for the whole tensor (then step may become a vector, from
           opset 13 on), along its axis, or within a block.
        4. Only integers of 32 bits, the biases, take a shift: their step is too small for the rounding to matter. None
           leaves the range.

    Source:
        https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html; Jacob et al. 2017
        (https://arxiv.org/abs/1712.05877), sections 2.4 and 3.2.
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"DequantizeLinear", "QuantizeLinear"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        per_tensor (float[N,4,6,6] x, int8[6,4,3,3] q, float[] positive_step, int8[] point, float[6] positive_scale,
                    float[6] bias, float[6] mean, float[6] var) => (float[N,6,4,4] y) {
            w = DequantizeLinear (q, positive_step, point)
            h = Conv (x, w)
            y = BatchNormalization (h, positive_scale, bias, mean, var)
        }
        """,
        """
        per_axis (float[N,5] x, uint8[5,4] q, float[5] positive_step, uint8[5] point, float[5] positive_scale,
                  float[5] bias, float[5] mean, float[5] var) => (float[N,4] y) {
            n = BatchNormalization (x, positive_scale, bias, mean, var)
            w = DequantizeLinear <axis = 0> (q, positive_step, point)
            y = Gemm (n, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        codes = view.numbers(node.inputs[0])
        if codes is None:  # condition 1
            raise Blocked("quantises an activation: a fold across it would not be exact bit for bit")
        step = view.weight(required_input(node, 1), "a scale")
        write = view.write(node.outputs[0])
        if (write.scale <= 0).any():  # condition 2
            raise Blocked(f"would need a quantisation scale that is {'negative' if (write.scale < 0).any() else 0}")
        block_size = integer(node, "block_size", 0)
        new_step, axis = _scaled_step(node, view, step, write.scale)
        _check_positive(node, view, step, new_step)
        constants = {1: new_step}
        zero_point = view.constant(find_input(node, 2))
        if zero_point is not None and zero_point.shape != new_step.shape:
            constants[2] = np.broadcast_to(zero_point.astype(np.float64).reshape(-1), new_step.shape)
        if write.shift.any():
            if view.dtype(required_input(node, 0)) is not ir.DataType.INT32:  # condition 4
                raise Blocked("has integers that a shift would change")
            constants[0] = _shifted(codes, write.shift / spread(new_step, codes.shape, axis, block_size))
        attributes = {} if axis == integer(node, "axis", 1) else {"axis": ir.AttrInt64("axis", axis)}
        return Answer(rewrite=lambda: Rewrite(node, constants, attributes=attributes))


def _scaled_step(
    node: ir.Node, view: View, step: NDArray[np.float64], factor: NDArray[np.float64]
) -> tuple[NDArray[np.float64], int]:
    """The new step, and the axis along which it is one."""
    axis, rank = integer(node, "axis", 1), factor.ndim
    if factor.size == 1:
        return step * factor.reshape(-1)[0], axis
    varying = [index for index, size in enumerate(factor.shape) if size > 1]
    if (block_size := integer(node, "block_size", 0)) and step.size > 1:
        return step * _of_blocks(factor, axis % rank, block_size), axis
    if len(varying) > 1 or (step.size > 1 and varying != [axis % rank]):  # condition 3
        where = f"each index of axis {axis % rank}" if step.size > 1 else "each index of one axis, at most"
        raise Blocked(f"has one scale for {where}, but the affine varies along {', '.join(map(str, varying))}")
    if view.opset(node) < _HAS_AXIS:  # condition 3
        raise Blocked(f"is of opset {view.opset(node)}, with one scale for the whole tensor")
    return step.reshape(-1) * factor.reshape(-1), varying[0]


def _of_blocks(factor: NDArray[np.float64], axis: int, block_size: int) -> NDArray[np.float64]:
    """The factor of each block along ``axis``."""
    size = factor.shape[axis]
    if size == 1:
        return factor
    starts = factor.take(range(0, size, block_size), axis)
    if (np.repeat(starts, block_size, axis).take(range(size), axis) != factor).any():  # condition 3
        raise Blocked(f"has one scale for each block of {block_size}, but the affine varies within a block")
    return starts


def _check_positive(node: ir.Node, view: View, step: NDArray[np.float64], new: NDArray[np.float64]) -> None:
    stored = view.constant(node.inputs[1])
    if stored is not None and (step > 0).all():
        rounded, _ = round_once(new, ir.DataType.from_numpy(stored.dtype))
        if not (rounded > 0).all():  # condition 2
            raise Blocked("would need a quantisation scale that is rounded to 0")


def _shifted(codes: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float64]:
    limits = np.iinfo(np.int32)
    new = codes + shift
    if not ((new > limits.min) & (new < limits.max)).all():  # condition 4
        raise Blocked("would need integers of more than 32 bits")
    return new
