"""Weights and biases of quantised models: integers, and the step that DequantizeLinear multiplies them by.

    (codes − zero)·step, per tensor, per axis or in blocks

A fold rewrites the step of weights, which must then be the rounded one. The codes of a bias take a shift in, rounded to
the next: there the distance is counted in steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.verifying.certificate.reading import Constants

    Array = NDArray[Any]
    Numbers = NDArray[np.float64]

__all__ = ["Codes", "codes_of", "dequantised", "reader_of"]


@dataclass(frozen=True)
class Codes:
    """A constant that is dequantised.

    Attributes:
        node: What does that.
        codes: The integers, their zero taken off.
        step: What each of them is multiplied by, in its own type.
    """

    node: ir.Node
    codes: Numbers
    step: Array

    @property
    def numbers(self) -> Numbers:
        """What they stand for."""
        return self.codes * self.step.astype(np.float64)

    def has_codes_of(self, other: Codes) -> bool:
        """Whether the integers are the same."""
        return self.codes.shape == other.codes.shape and bool((self.codes == other.codes).all())


def codes_of(value: ir.Value | None, constants: Constants) -> Codes | None:
    """What a constant is made of, if DequantizeLinear writes it."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != "DequantizeLinear" or not constants.is_constant(value):
        return None
    arrays = [constants.array(one) for one in node.inputs]
    if arrays[0] is None or arrays[1] is None:
        return None
    return Codes(node, *_parts(node, arrays[0], arrays[1], arrays[2] if len(arrays) > 2 else None))


def reader_of(node: ir.Node, value: ir.Value | None) -> ir.Node:
    """Which node reads what is stored for a constant input: the one that dequantises it, or the node itself."""
    producer = None if value is None else value.producer()
    return producer if producer is not None and producer.op_type == "DequantizeLinear" else node


def dequantised(node: ir.Node, inputs: list[Array]) -> Array:
    """The numbers, in the type of the step."""
    codes, step = _parts(node, inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None)
    return np.asarray(codes * step.astype(np.float64), step.dtype)


def _parts(node: ir.Node, codes: Array, step: Array, zero: Array | None) -> tuple[Numbers, Array]:
    axis, block = (node.attributes.get_int(name, default) for name, default in (("axis", 1), ("block_size", 0)))
    wide = codes.astype(np.float64)
    if zero is not None:
        wide = wide - _spread(zero, codes.shape, axis, block).astype(np.float64)
    return wide, np.broadcast_to(_spread(step, codes.shape, axis, block), codes.shape)


def _spread(parameter: Array, shape: tuple[int, ...], axis: int, block: int) -> Array:
    """One of each tensor, of each index along an axis, or of each block there, in a shape that broadcasts."""
    if parameter.size == 1:
        return parameter.reshape(())
    if block:
        return np.repeat(parameter, block, axis)[tuple(slice(size) for size in shape)]
    return parameter.reshape([-1 if place == axis % len(shape) else 1 for place in range(len(shape))])
