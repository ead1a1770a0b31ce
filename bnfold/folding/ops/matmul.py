"""MatMul with a constant operand, which is what a Linear layer on three or more axes exports to (with an Add)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.affine import Affine
from bnfold.folding.answers import Answer, Blocked, Choice, Rewrite
from bnfold.folding.nodes import required_input
from bnfold.folding.ops.broadcasting import BROADCASTS, without_leading_ones
from bnfold.folding.reexpression import Reexpression
from bnfold.folding.view import channels

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

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
        1. One operand is a constant of at least two axes; the data has as many or more.
        2. The affine behind varies along the axis that W writes only (the last; the last but one when W is on the
           left), the one in front along the axis that is summed over.
        3. A shift that stays goes to the readers, or, when the plan may add a node, into a new bias: a Gemm where data
           and constant have two axes and W is on the right, and otherwise an Add.

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
    )

    def answer(self, node: ir.Node, view: View) -> Answer | Choice:  # noqa: D102 - see Rule
        slot = _constant_slot(node, view)  # condition 1
        data, output = required_input(node, 1 - slot), node.outputs[0]
        on_left = slot == 0
        stored = view.weight(node.inputs[slot], "an operand")
        weight = _oriented(stored, on_left)  # […, K, N]
        rank = view.rank(data)
        if stored.ndim < 2 or rank < stored.ndim:  # condition 1
            raise Blocked(f"multiplies a tensor of {rank} axes with a constant of {stored.ndim}")
        axis = -2 if on_left else -1
        in_scale, in_shift = channels(view.read(data), axis, weight.shape[-2], "data")  # condition 2
        rows = in_scale[:, None] * weight  # […, K, N]
        # […, 1, N]; where there is no shift, no sum: 0 times an infinite weight is no 0.
        added = in_shift[None, :] @ weight if in_shift.any() else np.zeros_like(weight[..., :1, :])
        may_add = view.new_nodes_allowed and view.opset(node) >= BROADCASTS

        def with_bias(out_scale: NDArray[np.float64], bias: NDArray[np.float64]) -> Answer:
            """The new weights, and a bias of […, 1, N] where it is not 0."""
            needs_bias = bool(bias.any())
            if needs_bias and not may_add:  # condition 3
                raise Blocked("has no bias that could take the shift in")
            becomes_gemm = needs_bias and not on_left and rank == 2

            def rewrite() -> Rewrite:
                new = _oriented(rows * out_scale, on_left)
                if becomes_gemm:
                    return Rewrite(node, {1: new, 2: bias.reshape(-1)}, op_type="Gemm")
                behind = without_leading_ones(_oriented(bias, on_left)) if needs_bias else None
                return Rewrite(node, {slot: new}, dtype_slot=slot, bias_behind=behind)

            return Answer(rewrite=rewrite, new_nodes=int(needs_bias and not becomes_gemm))

        if added.any() and view.settled(output) is None:  # condition 3: who follows may have a bias
            shift = Affine(np.ones((1,) * rank), _of_rank(_oriented(added, on_left), rank))
            plain = Rewrite(node, {slot: _oriented(rows, on_left)}, dtype_slot=slot)
            handed_on = Answer({output: Reexpression.from_read(shift)}, lambda: plain)
            return Choice((handed_on, with_bias(np.ones(weight.shape[-1]), added))) if may_add else handed_on
        out_scale, out_shift = channels(view.write(output), axis, weight.shape[-1], "output")  # condition 2
        return with_bias(out_scale, _without_dust(out_scale * added, out_shift))


def _constant_slot(node: ir.Node, view: View) -> int:
    for slot in (1, 0):
        if view.find_weight(node.inputs[slot]) is not None:
            return slot
    raise Blocked("multiplies two tensors that are both computed at run time")


def _oriented(array: NDArray[np.float64], on_left: bool) -> NDArray[np.float64]:
    return np.swapaxes(array, -1, -2) if on_left else array


def _of_rank(array: NDArray[np.float64], rank: int) -> NDArray[np.float64]:
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def _without_dust(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum, and 0 where the two cancel but for the last bits of float64: a shift that was handed on is no bias."""
    total = left + right
    return np.where(np.abs(total) <= 1e-12 * np.abs(left), 0.0, total)
