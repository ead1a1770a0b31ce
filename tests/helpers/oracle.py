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


class Loop(OpRun):
    """The reference implementation joins along the first axis what is to be stacked, and needs a condition."""

    op_domain = ""

    def need_context(self):
        return True

    def _run(self, times=None, going=None, *carried, context=None, body=None, attributes=None, bindings=None):
        pieces = []
        going = going is None or bool(going)
        number = 0
        while going and (times is None or number < times):
            inputs = [np.array(number), np.array(going), *carried]
            feeds = {**context, **dict(zip(body.input_names, inputs, strict=True))}
            going, *written = self._run_body(feeds, attributes=attributes)
            carried, number = written[: len(carried)], number + 1
            pieces.append(written[len(carried) :])
        return (*carried, *map(np.stack, zip(*pieces, strict=True)))


class Scan(OpRun):
    """The reference implementation knows the first axis and one direction only."""

    op_domain = ""

    def need_context(self):
        return True

    def _run(self, *args, context=None, body=None, num_scan_inputs=None, attributes=None, bindings=None, **options):
        def option(name: str, index: int) -> int:
            return (options.get(name) or [0] * 8)[index]

        split = len(args) - num_scan_inputs
        carried, sequences = args[:split], []
        for index, array in enumerate(args[split:]):
            array = np.moveaxis(array, option("scan_input_axes", index), 0)
            sequences.append(array[::-1] if option("scan_input_directions", index) else array)
        pieces = []
        for parts in zip(*sequences, strict=True):
            feeds = {**context, **dict(zip(body.input_names, [*carried, *parts], strict=True))}
            written = self._run_body(feeds, attributes=attributes)
            carried = written[:split]
            pieces.append(written[split:])
        stacked = []
        for index, arrays in enumerate(zip(*pieces, strict=True)):
            order = -1 if option("scan_output_directions", index) else 1
            stacked.append(np.stack(arrays[::order], option("scan_output_axes", index)))
        return (*carried, *stacked)


NEW_OPS = [AveragePool, ConvTranspose, GlobalMaxPool, Loop, MaxPool, Scan]


def run(model: ir.Model, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    proto = inline_local_functions(ir.to_proto(model))  # the evaluator does not hand new_ops on to functions
    return ReferenceEvaluator(proto, new_ops=NEW_OPS).run(None, feeds)


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


def assert_equal(
    reference: ir.Model, candidate: ir.Model, *, tolerance: float = 1e-11, seeds: int = 2, least: float = 0.0
) -> None:
    """Both models compute the same in float64, on every output; one that cancels to 0 is measured by ``least``."""
    for seed in range(seeds):
        feeds = feeds_for(reference, seed=seed)
        for expected, got in zip(run(reference, feeds), run(candidate, feeds), strict=True):
            assert got.dtype == expected.dtype
            assert got.shape == expected.shape
            np.testing.assert_allclose(
                got, expected, rtol=tolerance, atol=tolerance * max(np.abs(expected).max(), least)
            )
