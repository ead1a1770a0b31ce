"""Runs a model of float64 in float64, with the operators' own reference implementation."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch
from onnx.inliner import inline_local_functions
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops import op_batch_normalization, op_resize


class BatchNormalization(op_batch_normalization.BatchNormalization_14):
    """At inference in every opset, unless training_mode says otherwise: the reference trains in opsets 7 to 13."""

    op_domain = ""

    def _run(self, x, *parameters, epsilon=None, momentum=None, training_mode=0, **_older):
        options = {"epsilon": epsilon, "momentum": momentum, "training_mode": training_mode or 0}
        return super()._run(x, *parameters, **options)


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


class GridSample(OpRun):
    """By torch, on two spatial axes: the reference implementation rounds positions to float32."""

    op_domain = ""

    def _run(self, x, grid, align_corners=0, mode="bilinear", padding_mode="zeros"):
        mode = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
        image, positions = torch.from_numpy(np.array(x)), torch.from_numpy(np.array(grid, x.dtype))
        sampled = torch.nn.functional.grid_sample(image, positions, mode, padding_mode, bool(align_corners))
        return (sampled.numpy(),)


class Pad(OpRun):
    """The reference implementation raises for negative pads; their cells are cut off first."""

    op_domain = ""

    def _run(self, data, pads=None, constant_value=None, axes=None, **attributes):
        """Before opset 11 pads and the value are attributes, of which opset 1 calls the pads otherwise."""
        pads = attributes.get("paddings") or attributes.get("pads") if pads is None else pads
        axes = range(data.ndim) if axes is None else axes
        cut, widths = [slice(None)] * data.ndim, [(0, 0)] * data.ndim
        for axis, begin, end in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
            cut[axis] = slice(max(-begin, 0), data.shape[axis] - max(-end, 0))
            widths[axis] = (max(begin, 0), max(end, 0))
        mode = attributes.get("mode") or "constant"
        fill = attributes.get("value") if constant_value is None else np.asarray(constant_value).item()
        return (
            np.pad(data[tuple(cut)], widths, mode, **({"constant_values": fill or 0} if mode == "constant" else {})),
        )


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


class Resize(op_resize.Resize):
    """The reference implementation has cubic weights in float32, the type of cubic_coeff_a, and no negative axes."""

    op_domain = ""

    def _run(self, x, *inputs, cubic_coeff_a=None, axes=None, **attributes):
        attributes["axes"] = [axis % x.ndim for axis in axes] if axes is not None else None
        if len(inputs) == 1:  # the Resize of opset 10
            return _upsampled(self, x, inputs[0], attributes["mode"])
        return super()._run(x, *(inputs or [None]), cubic_coeff_a=float(cubic_coeff_a or -0.75), **attributes)


class Upsample(op_resize.Resize):
    """The reference implementation has none; it is the Resize of opset 10."""

    op_domain = ""

    def _run(self, x, scales=None, mode="nearest", height_scale=None, width_scale=None):
        return _upsampled(self, x, [1, 1, height_scale, width_scale] if scales is None else scales, mode)


def _upsampled(op: op_resize.Resize, x: np.ndarray, scales: object, mode: str) -> tuple[np.ndarray]:
    where = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return op_resize.Resize._run(op, x, None, np.array(scales), mode=mode, **where)


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


OPS = [
    AveragePool,
    BatchNormalization,
    ConvTranspose,
    DequantizeLinear,
    GlobalMaxPool,
    GridSample,
    Loop,
    MaxPool,
    Pad,
    Resize,
    Scan,
    Upsample,
]


def run(model: ir.Model, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    proto = inline_local_functions(ir.to_proto(model))  # the evaluator does not hand new_ops on to functions
    return ReferenceEvaluator(proto, new_ops=OPS).run(None, feeds)


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
