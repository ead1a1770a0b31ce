"""Gemm, which is what a Linear layer on two axes exports to."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx_ir as ir

from bnfold.folding.answers import Answer, Blocked, Rewrite
from bnfold.folding.nodes import find_input, flag, number, required_input
from bnfold.folding.ops.broadcasting import BROADCASTS
from bnfold.folding.view import channels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bnfold.folding.view import View

__all__ = ["GemmRule"]


class GemmRule:
    """Absorbs an affine behind it, and one in front of it.

    Drawing:
        A → alpha·A·B + beta·C → scale·y + shift   ⇒   A → alpha·A·B′ + beta′·C′
        scale·A + shift → alpha·A·B + beta·C → y   ⇒   A → alpha·A·B′ + beta′·C′

    Algebra:
        behind:      B′[:, n] = B[:, n]·scale[n]     beta·C′ = scale·beta·C + shift
        in front:    B′[k] = scale[k]·B[k]           beta·C′ = beta·C + alpha·Σ_k shift[k]·B[k]
        Where beta = 0 or C is absent, C′ is the added part alone and beta′ = 1.

    Conditions:
        1. B is a constant; C is one too, or is absent, or need not change.
        2. The affine behind varies along the second axis only; the one in front along the one that is summed over
           (which transA makes the first).
        3. Before opset 7, which says along which axis C broadcasts, C keeps its shape.

    Source:
        https://onnx.ai/onnx/operators/onnx__Gemm.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Gemm"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        behind (float[N,5] x, float[4,5] w, float[4] b, float[4] scale, float[4] bias, float[4] mean, float[4] var)
                => (float[N,4] y) {
            h = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, w, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        """
        in_front (float[N,5] x, float[5,4] w, float[5] scale, float[5] bias, float[5] mean, float[5] var)
                => (float[N,4] y) {
            h = BatchNormalization (x, scale, bias, mean, var)
            y = Gemm <alpha = 0.5, beta = 0.0> (h, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        data, output = required_input(node, 0), node.outputs[0]
        stored = view.weight(node.inputs[1], "a second operand")  # condition 1
        transposed = flag(node, "transB")
        weight = stored.T if transposed else stored
        alpha = number(node, "alpha", 1.0)
        summed_axis = 0 if flag(node, "transA") else 1
        in_scale, in_shift = channels(view.read(data), summed_axis, weight.shape[0], "first operand")  # condition 2
        out_scale, out_shift = channels(view.write(output), 1, weight.shape[1], "output")
        # Where there is no shift, no sum: 0 times an infinite weight is no 0.
        added = alpha * (in_shift @ weight) if in_shift.any() else np.zeros(weight.shape[1])
        new_term = _rewritten_term(node, view, added, out_scale, out_shift)

        def rewrite() -> Rewrite:
            new = in_scale[:, None] * weight * out_scale
            constants = {1: new.T if transposed else new}
            if new_term is None:
                return Rewrite(node, constants)
            term, beta = new_term
            attributes = {} if beta == number(node, "beta", 1.0) else {"beta": ir.AttrFloat32("beta", beta)}
            return Rewrite(node, {**constants, 2: term}, attributes=attributes)

        return Answer(rewrite=rewrite)


def _rewritten_term(
    node: ir.Node,
    view: View,
    added: NDArray[np.float64],
    scale: NDArray[np.float64],
    shift: NDArray[np.float64],
) -> tuple[NDArray[np.float64], float] | None:
    """The new C and its beta, or None when there is nothing to add."""
    beta = number(node, "beta", 1.0)
    term = find_input(node, 2)
    constant = scale * added + shift
    if term is None or beta == 0:  # the old C does not count, whatever it is
        _check_shape(node, view, constant)
        return (constant, 1.0) if constant.any() else None
    old = view.find_weight(term)
    if old is None:  # condition 1
        if (scale == 1).all() and not constant.any():
            return None
        raise Blocked(f"adds '{term.name}', which is not a constant")
    _check_shape(node, view, scale * old)
    return scale * old + constant / beta, beta


def _check_shape(node: ir.Node, view: View, new: NDArray[np.float64]) -> None:
    old = view.find_weight(find_input(node, 2))
    if view.opset(node) < BROADCASTS and (old is None or old.shape != new.shape):  # condition 3
        raise Blocked(f"is of opset {view.opset(node)}, whose broadcasting is another one")
