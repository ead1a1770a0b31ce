"""Gemm, which is what a Linear layer on two axes exports to."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx_ir as ir

from bnfold.affine import Affine
from bnfold.folding.answers import Blocked
from bnfold.folding.nodes import find_input, flag, number, required_input
from bnfold.folding.ops.broadcasting import BROADCASTS
from bnfold.folding.ops.weights import Change, Weight, agree, changed_bias, find_output
from bnfold.folding.reexpression import Reexpression
from bnfold.folding.view import channels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bnfold.folding.answers import Answer
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
        1. Where B or C is computed at run time, as a DequantizeLinear does, what computes it must take its new scale
           (and shift, for which C must vary along the second axis). The sum above needs the numbers of B: it is a
           constant, or quantised.
        2. The affine behind varies along the second axis only; the one in front along the one that is summed over
           (which transA makes the first).
        3. Before opset 7, which says along which axis C broadcasts, C keeps its shape.

    Source:
        https://onnx.ai/onnx/operators/onnx__Gemm.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Gemm"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0, 1, 2})
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
        weight = Weight.of(node, view, inputs_first=not flag(node, "transB"))
        summed_axis = 0 if flag(node, "transA") else 1
        in_scale, in_shift = channels(view.read(data), summed_axis, weight.inputs, "first operand")  # condition 2
        added = np.zeros(weight.outputs)
        if in_shift.any():  # 0 times an infinite weight is no 0
            added = number(node, "alpha", 1.0) * (weight.numbers(view)[0, :, :, 0] @ in_shift)  # condition 1
        beta = number(node, "beta", 1.0)
        bias = find_input(node, 2) if beta else None
        out_scale, out_shift, carried = find_output(weight, output, in_scale, added, view, bias=bias, beta=beta)
        term, attributes = _changed_term(node, view, added, out_scale, out_shift)
        return agree(node, view, weight.times(out_scale, in_scale, view) | term | carried, (data, output), attributes)


def _changed_term(
    node: ir.Node,
    view: View,
    added: NDArray[np.float64],
    scale: NDArray[np.float64],
    shift: NDArray[np.float64],
) -> tuple[Change, dict[str, ir.Attr]]:
    """What becomes of C, and the new beta where there is one."""
    beta = number(node, "beta", 1.0)
    term = find_input(node, 2)
    if term is None or beta == 0:  # the old C does not count, whatever it is
        _check_shape(node, view, added)
        change = changed_bias(node, view, None, added, scale, shift)
        return change, {"beta": ir.AttrFloat32("beta", 1.0)} if change.constants and beta != 1 else {}
    old = view.find_weight(term)
    if old is None:
        return _asked_of_term(node, view, term, Affine(scale[None], (scale * added + shift)[None] / beta)), {}
    _check_shape(node, view, scale * old)
    return Change({2: lambda: scale * old + (scale * added + shift) / beta}), {}


def _asked_of_term(node: ir.Node, view: View, term: ir.Value, wanted: Affine) -> Change:
    """What a C that is computed at run time must become (condition 1)."""
    if wanted.is_identity and view.settled(term) is None:
        return Change()
    shape = view.shape(term)
    if view.opset(node) < BROADCASTS:  # condition 3
        raise Blocked(f"is of opset {view.opset(node)}, whose broadcasting is another one")
    if wanted.axes and shape[-1:] != (max(wanted.scale.size, wanted.shift.size),):
        raise Blocked(f"adds '{term.name}', which does not vary along the affine, or may not do so")
    rank = len(shape)
    wanted = wanted.map(lambda array: array[0] if rank == 1 else array.reshape(()) if rank == 0 else array)
    return Change(carry={term: Reexpression.from_write(wanted)})


def _check_shape(node: ir.Node, view: View, new: NDArray[np.float64]) -> None:
    old = view.find_weight(find_input(node, 2))
    if view.opset(node) < BROADCASTS and (old is None or old.shape != new.shape):  # condition 3
        raise Blocked(f"is of opset {view.opset(node)}, whose broadcasting is another one")
