"""The zeros that a Conv reads beyond the border, and what can be done about them when a shift in front is not 0.

The sum over the taps of a kernel has fewer terms at the border, so that no bias can stand for a shift. Two repairs cost
a node each, and are made on demand only:

    1. Where −shift/scale is the same number in all channels, the tensor is padded with that number instead of 0.
    2. Where height and width are known, what the shift amounts to is a constant image, which is added behind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bnfold.affine import DUST
from bnfold.folding.answers import Blocked, Padding
from bnfold.folding.nodes import integers, required_input, text

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.ops.weights import Weight
    from bnfold.folding.view import View

__all__ = ["Repair", "find_repair", "touched_padding"]

_LARGEST_IMAGE = 1 << 20  # numbers; a larger one would cost more than the BatchNormalization that it replaces
_PADS_AS_INPUT = 11  # the opset since which Pad has its pads, and its value, as inputs


@dataclass(frozen=True)
class Repair:
    """One of the two: numbers to pad with in front, or an image of [outputs, …] that is added behind."""

    padding: Padding | None = None
    image: NDArray[np.float64] | None = None


def touched_padding(node: ir.Node, view: View) -> str | None:
    """The attribute that makes the Conv read zeros beyond the border, or None when it reads none."""
    mode = text(node, "auto_pad", "NOTSET")
    if mode == "VALID":
        return None
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        return None if _same_pads_nothing(node, view) else f"auto_pad = {mode}"
    pads = integers(node, "pads", ())
    return f"pads = {list(pads)}" if any(pads) else None


def find_repair(
    node: ir.Node, weight: Weight, scale: NDArray[np.float64], shift: NDArray[np.float64], view: View
) -> Repair:
    """What makes up for a shift that meets zeros.

    Args:
        node: The Conv.
        weight: Its weight.
        scale: Of the affine in front, one number for each channel.
        shift: Likewise.
        view: The plan at hand.

    Raises:
        Blocked: Neither repair applies, or the weight is known at run time only.
    """
    numbers = weight.numbers(view)
    sizes = view.shape(required_input(node, 0))[2:]
    axes = [_Axis.of(node, index, size, weight.shape[2 + index]) for index, size in enumerate(sizes)]
    if (scale != 0).all() and view.opset(node) >= _PADS_AS_INPUT and None not in [axis.pads for axis in axes]:
        values = -shift / scale
        if (np.abs(values - values[0]) <= DUST * np.abs(values[0])).all():
            pads = [axis.pads or (0, 0) for axis in axes]
            return Repair(padding=Padding(tuple(pads), float(values[0])))
    if not all(isinstance(axis.size, int) for axis in axes):
        raise Blocked("pads with zeros, and the size of the image that would make up for them is not known")
    return Repair(image=_image(axes, weight, numbers, shift))


def _image(
    axes: list[_Axis], weight: Weight, numbers: NDArray[np.float64], shift: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What a Conv makes of an image that is ``shift`` everywhere, and 0 beyond its border: [outputs, …]."""
    masks = [axis.taps_inside() for axis in axes]
    size = weight.outputs * math.prod(len(mask) for mask in masks)
    if size > _LARGEST_IMAGE:
        raise Blocked(f"pads with zeros, and the image that would make up for them has {size} numbers")
    taps = np.einsum("goik,gi->gok", numbers, shift.reshape(weight.group, -1))
    image: NDArray[np.float64] = taps.reshape(weight.outputs, *weight.shape[2:])
    for mask in masks:  # each turns the first axis of taps into a last axis of places
        image = np.tensordot(image, mask, ([1], [1]))
    return image


@dataclass(frozen=True)
class _Axis:
    """One spatial axis of a convolution: sizes, and the zero cells at its ends, None where that takes the size."""

    size: int | str | None
    taps: int
    stride: int
    dilation: int
    pads: tuple[int, int] | None

    @classmethod
    def of(cls, node: ir.Node, index: int, size: int | str | None, taps: int) -> _Axis:
        count = index + 1
        stride = integers(node, "strides", (1,) * count)[index]
        dilation = integers(node, "dilations", (1,) * count)[index]
        mode = text(node, "auto_pad", "NOTSET")
        if mode == "NOTSET":
            pads = integers(node, "pads", ())
            axes = len(pads) // 2
            return cls(size, taps, stride, dilation, (pads[index], pads[axes + index]) if pads else (0, 0))
        total: int | None = (taps - 1) * dilation  # of stride 1, whatever the size
        if stride != 1:
            extent = (taps - 1) * dilation + 1
            total = max((-(-size // stride) - 1) * stride + extent - size, 0) if isinstance(size, int) else None
        if total is None:
            return cls(size, taps, stride, dilation, None)
        less, more = total // 2, total - total // 2
        return cls(size, taps, stride, dilation, (more, less) if mode == "SAME_LOWER" else (less, more))

    def taps_inside(self) -> NDArray[np.float64]:
        """Which taps of which place lie on the image: [places, taps], 1 or 0."""
        begin, end = self.pads or (0, 0)
        size = int(self.size or 0)
        places = (size + begin + end - (self.taps - 1) * self.dilation - 1) // self.stride + 1
        where = np.arange(places)[:, None] * self.stride - begin + np.arange(self.taps) * self.dilation
        return ((where >= 0) & (where < size)).astype(np.float64)


def _same_pads_nothing(node: ir.Node, view: View) -> bool:
    """SAME pads ``max(0, (ceil(size / stride) − 1)·stride + extent − size)`` on each axis, which may be 0."""
    kernel = view.shape(required_input(node, 1))[2:]
    sizes = view.shape(required_input(node, 0))[2:]
    ones = (1,) * len(kernel)
    strides, dilations = integers(node, "strides", ones), integers(node, "dilations", ones)
    for size, taps, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        if not isinstance(taps, int):
            return False
        extent = (taps - 1) * dilation + 1
        if extent == 1:
            continue  # the last window starts inside, and is one cell wide
        if not isinstance(size, int) or (-(-size // stride) - 1) * stride + extent > size:
            return False
    return True
