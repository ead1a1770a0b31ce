"""Abs."""

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

__all__ = ["AbsoluteRule"]


class AbsoluteRule:
    """Carries a scale of any sign forward, as its magnitude, and a positive one back; no shift.

    Drawing:
        scale·x → Abs → y   ⇒   x → Abs → |scale|·y
        x → Abs → scale·y   ⇒   scale·x → Abs → y      (scale > 0)

    Algebra:
        |scale·x| = |scale|·|x|
        Where the scale is 0 the channel is a constant: |shift| for the readers behind it, and a constant ≥ 0 that is
        wanted behind it is wanted in front of it as well.

    Conditions:
        1. The shift is 0 wherever the scale is not.
        2. Behind it no scale is negative, and neither is a constant that is wanted there.

    Source:
        https://onnx.ai/onnx/operators/onnx__Abs.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Abs"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        behind (float[N,2,5] x, float[3,2,1] w, float[3] positive_scale, float[3] zero_bias, float[3] zero_mean,
                float[3] var) => (float[N,3,5] y) {
            h = Conv (x, w)
            m = Abs (h)
            n = BatchNormalization (m, positive_scale, zero_bias, zero_mean, var)
            y = Tanh (n)
        }
        """,
        """
        in_front (float[N,5] x, float[4,5] w, float[5] scale, float[5] zero_bias, float[5] zero_mean, float[5] var)
                => (float[N,4] y) {
            h = BatchNormalization (x, scale, zero_bias, zero_mean, var)
            m = Abs (h)
            y = Gemm <transB = 1> (m, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        return answer_elementwise(node, view, _forward, _back)


def _forward(read: Affine) -> Affine:
    check_no_shift(read)  # condition 1
    return with_constants(read, np.abs(read.scale), np.abs(read.shift))


def _back(write: Affine) -> Affine:
    check_no_shift(write)  # condition 1
    check_no_negative_scale(write)  # condition 2
    if (is_dead(write) & (write.shift < 0)).any():  # condition 2
        raise Blocked("never writes the negative constant that is wanted of a channel with scale 0")
    return write
