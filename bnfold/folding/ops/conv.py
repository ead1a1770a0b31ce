"""Conv in 1, 2 and 3 dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.folding.answers import Blocked
from bnfold.folding.nodes import find_input, integer, integers, required_input, text
from bnfold.folding.ops.weights import Weight, agree, changed_bias, find_output
from bnfold.folding.view import channels

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.folding.answers import Answer
    from bnfold.folding.view import View

__all__ = ["ConvRule"]


class ConvRule:
    """Absorbs an affine behind it, and one in front of it.

    Drawing:
        x → Conv(W, b) → scale·y + shift   ⇒   x → Conv(W′, b′)
        scale·x + shift → Conv(W, b) → y   ⇒   x → Conv(W′, b′)

    Algebra:
        behind:      W′[o] = scale[o]·W[o]               b′ = scale·b + shift
        in front:    W′[:, i] = W[:, i]·scale[i]         b′ = b + Σ_ik W[:, i, k]·shift[i]      (i within its group)

    Conditions:
        1. Where W or b is computed at run time, as a DequantizeLinear does, what computes it must take its new scale
           (and shift). The sum above needs the numbers of W: it is a constant, or quantised.
        2. Each affine varies along the channel axis only.
        3. A shift in front meets no zero padding: at the border the sum above would have fewer terms.

    Source:
        https://onnx.ai/onnx/operators/onnx__Conv.html; Jacob et al. 2017 (https://arxiv.org/abs/1712.05877), section
        3.2, for the affine behind.
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Conv"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0, 1, 2})
    examples: ClassVar[tuple[str, ...]] = (
        """
        behind (float[N,4,6,6] x, float[6,2,3,3] w, float[6] b, float[6] scale, float[6] bias, float[6] mean,
                float[6] var) => (float[N,6,6,6] y) {
            h = Conv <group = 2, pads = [1,1,1,1]> (x, w, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        """
        in_front (float[N,4,6] x, float[6,2,3] w, float[4] scale, float[4] bias, float[4] mean, float[4] var)
                => (float[N,6,4] y) {
            h = BatchNormalization (x, scale, bias, mean, var)
            y = Conv <group = 2> (h, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        data, output = required_input(node, 0), node.outputs[0]
        weight = Weight.of(node, view, group=integer(node, "group", 1))
        in_scale, in_shift = channels(view.read(data), 1, weight.inputs, "input")  # condition 2
        if in_shift.any() and (padding := _touched_padding(node, view)):  # condition 3
            raise Blocked(f"pads with zeros ({padding}), and the shift in front of it is not 0")

        added = np.zeros(weight.outputs)
        if in_shift.any():  # 0 times an infinite weight is no 0
            shift = in_shift.reshape(weight.group, -1)
            added = np.einsum("goik,gi->go", weight.numbers(view), shift).reshape(-1)  # condition 1
        bias = find_input(node, 2)
        out_scale, out_shift, carried = find_output(weight, output, in_scale, added, view, bias=bias)
        factors = out_scale.reshape(weight.group, -1, 1) * in_scale.reshape(weight.group, 1, -1)
        change = weight.times(factors, view) | changed_bias(node, view, bias, added, out_scale, out_shift)
        return agree(node, view, change | carried, (data, output))


def _touched_padding(node: ir.Node, view: View) -> str | None:
    """The attribute that makes the Conv read zeros beyond the border, or None when it reads none."""
    mode = text(node, "auto_pad", "NOTSET")
    if mode == "VALID":
        return None
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        return None if _same_pads_nothing(node, view) else f"auto_pad = {mode}"
    pads = integers(node, "pads", ())
    return f"pads = {list(pads)}" if any(pads) else None


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
