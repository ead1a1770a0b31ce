"""Ops that interpolate: Resize, Upsample."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.folding.answers import Blocked
from bnfold.folding.nodes import find_input, integers, number, numbers, required_input, text
from bnfold.folding.ops.carrying import affines_around, carry_as_is, check_free

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from bnfold.affine import Affine
    from bnfold.folding.answers import Answer
    from bnfold.folding.view import View

__all__ = ["ResizeRule"]

_CROPS = "tf_crop_and_resize"
_HALF_A_CELL_ON = "tf_half_pixel_for_nn"


class ResizeRule:
    """Carries any affine, either way: every cell of the output is an average of cells of the input.

    Drawing:
        scale·x + shift → Resize → y   ⇔   x → Resize → scale·y + shift

    Algebra:
        y = Σ weight·x with weights that sum to 1, be the mode nearest, linear or cubic, with or without antialias and
        exclude_outside. An axis whose scale is 1 is copied, whatever the mode.

    Conditions:
        1. The affine does not vary along the axes that are resized. One is not resized if it is not among ``axes``, if
           its scale is the constant 1, or if the sizes say so.
        2. With tf_crop_and_resize, which writes extrapolation_value beyond the border: no shift, that value is 0, and
           along the axes on which the affine varies the region is everything.
        3. With tf_half_pixel_for_nn, which reads half a cell further on even when the scale is 1: the affine does not
           vary along any of the axes, unless it rounds down.

    Source:
        https://onnx.ai/onnx/operators/onnx__Resize.html, https://onnx.ai/onnx/operators/onnx__Upsample.html;
        Keys 1981 (https://doi.org/10.1109/TASSP.1981.1163711) for the weights of cubic.
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Resize", "Upsample"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        linear (float[N,2,3,3] x, float[3,2,1,1] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,6,6] y) {
            h = Conv (x, w)
            scales = Constant <value_floats = [1.0, 1.0, 2.0, 2.0]> ()
            r = Resize <mode = "linear"> (h, "", scales)
            y = BatchNormalization (r, scale, bias, mean, var)
        }
        """,
        """
        to_a_size (float[2,3,4] x, float[4,3,1] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
                => (float[2,4,7] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            sizes = Constant <value_ints = [2, 3, 7]> ()
            r = Resize <mode = "cubic", exclude_outside = 1> (n, "", "", sizes)
            y = Conv (r, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        for affine in affines_around(node, view):
            if affine.axes:
                check_free(affine, _resized(node, view, affine.rank), "resizes")  # conditions 1 and 3
            if text(node, "coordinate_transformation_mode", "half_pixel") == _CROPS:
                _check_crop(node, affine, view)
        return carry_as_is(node, view)


def _check_crop(node: ir.Node, affine: Affine, view: View) -> None:
    if affine.shift.any() or number(node, "extrapolation_value", 0.0) != 0:  # condition 2
        raise Blocked(f"writes {number(node, 'extrapolation_value', 0.0)} beyond the border ({_CROPS})")
    region = _numbers(view, find_input(node, 1))
    axes = _axes(node, affine.rank)
    for axis in affine.axes.intersection(axes):
        position = axes.index(axis)
        if region is None or (region[position], region[len(axes) + position]) != (0, 1):  # condition 2
            raise Blocked(f"crops axis {axis}, along which the affine varies, or may do so ({_CROPS})")


def _resized(node: ir.Node, view: View, rank: int) -> set[int]:
    """The axes that are resized, or may be."""
    if node.op_type == "Upsample" and view.opset(node) < 7:
        return {2, 3}
    axes = _axes(node, rank)
    if text(node, "coordinate_transformation_mode", "") == _HALF_A_CELL_ON and not _rounds_down(node):  # condition 3
        return set(axes)
    scales = _scales(node, view)
    if scales is not None:
        return {axis for axis, scale in zip(axes, scales, strict=True) if scale != 1}
    is_stretched = text(node, "keep_aspect_ratio_policy", "stretch") == "stretch"
    if find_input(node, 3) is None or not is_stretched:
        return set(axes)
    old, new = view.shape(required_input(node, 0)), view.shape(node.outputs[0])
    return {axis for axis in axes if old[axis] is None or old[axis] != new[axis]}


def _axes(node: ir.Node, rank: int) -> list[int]:
    return [axis % rank for axis in integers(node, "axes", ())] or list(range(rank))


def _rounds_down(node: ir.Node) -> bool:
    rounding = text(node, "nearest_mode", "round_prefer_floor")
    return text(node, "mode", "nearest") == "nearest" and rounding in ("floor", "round_prefer_floor")


def _scales(node: ir.Node, view: View) -> list[float] | None:
    opset = view.opset(node)
    if opset < 9:
        return list(numbers(node, "scales", ())) or None
    return _numbers(view, find_input(node, 1 if opset < 11 else 2))


def _numbers(view: View, value: ir.Value | None) -> list[float] | None:
    """A list that is not empty; older exporters give an empty constant where an input is meant to be absent."""
    constant: np.ndarray | None = view.constant(value)
    return [float(entry) for entry in constant.reshape(-1)] if constant is not None and constant.size else None
