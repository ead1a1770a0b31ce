"""Clip, which Relu6 exports to."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx_ir as ir

from bnfold.affine import Affine
from bnfold.folding.answers import Answer, Blocked, Rewrite
from bnfold.folding.nodes import find_input, number, required_input
from bnfold.folding.ops.attributes import number_attributes
from bnfold.folding.ops.elementwise import check_no_negative_scale, is_dead
from bnfold.folding.reexpression import Reexpression

if TYPE_CHECKING:
    from collections.abc import Callable

    from bnfold.folding.view import View

__all__ = ["ClipRule"]

_INPUTS = 11  # the opset from which the limits are inputs; before, they were attributes
_NAMES = ("min", "max")
_LARGEST = {
    ir.DataType.FLOAT16: 65504.0,
    ir.DataType.BFLOAT16: 2.0**128 - 2.0**120,
    ir.DataType.FLOAT: 2.0**128 - 2.0**104,
    ir.DataType.DOUBLE: float(np.finfo(np.float64).max),
}


class ClipRule:
    """Carries a positive affine that is the same everywhere, either way, and rescales its limits.

    Drawing:
        scale·x + shift → Clip(min, max) → y   ⇔   x → Clip(min′, max′) → scale·y + shift

    Algebra:
        min(max(scale·x + shift, min), max) = scale·min(max(x, min′), max′) + shift
        min′ = (min − shift)/scale, max′ = (max − shift)/scale      for scale > 0
        Limits that are 0 stay 0, whatever each channel's scale is, as long as there is no shift.
        Where the scale is 0 the channel is a constant: clipped for the readers behind it, and a constant between the
        (new) limits that is wanted behind it is wanted in front of it as well.

    Conditions:
        1. No scale is negative.
        2. There is one scale and one shift for all channels that are not constants; or all limits are 0, and no shift;
           or there are no limits.
        3. The limits are constants. One that no number of the tensor's dtype is beyond is none.
        4. A constant that is wanted behind lies between the limits.
        5. Limits that are attributes stay as precise as the tensors.

    Source:
        https://onnx.ai/onnx/operators/onnx__Clip.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Clip"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        one_scale (float[N,2,5] x, float[1,2,1] w, float min, float positive_max, float[1] positive_scale,
                   float[1] bias, float[1] mean, float[1] var) => (float[N,1,5] y) {
            h = Conv (x, w)
            c = Clip (h, min, positive_max)
            n = BatchNormalization (c, positive_scale, bias, mean, var)
            y = Tanh (n)
        }
        """,
        """
        at_zero (float[N,5] x, float zero_min, float[4,5] w, float[5] positive_scale, float[5] zero_bias,
                 float[5] zero_mean, float[5] var) => (float[N,4] y) {
            h = BatchNormalization (x, positive_scale, zero_bias, zero_mean, var)
            c = Clip (h, zero_min)
            y = Gemm <transB = 1> (c, w)
        }
        """,
        """
        without_limits (float[N,5] x, float[4,5] w, float[5] scale, float[5] bias, float[5] mean, float[5] var)
                => (float[N,4] y) {
            h = BatchNormalization (x, scale, bias, mean, var)
            c = Clip (h)
            y = Gemm <transB = 1> (c, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        data, output = required_input(node, 0), node.outputs[0]
        limits = {name: limit for name in _NAMES if (limit := _limit(node, name, view)) is not None}
        if view.settled(data) is not None:
            read = view.read(data)
            scale, shift = _common(read, limits)
            new = {name: (limit - shift) / scale for name, limit in limits.items()}
            carry = {output: Reexpression.from_read(_with_clipped_constants(read, limits))}
        else:
            write = view.write(output)
            scale, shift = _common(write, limits)
            new = {name: scale * limit + shift for name, limit in limits.items()}
            if (_with_clipped_constants(write, new).shift != write.shift).any():  # condition 4
                raise Blocked("never writes the constant that is wanted of a channel with scale 0")
            carry = {data: Reexpression.from_write(write)}
        return Answer(carry, _rewrite(node, new, view) if new != limits else None)


def _common(affine: Affine, limits: dict[str, float]) -> tuple[float, float]:
    """The scale and the shift that the limits follow."""
    if not limits:
        return 1.0, 0.0
    check_no_negative_scale(affine)  # condition 1
    scale, shift = np.broadcast_arrays(affine.scale, affine.shift)
    alive = scale != 0
    if not alive.any() or (not shift[alive].any() and not any(limits.values())):
        return 1.0, 0.0
    scales, shifts = set(scale[alive].tolist()), set(shift[alive].tolist())
    if len(scales) > 1 or len(shifts) > 1:  # condition 2
        what = "scale" if len(scales) > 1 else "shift"
        raise Blocked(f"has limits for all channels at once: carries no {what} that differs between them")
    return scales.pop(), shifts.pop()


def _with_clipped_constants(affine: Affine, limits: dict[str, float]) -> Affine:
    clipped = np.minimum(np.maximum(affine.shift, limits.get("min", -np.inf)), limits.get("max", np.inf))
    return Affine(affine.scale, np.where(is_dead(affine), clipped, affine.shift))


def _limit(node: ir.Node, name: str, view: View) -> float | None:
    """A limit, or None when there is none."""
    if view.opset(node) < _INPUTS:
        if name not in node.attributes:
            return None
        limit, dtype = number(node, name, 0.0), view.dtype(required_input(node, 0))
    else:
        value = find_input(node, _slot(name))
        if value is None:
            return None
        array = view.weight(value, f"a limit {name}")  # condition 3
        limit, dtype = array.item(), view.dtype(value)
    most = _LARGEST.get(dtype, np.inf) if dtype is not None else np.inf
    is_none = limit <= -most if name == "min" else limit >= most  # condition 3
    return None if is_none else limit


def _rewrite(node: ir.Node, limits: dict[str, float], view: View) -> Callable[[], Rewrite]:
    if view.opset(node) < _INPUTS:
        attributes = number_attributes(limits, view.dtype(required_input(node, 0)))  # condition 5
        return lambda: Rewrite(node, {}, attributes=attributes)
    shapes = {name: view.weight(find_input(node, _slot(name)), f"a limit {name}").shape for name in limits}
    constants = {_slot(name): np.full(shapes[name], limit) for name, limit in limits.items()}
    return lambda: Rewrite(node, constants)


def _slot(name: str) -> int:
    return 1 + _NAMES.index(name)
