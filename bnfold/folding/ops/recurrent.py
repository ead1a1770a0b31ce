"""Recurrent layers: LSTM, GRU, RNN."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.folding.answers import Answer, Blocked, Rewrite
from bnfold.folding.nodes import find_input, required_input
from bnfold.folding.view import channels

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.view import View

__all__ = ["RecurrentRule"]


class RecurrentRule:
    """Absorbs an affine in front of it; none behind, where its activations stand.

    Drawing:
        scale·x + shift → LSTM(W, R, B) → y   ⇒   x → LSTM(W′, R, B′) → y

    Algebra:
        Every gate of every direction reads x as W·x + b, and nothing else does. B holds b, and behind it the bias of
        the recurrence:
        W′[d, :, i] = W[d, :, i]·scale[i]        b′[d] = b[d] + W[d]·shift
        Steps beyond a sequence's length are not read.

    Conditions:
        1. W is a constant; B is one too, or is absent, or need not change.
        2. The affine varies along the features only, the last axis of x.
        3. No output changes.

    Source:
        https://onnx.ai/onnx/operators/onnx__LSTM.html, https://onnx.ai/onnx/operators/onnx__GRU.html,
        https://onnx.ai/onnx/operators/onnx__RNN.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"GRU", "LSTM", "RNN"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        behind_convolutions (float[N,3,5] x, float[2,16,3] w, float[2,16,4] r, float[2,32] b, float[3] scale,
                             float[3] bias, float[3] mean, float[3] var) => (float[5,2,N,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            t = Transpose <perm = [2,0,1]> (n)
            y = LSTM <hidden_size = 4, direction = "bidirectional"> (t, w, r, b)
        }
        """,
        """
        without_a_bias (float[N,3,5] x, float[1,12,3] w, float[1,12,4] r, float[3] scale, float[3] bias, float[3] mean,
                        float[3] var) => (float[5,1,N,4] y, float[1,N,4] h) {
            n = BatchNormalization (x, scale, bias, mean, var)
            t = Transpose <perm = [2,0,1]> (n)
            y, h = GRU <hidden_size = 4, linear_before_reset = 1> (t, w, r)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        settled = (view.settled(output) for output in node.outputs)
        if any(known is not None and not known.is_identity for known in settled):  # condition 3
            raise Blocked("writes what its activations bound: carries nothing")
        data = required_input(node, 0)
        weight = view.weight(node.inputs[1], "a weight")  # condition 1; [directions, gates, features]
        scale, shift = channels(view.read(data), 2, weight.shape[2], "input")  # condition 2
        bias = _changed_bias(node, view, weight, shift) if shift.any() else {}
        return Answer(rewrite=lambda: Rewrite(node, {1: weight * scale, **bias}))


def _changed_bias(
    node: ir.Node, view: View, weight: NDArray[np.float64], shift: NDArray[np.float64]
) -> dict[int, NDArray[np.float64]]:
    added = weight @ shift
    value = find_input(node, 3)
    old = view.weight(value, "a bias") if value is not None else np.zeros((len(added), 2 * added.shape[1]))
    return {3: old + np.concatenate([added, np.zeros_like(added)], axis=1)}
