"""Relu."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.folding.answers import Blocked
from bnfold.folding.ops.elementwise import (
    answer_elementwise,
    check_no_negative_scale,
    check_no_shift,
    is_dead,
    with_constants,
)

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.affine import Affine
    from bnfold.folding.answers import Answer
    from bnfold.folding.view import View

__all__ = ["ReluRule"]


class ReluRule:
    """Carries a positive scale, either way; no shift.

    Drawing:
        scale·x → Relu → y   ⇔   x → Relu → scale·y      (scale > 0)

    Algebra:
        max(0, scale·x) = scale·max(0, x)   for scale ≥ 0
        Where the scale is 0 the channel is a constant: max(0, shift) for the readers behind it, and a constant ≥ 0
        that is wanted behind it is wanted in front of it as well.

    Conditions:
        1. No scale is negative.
        2. The shift is 0 wherever the scale is not.
        3. Where a constant is wanted behind it, it is not negative.

    Source:
        https://onnx.ai/onnx/operators/onnx__Relu.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Relu"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        between (float[N,5] x, float[5,4] w, float[4] positive_scale, float[4] zero_bias, float[4] zero_mean,
                 float[4] var) => (float[N,4] y) {
            h = MatMul (x, w)
            r = Relu (h)
            n = BatchNormalization (r, positive_scale, zero_bias, zero_mean, var)
            y = Sigmoid (n)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        return answer_elementwise(node, view, _forward, _back)


def _forward(read: Affine) -> Affine:
    _check(read)
    return with_constants(read, read.scale, np.maximum(read.shift, 0))


def _back(write: Affine) -> Affine:
    _check(write)
    if (is_dead(write) & (write.shift < 0)).any():  # condition 3
        raise Blocked("never writes the negative constant that is wanted of a channel with scale 0")
    return write


def _check(affine: Affine) -> None:
    check_no_negative_scale(affine)  # condition 1
    check_no_shift(affine)  # condition 2
