"""Operators of which the reference evaluator has a wrong version, or none.

The evaluator's own version takes every BatchNormalization before opset 14 for one in training: it mixes the
statistics of the batch into ``mean`` and ``var``, and would be a judge that is wrong. It has no DequantizeLinear before
opset 19, and computes the later ones in float32. Its MeanVarianceNormalization is a function with constants of
float32, and its Upsample only repeats.

Imported only in the child process that runs the oracle: it needs onnx.reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype
from onnx.reference.op_run import OpRun
from onnx.reference.ops import op_resize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.floating]

__all__ = ["BatchNormalization", "DequantizeLinear", "MeanVarianceNormalization", "Upsample"]

_TINY = 1e-9  # what the operator adds to the standard deviation


class BatchNormalization(OpRun):
    """y = x·factor + (bias − mean·factor) with factor = scale/√(var + epsilon), of every opset.

    Training mode is refused: ``training_mode = 1`` since opset 14, further outputs that are used from 7 to 13,
    ``is_test = 0`` before. With ``spatial = 0`` (opsets 7 and 8) the statistics have the shape of one sample.
    """

    op_domain = ""

    def _run(
        self, x: Array, scale: Array, bias: Array, mean: Array, var: Array, **attributes: float | None
    ) -> tuple[Array, ...]:
        further = [name for name in self.onnx_node.output[1:] if name]
        if further or attributes.get("training_mode") or attributes.get("is_test") == 0:
            raise NotImplementedError("BatchNormalization in training mode")
        spread = (-1, *(1,) * (x.ndim - 2)) if attributes.get("spatial") != 0 else x.shape[1:]
        scale, bias, mean, var = (parameter.reshape(spread) for parameter in (scale, bias, mean, var))
        # One multiplication and one addition, as runtimes do it: where the model runs in its own types, its error is
        # compared with theirs.
        factor = scale / np.sqrt(var + float(attributes.get("epsilon") or 0.0))
        y = x * factor + (bias - mean * factor)
        return (y, *(np.empty(0) for _ in self.onnx_node.output[1:]))


class DequantizeLinear(OpRun):
    """y = (x − zero_point)·scale, in float64 and rounded once, of every opset: per tensor, per axis or in blocks."""

    op_domain = ""

    def _run(
        self, x: NDArray[Any], scale: Array, zero_point: NDArray[Any] | None = None, **attributes: int | None
    ) -> tuple[NDArray[Any]]:
        axis, block = attributes.get("axis"), attributes.get("block_size") or 0
        axis = 1 if axis is None else axis
        offset = 0.0 if zero_point is None else _along(zero_point.astype(np.float64), x.shape, axis, block)
        y = (x.astype(np.float64) - offset) * _along(scale.astype(np.float64), x.shape, axis, block)
        wanted = attributes.get("output_dtype")
        return (y.astype(tensor_dtype_to_np_dtype(wanted) if wanted else scale.dtype),)


def _along(parameter: NDArray[np.float64], shape: tuple[int, ...], axis: int, block: int) -> NDArray[np.float64]:
    """A parameter in a shape that broadcasts to that of the numbers."""
    if parameter.size == 1:
        return parameter.reshape(())
    if block:
        return np.repeat(parameter, block, axis)[tuple(slice(size) for size in shape)]
    return parameter.reshape([-1 if place == axis % len(shape) else 1 for place in range(len(shape))])


class MeanVarianceNormalization(OpRun):
    """(x − mean)/(√var + 1e-9), both over some axes."""

    op_domain = ""

    def _run(self, x: Array, *, axes: Sequence[int] | None = None) -> tuple[Array]:
        over = tuple(axes or (0, 2, 3))
        return ((x - x.mean(over, keepdims=True)) / (x.std(over, keepdims=True) + x.dtype.type(_TINY)),)


class Upsample(op_resize.Resize):
    """A Resize of before opset 10: the place x of the output is x/scale of the input, rounded down for ``nearest``."""

    op_domain = ""

    def _run(  # type: ignore[override]
        self, x: Array, given: Array | None = None, *, mode: str | None = None, scales: Sequence[float] | None = None
    ) -> tuple[Array]:
        how = {"mode": mode or "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        (y,) = super()._run(x, None, scales if given is None else given, **how)
        return (y,)
