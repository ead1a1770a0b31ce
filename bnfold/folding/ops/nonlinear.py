"""Functions of each number by itself that are not linear anywhere: activations and the like."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.folding.answers import Blocked
from bnfold.folding.nodes import number
from bnfold.folding.ops.elementwise import answer_elementwise, is_dead, with_constants

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.affine import Affine
    from bnfold.folding.answers import Answer
    from bnfold.folding.view import View

    Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]

__all__ = ["NonlinearRule", "check_nothing_but_constants"]

# f(0) = 0, whatever the attributes are.
_KEEP_ZERO = frozenset(
    [
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "Ceil",
        "Celu",
        "Elu",
        "Erf",
        "Floor",
        "Gelu",
        "HardSwish",
        "Mish",
        "Round",
        "Selu",
        "Sign",
        "Sin",
        "Sinh",
        "Softsign",
        "Sqrt",
        "Swish",
        "Tan",
        "Tanh",
        "ThresholdedRelu",
    ]
)
# Those without attributes whose value elsewhere is at hand.
_FUNCTIONS: dict[str, Function] = {
    "Acos": np.arccos,
    "Acosh": np.arccosh,
    "Asin": np.arcsin,
    "Asinh": np.arcsinh,
    "Atan": np.arctan,
    "Atanh": np.arctanh,
    "Cos": np.cos,
    "Cosh": np.cosh,
    "Erf": np.vectorize(math.erf, otypes=[np.float64]),
    "Exp": np.exp,
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Log": np.log,
    "Mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "Reciprocal": lambda x: 1 / x,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Sin": np.sin,
    "Sinh": np.sinh,
    "Softplus": lambda x: np.logaddexp(0, x),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Sqrt": np.sqrt,
    "Tan": np.tan,
    "Tanh": np.tanh,
}


class NonlinearRule:
    """Carries neither a scale nor a shift, but channels that are constants.

    Drawing:
        a channel that is the constant c → f → y        ⇒   a channel that is the constant f(c) for the readers of y
        x → f → a channel that is wanted to be 0        ⇒   a channel that is written as 0 → f      (f(0) = 0)

    Algebra:
        f(scale·x + shift) is no multiple of f(x) plus a constant, unless the scale is 0, or the affine is the identity.

    Conditions:
        1. Each channel is a constant, or stays as it is.
        2. In front: f(c) is known, and finite.
        3. Behind: the constant that is wanted is 0, and f(0) = 0.

    Source:
        https://onnx.ai/onnx/operators/onnx__Gelu.html and the pages of the others.
    """

    op_types: ClassVar[frozenset[str]] = _KEEP_ZERO | _FUNCTIONS.keys()
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        in_front (float[N,5] x, float[4,5] w, float[5] zero_scale, float[5] bias, float[5] mean, float[5] var)
                => (float[N,4] y) {
            h = BatchNormalization (x, zero_scale, bias, mean, var)
            m = Sigmoid (h)
            y = Gemm <transB = 1> (m, w)
        }
        """,
        """
        behind (float[N,2,5] x, float[3,2,1] w, float[3] zero_scale, float[3] zero_bias, float[3] mean, float[3] var)
                => (float[N,3,5] y) {
            h = Conv (x, w)
            m = Tanh (h)
            y = BatchNormalization (m, zero_scale, zero_bias, mean, var)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        def forward(read: Affine) -> Affine:
            check_nothing_but_constants(read)  # condition 1
            dead, values = (array.copy() for array in np.broadcast_arrays(is_dead(read), read.shift))
            values[dead] = _values_at(node, values[dead])
            return with_constants(read, read.scale, values)

        def back(write: Affine) -> Affine:
            check_nothing_but_constants(write)  # condition 1
            if write.shift.any() or not _keeps_zero(node):  # condition 3
                raise Blocked("cannot be made to write the constant that is wanted of a channel with scale 0")
            return write

        return answer_elementwise(node, view, forward, back)


def check_nothing_but_constants(affine: Affine) -> None:
    """Refuse all but channels that are constants, and channels that stay as they are.

    Raises:
        Blocked: There is another one.
    """
    stays = (affine.scale == 1) & (affine.shift == 0)
    if not (stays | is_dead(affine)).all():
        raise Blocked("is not linear: carries neither scale nor shift")


def _values_at(node: ir.Node, constants: NDArray[np.float64]) -> NDArray[np.float64]:
    if not constants.any() and _keeps_zero(node):
        return constants
    function = _FUNCTIONS.get(node.op_type)
    values = None if function is None else function(constants)
    if values is None or not np.isfinite(values).all():  # condition 2
        raise Blocked("does not say what it makes of the constant that a channel with scale 0 is")
    return values


def _keeps_zero(node: ir.Node) -> bool:
    # Celu divides by alpha.
    return node.op_type in _KEEP_ZERO and (node.op_type != "Celu" or number(node, "alpha", 1.0) != 0)
