"""HardSigmoid."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.affine import Affine
from bnfold.folding.answers import Answer, Blocked, Rewrite
from bnfold.folding.nodes import number, required_input
from bnfold.folding.ops.attributes import number_attributes
from bnfold.folding.ops.elementwise import answer_elementwise, with_constants
from bnfold.folding.ops.nonlinear import check_nothing_but_constants
from bnfold.folding.reexpression import Reexpression

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.folding.view import View

__all__ = ["HardSigmoidRule"]

_ALPHA = float(np.float32(0.2))  # attributes are float32, their defaults too
_BETA = 0.5


class HardSigmoidRule:
    """Absorbs an affine in front of it that is the same everywhere; carries nothing, but channels that are constants.

    Drawing:
        scale·x + shift → HardSigmoid(alpha, beta) → y   ⇒   x → HardSigmoid(alpha′, beta′) → y

    Algebra:
        max(0, min(1, alpha·(scale·x + shift) + beta))      alpha′ = alpha·scale, beta′ = alpha·shift + beta
        A channel that is the constant c in front is max(0, min(1, alpha·c + beta)) behind.

    Conditions:
        1. In front: one scale and one shift for the whole tensor; or each channel is a constant, or stays as it is.
        2. Behind: nothing changes. Its values end at 0 and 1.
        3. The new attributes are as precise as the tensors.

    Source:
        https://onnx.ai/onnx/operators/onnx__HardSigmoid.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"HardSigmoid"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        # The attributes are float32, and the contract is tested in float64: here only what needs no new ones.
        """
        in_front (float[N,5] x, float[4,5] w, float[5] zero_scale, float[5] bias, float[5] mean, float[5] var)
                => (float[N,4] y) {
            h = BatchNormalization (x, zero_scale, bias, mean, var)
            m = HardSigmoid <alpha = 0.25> (h)
            y = Gemm <transB = 1> (m, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        data = required_input(node, 0)
        alpha, beta = number(node, "alpha", _ALPHA), number(node, "beta", _BETA)
        if view.settled(data) is not None:
            read = view.read(data)
            if read.scale.size == read.shift.size == 1 and read.scale.any() and not read.is_identity:  # condition 1
                scale, shift = read.scale.item(), read.shift.item()
                return _absorb(node, view, {"alpha": alpha * scale, "beta": alpha * shift + beta})

        def forward(read: Affine) -> Affine:
            check_nothing_but_constants(read)  # condition 1
            return with_constants(read, read.scale, np.clip(alpha * read.shift + beta, 0, 1))

        def back(write: Affine) -> Affine:
            if not write.is_identity:  # condition 2
                raise Blocked("is not linear: carries neither scale nor shift")
            return write

        return answer_elementwise(node, view, forward, back)


def _absorb(node: ir.Node, view: View, values: dict[str, float]) -> Answer:
    data, output = required_input(node, 0), node.outputs[0]
    attributes = number_attributes(values, view.dtype(data))  # condition 3
    unchanged = Reexpression.from_read(Affine.identity(view.rank(output)))  # condition 2
    return Answer({output: unchanged}, lambda: Rewrite(node, {}, attributes=attributes))
