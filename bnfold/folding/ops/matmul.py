"""MatMul with weights, which is what a Linear layer on three or more axes exports to (with an Add), and without."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.affine import Affine
from bnfold.folding.answers import Blocked, Choice
from bnfold.folding.nodes import required_input
from bnfold.folding.ops.broadcasting import BROADCASTS, without_leading_ones
from bnfold.folding.ops.products import answer_product
from bnfold.folding.ops.weights import Change, agree, asked, without_dust
from bnfold.folding.reexpression import Reexpression
from bnfold.folding.view import channels

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.answers import Answer
    from bnfold.folding.view import View

__all__ = ["MatMulRule"]


class MatMulRule:
    """Absorbs the scale of an affine on either side; it has no bias, so that a shift is handed on to what follows.

    Drawing:
        x → MatMul(W) → scale·y                    ⇒   x → MatMul(W′)
        scale·x + shift → MatMul(W) → y            ⇒   x → MatMul(W′) → y + shift′     (an Add behind takes it in)
        x → MatMul(W) → scale·y + shift            ⇒   x → MatMul(W′) → Add(b), or x → Gemm(W′, b) on two axes

    Algebra:
        W on the right ([…, K, N]; on the left the same, transposed):
        behind:      W′[:, n] = W[:, n]·scale[n]
        in front:    W′[k] = scale[k]·W[k]           shift′[n] = Σ_k shift[k]·W[k, n]

    Conditions:
        1. One operand is a constant, or quantised, of at least two axes; the data has as many or more. Of two operands
           computed at run time: see ``answer_product``.
        2. The affine behind varies along the axis that W writes only (the last; the last but one when W is on the
           left), the one in front along the axis that is summed over.
        3. A shift that stays goes to the readers, or, when the plan may add a node, into a new bias: a Gemm where data
           and constant have two axes and W is a constant on the right, and otherwise an Add.

    Source:
        https://onnx.ai/onnx/operators/onnx__MatMul.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"MatMul"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0, 1})
    examples: ClassVar[tuple[str, ...]] = (
        """
        behind (float[N,7,5] x, float[5,4] w, float[4] b, float[4] scale, float[4] bias, float[4] mean, float[4] var)
                => (float[N,4,7] y) {
            product = MatMul (x, w)
            h = Add (product, b)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
        """
        in_front (float[N,5] x, float[5,4] w, float[4] b, float[5] scale, float[5] bias, float[5] mean, float[5] var)
                => (float[N,4] y) {
            h = BatchNormalization (x, scale, bias, mean, var)
            product = MatMul (h, w)
            y = Add (b, product)
        }
        """,
        """
        without_a_bias (float[N,5] x, float[5,4] w, float[4] scale, float[4] bias, float[4] mean, float[4] var)
                => (float[N,4] y) {
            h = MatMul (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        """
        on_the_left (float[N,5,7] x, float[4,5] w, float[4] scale, float[4] bias, float[4] mean, float[4] var)
                => (float[N,4,7] y) {
            h = MatMul (w, x)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        """
        attention (float[N,3,5] x, float[5,3] w, float[5,4] w2, float[4] b, float[4] scale, float[4] bias,
                   float[4] mean, float[4] var) => (float[N,4,3] y) {
            scores = MatMul (x, w)
            p = Softmax (scores)
            product = MatMul (x, w2)
            v = Add (product, b)
            h = MatMul (p, v)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer | Choice:  # noqa: D102 - see Rule
        found = _find_weight(node, view)
        if found is None:
            return answer_product(node, view)
        slot, stored = found  # its shape
        operand, data, output = required_input(node, slot), required_input(node, 1 - slot), node.outputs[0]
        is_constant = view.weight_shape(operand) is not None
        if not is_constant and view.settled(operand) is not None and view.settled(output) is None:
            return answer_product(node, view)  # a quantised weight that the rest of the plan changes
        on_left = slot == 0
        rank = view.rank(data)
        if len(stored) < 2 or rank < len(stored):  # condition 1
            raise Blocked(f"multiplies a tensor of {rank} axes with a constant of {len(stored)}")
        *leading, rows, columns = stored
        inputs, outputs = (columns, rows) if on_left else (rows, columns)
        axis = -2 if on_left else -1
        in_scale, in_shift = channels(view.read(data), axis, inputs, "data")  # condition 2
        added = np.zeros((*leading, 1, outputs))
        if in_shift.any():  # 0 times an infinite weight is no 0
            added = in_shift[None, :] @ _oriented(_numbers(operand, view), on_left)
        is_typed = is_constant or view.dtype(operand) is not None
        may_add = view.new_nodes_allowed and view.opset(node) >= BROADCASTS and is_typed

        def scaled(out_scale: NDArray[np.float64]) -> Change:
            factors = [_oriented(scale, on_left) for scale in (in_scale[:, None], out_scale[None, :])]
            factors = [_of_rank(factor, len(stored)) for factor in factors]
            if is_constant:
                return Change({slot: lambda: view.scaled(operand, *factors)})
            wanted = factors[0] * factors[1]
            return asked(operand, Reexpression.from_write(Affine(wanted, np.zeros_like(wanted))), view)

        def with_bias(out_scale: NDArray[np.float64], bias: NDArray[np.float64]) -> Answer:
            """The new weights, and a bias of […, 1, N] where it is not 0."""
            if not bias.any():
                return agree(node, view, scaled(out_scale), (data, output))
            if not may_add:  # condition 3
                raise Blocked("has no bias that could take the shift in")
            # A quantised weight is what a runtime looks for beside a MatMul.
            if not on_left and rank == 2 and is_constant:
                term = Change({2: lambda: bias.reshape(-1)})
                return agree(node, view, scaled(out_scale) | term, (data, output), op_type="Gemm")
            behind = without_leading_ones(_oriented(bias, on_left))
            change = scaled(out_scale)
            return agree(node, view, change, (data, output), dtype_slot=slot, bias_behind=behind)

        if added.any() and view.settled(output) is None:  # condition 3: who follows may have a bias
            shift = Affine(np.ones((1,) * rank), _of_rank(_oriented(added, on_left), rank))
            behind = Change(carry={output: Reexpression.from_read(shift)})
            ones = np.ones(outputs)
            handed_on = agree(node, view, scaled(ones) | behind, (data, output))
            return Choice((handed_on, with_bias(ones, added))) if may_add else handed_on
        out_scale, out_shift = channels(view.write(output), axis, outputs, "output")  # condition 2
        return with_bias(out_scale, without_dust(out_scale * added, out_shift))


def _find_weight(node: ir.Node, view: View) -> tuple[int, tuple[int, ...]] | None:
    """Which operand is a constant, or else quantised, and its shape."""
    for slot in (1, 0):
        shape = view.weight_shape(required_input(node, slot))
        if shape is not None:
            return slot, shape
    for slot in (1, 0):
        numbers = view.numbers(required_input(node, slot))
        if numbers is not None:
            return slot, numbers.shape
    return None


def _numbers(operand: ir.Value, view: View) -> NDArray[np.float64]:
    numbers = view.numbers(operand)
    if numbers is None:
        raise ValueError(f"'{operand.name}' is no weight")
    return numbers


def _oriented(array: NDArray[np.float64], on_left: bool) -> NDArray[np.float64]:
    return np.swapaxes(array, -1, -2) if on_left else array


def _of_rank(array: NDArray[np.float64], rank: int) -> NDArray[np.float64]:
    return array.reshape((1,) * (rank - array.ndim) + array.shape)
