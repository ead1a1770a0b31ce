"""DeformConv: a Conv that reads where its offsets say."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.folding.answers import Blocked
from bnfold.folding.nodes import find_input, integer, required_input
from bnfold.folding.ops.weights import Weight, agree, changed_bias, find_output
from bnfold.folding.view import channels

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.folding.answers import Answer
    from bnfold.folding.view import View

__all__ = ["DeformConvRule"]

_BIAS = 3  # the third input holds the offsets


class DeformConvRule:
    """Absorbs an affine behind it, and the scale of one in front of it.

    Drawing:
        x → DeformConv(W, b) → scale·y + shift   ⇒   x → DeformConv(W′, b′)
        scale·x → DeformConv(W, b) → y           ⇒   x → DeformConv(W′, b)

    Algebra:
        Each tap reads x between four cells and multiplies it by its weight (and by a mask), which is linear in x and W.
        behind:      W′[o] = scale[o]·W[o]               b′ = scale·b + shift
        in front:    W′[:, i] = W[:, i]·scale[i]

    Conditions:
        1. Where W or b is computed at run time, what computes it must take its new scale (and shift).
        2. Each affine varies along the channel axis only.
        3. There is no shift in front: offsets lead beyond the border, where zeros are read, and a mask would scale it.
        4. Offsets and mask stay as they are.

    Source:
        https://onnx.ai/onnx/operators/onnx__DeformConv.html; Zhu et al. 2019 (https://arxiv.org/abs/1811.11168).
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"DeformConv"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0, 1, _BIAS})
    examples: ClassVar[tuple[str, ...]] = (
        """
        behind (float[1,2,3,3] x, float[4,1,2,2] w, float[1,8,2,2] offset, float[4] b, float[1,4,2,2] mask,
                float[4] scale, float[4] bias, float[4] mean, float[4] var) => (float[1,4,2,2] y) {
            h = DeformConv <group = 2> (x, w, offset, b, mask)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        """
        without_a_bias (float[1,2,2,2] x, float[3,2,2,2] w, float[1,8,1,1] offset, float[3] scale, float[3] bias,
                        float[3] mean, float[3] var) => (float[1,3,1,1] y) {
            h = DeformConv (x, w, offset)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        data, output = required_input(node, 0), node.outputs[0]
        weight = Weight.of(node, view, group=integer(node, "group", 1))
        in_scale, in_shift = channels(view.read(data), 1, weight.inputs, "input")  # condition 2
        if in_shift.any():  # condition 3
            raise Blocked("reads zeros beyond the border, where its offsets lead: carries no shift")
        added = np.zeros(weight.outputs)
        bias = find_input(node, _BIAS)
        out_scale, out_shift, carried = find_output(weight, output, in_scale, added, view, bias=bias)
        change = changed_bias(node, view, bias, added, out_scale, out_shift, slot=_BIAS)
        return agree(node, view, weight.times(out_scale, in_scale, view) | change | carried, (data, output))
