"""Runs a model of float64 in float64, with the operators' own reference implementation."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch
from onnx.inliner import inline_local_functions
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun


class ConvTranspose(OpRun):
    """By torch: the reference implementation raises for groups."""

    op_domain = ""

    def _run(self, x, w, b=None, **attributes):
        axes = x.ndim - 2
        pads = attributes.get("pads") or [0] * 2 * axes
        convolve = getattr(torch.nn.functional, f"conv_transpose{axes}d")
        whole = convolve(
            torch.from_numpy(np.array(x)),
            torch.from_numpy(np.array(w)),
            None if b is None else torch.from_numpy(np.array(b)),
            stride=tuple(attributes.get("strides") or [1] * axes),
            output_padding=tuple(attributes.get("output_padding") or [0] * axes),
            groups=attributes.get("group") or 1,
            dilation=tuple(attributes.get("dilations") or [1] * axes),
        ).numpy()
        kept = [
            slice(begin, size - end) for begin, end, size in zip(pads[:axes], pads[axes:], whole.shape[2:], strict=True)
        ]
        return (whole[(slice(None), slice(None), *kept)],)


class _Pool(OpRun):
    """By torch: the reference implementation loses axes on one spatial axis. Pads are the same at both ends."""

    op_domain = ""

    def _pool(self, kind: str, x: np.ndarray, attributes: dict, **options: object) -> tuple[np.ndarray]:
        axes = x.ndim - 2
        pool = getattr(torch.nn.functional, f"{kind}_pool{axes}d")
        pads = (attributes.get("pads") or [0] * 2 * axes)[:axes]
        strides = tuple(attributes.get("strides") or [1] * axes)
        kernel = tuple(attributes["kernel_shape"])
        return (pool(torch.from_numpy(np.array(x)), kernel, strides, tuple(pads), **options).numpy(),)


class MaxPool(_Pool):
    def _run(self, x, **attributes):
        return self._pool("max", x, attributes)


class AveragePool(_Pool):
    def _run(self, x, **attributes):
        return self._pool("avg", x, attributes, count_include_pad=bool(attributes.get("count_include_pad")))


class GlobalMaxPool(OpRun):
    """The reference implementation drops an axis of three."""

    op_domain = ""

    def _run(self, x):
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class DequantizeLinear(OpRun):
    """In float64: the reference implementation computes in float32."""

    op_domain = ""

    def _run(self, x, scale, zero_point=None, axis=1, block_size=0, output_dtype=None):
        def spread(parameter: np.ndarray) -> np.ndarray:
            parameter = parameter.astype(np.float64)
            if parameter.ndim == 0 or parameter.size == 1:
                return parameter.reshape(())
            if block_size:
                return np.repeat(parameter, block_size, axis).take(range(x.shape[axis]), axis)
            return np.expand_dims(parameter, tuple(i for i in range(x.ndim) if i != axis % x.ndim))

        codes = x.astype(np.float64) - (0.0 if zero_point is None else spread(zero_point))
        return ((codes * spread(scale)).astype(scale.dtype),)


class BatchNormalization(OpRun):
    """At inference. From opset 7 to 13 the reference implementation takes the presence of momentum for training."""

    op_domain = ""

    def _run(self, x, scale, bias, mean, var, epsilon=1e-5, **_):
        along = [array.reshape(-1, *[1] * (x.ndim - 2)) for array in (scale, bias, mean, var)]
        return ((along[0] * (x - along[2]) / np.sqrt(along[3] + epsilon) + along[1]).astype(x.dtype),)


NEW_OPS = [AveragePool, ConvTranspose, DequantizeLinear, GlobalMaxPool, MaxPool]


def run(model: ir.Model, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    proto = inline_local_functions(ir.to_proto(model))  # the evaluator does not hand new_ops on to functions
    inference_only = [BatchNormalization] if 7 <= model.opset_imports[""] < 14 else []
    return ReferenceEvaluator(proto, new_ops=[*NEW_OPS, *inference_only]).run(None, feeds)


def feeds_for(model: ir.Model, *, seed: int = 0, symbols: int = 3) -> dict[str, np.ndarray]:
    """Random data for the graph inputs that are no constants; every symbolic size is ``symbols``."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for value in model.graph.inputs:
        if value.is_initializer() and model.ir_version < 4:
            continue
        shape = [dim if isinstance(dim, int) else symbols for dim in value.shape]
        if value.dtype is ir.DataType.BOOL:
            feeds[value.name] = rng.random(shape) < 0.5
        else:
            feeds[value.name] = rng.normal(0.5, 1.5, shape).astype(value.dtype.numpy())
    return feeds


def assert_equal(reference: ir.Model, candidate: ir.Model, *, tolerance: float = 1e-11, seeds: int = 2) -> None:
    """Both models compute the same in float64, on every output."""
    for seed in range(seeds):
        feeds = feeds_for(reference, seed=seed)
        for expected, got in zip(run(reference, feeds), run(candidate, feeds), strict=True):
            assert got.dtype == expected.dtype
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())
