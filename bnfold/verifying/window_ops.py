"""Convolutions and pools for the reference evaluator: the same numbers as its own, by matrix products.

Of the evaluator's own, Conv builds all windows of a batch at once by indices, pooling visits every window in Python,
ConvTranspose raises where it has groups, LpPool takes the padding for a mean of the rest, and GlobalMaxPool takes all
for images. Here windows are views of the padded input, read a few rows at a time.

Imported only in the child process that runs the oracle: it needs onnx.reference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops import op_max_pool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["AveragePool", "Conv", "ConvTranspose", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool"]

_ELEMENTS = 1 << 22  # of the matrix of windows, at a time: 32 MiB in float64


@dataclass(frozen=True)
class Windows:
    """Where windows lie, one number for each spatial axis.

    Attributes:
        kernel: Their sizes.
        strides: Steps between them.
        dilations: Steps inside them.
        before: Padding in front.
        behind: Padding behind.
        count: How many there are.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    behind: tuple[int, ...]
    count: tuple[int, ...]

    def padded(self, x: Array, value: float) -> Array:
        """``x`` with its padding, and with what a last window that is not whole reads beyond it."""
        widths = [(0, 0), (0, 0)]
        for axis, size in enumerate(x.shape[2:]):
            reach = (self.count[axis] - 1) * self.strides[axis] + (self.kernel[axis] - 1) * self.dilations[axis] + 1
            widths.append((self.before[axis], max(self.behind[axis], reach - size - self.before[axis])))
        return np.pad(x, widths, constant_values=value) if any(map(any, widths)) else x

    def taps(self, padded: Array) -> Iterator[tuple[tuple[int, ...], Array]]:
        """For each place in the kernel, what all windows have there: ``[N, C, *count]``, a view."""
        for place in product(*map(range, self.kernel)):
            starts = [index * dilation for index, dilation in zip(place, self.dilations, strict=True)]
            slices = (
                slice(start, start + (count - 1) * stride + 1, stride)
                for start, count, stride in zip(starts, self.count, self.strides, strict=True)
            )
            yield place, padded[_last(slices)]


