"""LeakyRelu."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.folding.answers import Blocked
from bnfold.folding.nodes import number
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

__all__ = ["LeakyReluRule"]

_DEFAULT = float(np.float32(0.01))  # attributes are float32, their defaults too


class LeakyReluRule:
    """Carries a positive scale, either way; no shift.

    Drawing:
        scale·x → LeakyRelu → y   ⇔   x → LeakyRelu → scale·y      (scale > 0)

    Algebra:
        f(x) = x for x ≥ 0, alpha·x otherwise            f(scale·x) = scale·f(x)   for scale > 0
        Where the scale is 0 the channel is a constant: f(shift) for the readers behind it. A constant c that is wanted
        behind it is c in front of it, or c/alpha where c < 0.

    Conditions:
        1. No scale is negative.
        2. The shift is 0 wherever the scale is not.
        3. A negative constant that is wanted behind it takes alpha > 0.

    Source:
        https://onnx.ai/onnx/operators/onnx__LeakyRelu.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"LeakyRelu"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        between (float[N,5] x, float[5,4] w, float[4] positive_scale, float[4] zero_bias, float[4] zero_mean,
                 float[4] var) => (float[N,4] y) {
            h = MatMul (x, w)
            r = LeakyRelu <alpha = 0.25> (h)
            n = BatchNormalization (r, positive_scale, zero_bias, zero_mean, var)
            y = Sigmoid (n)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        alpha = number(node, "alpha", _DEFAULT)

        def forward(read: Affine) -> Affine:
            _check(read)
            return with_constants(read, read.scale, np.where(read.shift < 0, alpha * read.shift, read.shift))

        def back(write: Affine) -> Affine:
            _check(write)
            negative = is_dead(write) & (write.shift < 0)
            if alpha <= 0 and negative.any():  # condition 3
                raise Blocked("never writes the negative constant that is wanted of a channel with scale 0")
            return with_constants(write, write.scale, np.where(negative, write.shift / (alpha or 1.0), write.shift))

        return answer_elementwise(node, view, forward, back)


def _check(affine: Affine) -> None:
    check_no_negative_scale(affine)  # condition 1
    check_no_shift(affine)  # condition 2
