"""Conv in 1, 2 and 3 dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.folding.answers import Blocked
from bnfold.folding.nodes import find_input, integer, required_input
from bnfold.folding.ops.weights import Weight, agree, changed_bias, find_output
from bnfold.folding.ops.zero_padding import Repair, find_repair, touched_padding
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
        3. A shift in front meets no zero padding: at the border the sum above would have fewer terms. (On demand it is
           repaired: by other padding, or by a constant image that is added behind. See ``zero_padding.py``.)

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
        repair = Repair()
        if in_shift.any() and (padding := touched_padding(node, view)):  # condition 3
            if not view.repairs_allowed:
                raise Blocked(f"pads with zeros ({padding}), and the shift in front of it is not 0")
            repair = find_repair(node, weight, in_scale, in_shift, view)

        added = np.zeros(weight.outputs)
        if in_shift.any() and repair.image is None:  # 0 times an infinite weight is no 0
            shift = in_shift.reshape(weight.group, -1)
            added = np.einsum("goik,gi->go", weight.numbers(view), shift).reshape(-1)  # condition 1
        bias = find_input(node, 2)
        out_scale, out_shift, carried = find_output(weight, output, in_scale, added, view, bias=bias)
        change = weight.times(out_scale, in_scale, view) | changed_bias(node, view, bias, added, out_scale, out_shift)
        image = repair.image
        if image is not None:
            image = (image * out_scale.reshape(-1, *[1] * (image.ndim - 1)))[None]
        return agree(node, view, change | carried, (data, output), bias_behind=image, padding=repair.padding)