def windows(
    shape: Sequence[int],
    kernel: Sequence[int],
    *,
    auto_pad: str | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    strides: Sequence[int] | None,
    ceil_mode: int | None = 0,
) -> Windows:
    """The windows over an input of spatial sizes ``shape``, from the attributes as ONNX has them."""
    axes = len(shape)
    step, inner = tuple(strides or [1] * axes), tuple(dilations or [1] * axes)
    given = tuple(pads or [0] * (2 * axes))
    before, behind, count = [], [], []
    for axis, size in enumerate(shape):
        extent = (kernel[axis] - 1) * inner[axis] + 1
        front, back = given[axis], given[axes + axis]
        if auto_pad in {"SAME_UPPER", "SAME_LOWER"}:
            both = max(0, (-(-size // step[axis]) - 1) * step[axis] + extent - size)
            front = (both + (auto_pad == "SAME_LOWER")) // 2
            back = both - front
        elif auto_pad == "VALID":
            front = back = 0
        room = size + front + back - extent
        number = room // step[axis] + 1
        # A last window that is not whole counts if it starts inside the input or the padding in front of it.
        if ceil_mode and room % step[axis] and number * step[axis] < size + front:
            number += 1
        before.append(front)
        behind.append(back)
        count.append(number)
    return Windows(tuple(kernel), step, inner, tuple(before), tuple(behind), tuple(count))


class Conv(OpRun):
    """Each group: weights ``[M/group, C/group·K]`` times windows ``[C/group·K, positions]``."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        w: Array,
        b: Array | None = None,
        *,
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int | None = None,
        kernel_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        del kernel_shape  # the weight says so too
        parts = group or 1
        if x.ndim < 3 or x.shape[1] != w.shape[1] * parts or w.shape[0] % parts:
            raise ValueError(f"Conv: {list(x.shape)} and weights {list(w.shape)} in {parts} groups do not fit")
        where = windows(x.shape[2:], w.shape[2:], auto_pad=auto_pad, dilations=dilations, pads=pads, strides=strides)
        y = np.empty((len(x), len(w), *where.count), x.dtype)
        taps = [tap for _, tap in where.taps(where.padded(x, 0))]
        matrix = w.reshape(parts, len(w) // parts, -1)
        across = prod(where.count[1:])
        rows = max(1, _ELEMENTS // max(1, x.shape[1] * len(taps) * across))
        for sample, start in product(range(len(x)), range(0, where.count[0], rows)):
            pieces = [tap[sample, :, start : start + rows] for tap in taps]
            columns = np.stack(pieces, axis=1).reshape(parts, matrix.shape[2], -1)
            y[sample, :, start : start + rows] = (matrix @ columns).reshape(len(w), -1, *where.count[1:])
        if b is not None:
            y += b.reshape(-1, *[1] * (x.ndim - 2))
        return (y,)


class ConvTranspose(OpRun):
    """Each tap of the kernel adds its product to the outputs that it reaches."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        w: Array,
        b: Array | None = None,
        *,
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int | None = None,
        kernel_shape: Sequence[int] | None = None,
        output_padding: Sequence[int] | None = None,
        output_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        del kernel_shape
        parts, axes = group or 1, x.ndim - 2
        step, inner = tuple(strides or [1] * axes), tuple(dilations or [1] * axes)
        extra, given = tuple(output_padding or [0] * axes), tuple(pads or [0] * (2 * axes))
        if x.ndim < 3 or x.shape[1] != len(w) or len(w) % parts:
            raise ValueError(f"ConvTranspose: {list(x.shape)} and weights {list(w.shape)} in {parts} groups do not fit")
        whole, front, sizes = [], [], []
        for axis, size in enumerate(x.shape[2:]):
            reach = (size - 1) * step[axis] + (w.shape[2 + axis] - 1) * inner[axis] + 1
            before, wanted = given[axis], reach + extra[axis] - given[axis] - given[axes + axis]
            if auto_pad == "VALID":
                before, wanted = 0, reach + extra[axis]
            elif output_shape or auto_pad in {"SAME_UPPER", "SAME_LOWER"}:
                wanted = output_shape[axis] if output_shape else size * step[axis]
                total = reach + extra[axis] - wanted
                before = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
            whole.append(max(reach, before + wanted))
            front.append(before)
            sizes.append(wanted)
        if min(front) < 0:
            raise NotImplementedError("ConvTranspose whose output is larger than what its input reaches")
        channels = w.shape[1] * parts
        y = np.zeros((len(x), channels, *whole), x.dtype)
        taps = w.reshape(parts, len(w) // parts, *w.shape[1:])
        data = x.reshape(len(x), parts, len(w) // parts, -1)
        for place in product(*map(range, w.shape[2:])):
            spread = (taps[_last(place)].swapaxes(1, 2) @ data).reshape(len(x), channels, *x.shape[2:])
            slices = (
                slice(index * dilation, index * dilation + (size - 1) * stride + 1, stride)
                for index, dilation, size, stride in zip(place, inner, x.shape[2:], step, strict=True)
            )
            y[_last(slices)] += spread
        y = y[_last(slice(start, start + size) for start, size in zip(front, sizes, strict=True))]
        return (y if b is None else y + b.reshape(-1, *[1] * axes),)


class MaxPool(op_max_pool.MaxPool):
    """Padding never wins. With indices, or where a NaN would have to be ordered, the evaluator's own."""

    op_domain = ""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array, ...]:  # type: ignore[override]
        is_float = x.dtype.kind == "f"
        if len(self.onnx_node.output) > 1 or x.dtype.kind not in "fiu" or (is_float and np.isnan(x).any()):
            return tuple(super()._run(x, **attributes))  # type: ignore[no-untyped-call]
        where = _pooled(x, attributes)
        lowest = -np.inf if is_float else np.iinfo(x.dtype).min
        y = np.full((*x.shape[:2], *where.count), lowest, x.dtype)
        for _, tap in where.taps(where.padded(x, lowest)):
            np.maximum(y, tap, out=y)
        return (y,)


class AveragePool(OpRun):
    """The sum of each window over how many it holds: of the input, or of the input and its padding."""

    op_domain = ""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array]:
        where = _pooled(x, attributes)
        # Beyond the padding, where a last window is not whole, nothing counts.
        held = np.ones((1, 1, *x.shape[2:]), x.dtype)
        widths = [(0, 0), (0, 0), *zip(where.before, where.behind, strict=True)]
        held = np.pad(held, widths, constant_values=1 if attributes.get("count_include_pad") else 0)
        none = (0,) * len(where.kernel)
        inside = replace(where, before=none, behind=none)
        count = sum(tap for _, tap in inside.taps(inside.padded(held, 0)))
        y = np.zeros((*x.shape[:2], *where.count), x.dtype)
        for _, tap in where.taps(where.padded(x, 0)):
            y += tap
        return (np.asarray(y / count, x.dtype),)


class LpPool(OpRun):
    """(Σ|x|ᵖ)^(1/p) over each window; padding adds nothing."""

    op_domain = ""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array]:
        where, power = _pooled(x, attributes), attributes.get("p") or 2
        y = np.zeros((*x.shape[:2], *where.count), x.dtype)
        for _, tap in where.taps(where.padded(np.abs(x) ** power, 0)):
            y += tap
        return (np.asarray(y ** (1 / power), x.dtype),)


class GlobalMaxPool(OpRun):
    """The largest of each channel, over as many spatial axes as there are."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (x.max(_spatial(x), keepdims=True),)


class GlobalLpPool(OpRun):
    """(Σ|x|ᵖ)^(1/p) of each channel."""

    op_domain = ""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array]:
        power = attributes.get("p") or 2
        return (np.asarray((np.abs(x) ** power).sum(_spatial(x), keepdims=True) ** (1 / power), x.dtype),)


def _spatial(x: Array) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def _pooled(x: Array, attributes: dict[str, Any]) -> Windows:
    """The windows of a pool, without what no window of them holds: a kernel may be far larger than the input."""
    names = ("auto_pad", "dilations", "pads", "strides", "ceil_mode")
    where = windows(x.shape[2:], attributes["kernel_shape"], **{name: attributes.get(name) for name in names})
    # A place of the kernel lies beyond the padding in all windows if it does in the first.
    sizes = zip(x.shape[2:], where.before, where.behind, where.dilations, strict=True)
    held = (max(1, -(-(size + before + behind) // dilation)) for size, before, behind, dilation in sizes)
    return replace(where, kernel=tuple(map(min, where.kernel, held)))


def _last(index: Iterable[int | slice]) -> tuple[Any, ...]:
    """The index of the last axes."""
    return (..., *index)
