"""Pools over windows and over all positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.folding.answers import Answer, Blocked
from bnfold.folding.nodes import flag, integers, required_input, text
from bnfold.folding.ops.carrying import affines_around, carry_as_is, check_free

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.affine import Affine
    from bnfold.folding.view import View

__all__ = ["PoolRule"]

_MAXIMA = frozenset({"GlobalMaxPool", "MaxPool"})


class PoolRule:
    """Carries a scale, and a shift where every cell of the output averages, or picks, cells of the input alone.

    Drawing:
        scale·x + shift → Pool → y   ⇔   x → Pool → scale·y + shift

    Algebra:
        max(scale·x + shift) = scale·max(x) + shift   for scale ≥ 0
        mean(scale·x + shift) = scale·mean(x) + shift

    Conditions:
        1. The affine does not vary along the axes that are pooled.
        2. A maximum is scaled by nothing negative, and nobody reads where it was. (Its padding is −∞.)
        3. An average with a shift counts no padding, and no window reaches over the edge (ceil_mode), as is known where
           the sizes are, and windows and strides fill them.

    Source:
        https://onnx.ai/onnx/operators/onnx__MaxPool.html, https://onnx.ai/onnx/operators/onnx__AveragePool.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        maximum (float[N,2,6] x, float[3,2,1] w, float[3] positive_scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,4] y) {
            h = Conv (x, w)
            p = MaxPool <kernel_shape = [2], strides = [2], pads = [1,1]> (h)
            y = BatchNormalization (p, positive_scale, bias, mean, var)
        }
        """,
        """
        average (float[N,2,6,6] x, float[3,2,1,1] w, float[2] scale, float[2] bias, float[2] mean, float[2] var)
                => (float[N,3,1,1] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            p = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1]> (n)
            g = GlobalAveragePool (p)
            y = Conv (g, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        for affine in affines_around(node, view):
            _check(node, affine, view)
        return carry_as_is(node, view)


def _check(node: ir.Node, affine: Affine, view: View) -> None:
    check_free(affine, range(2, affine.rank), "pools")  # condition 1
    if node.op_type in _MAXIMA:
        if (affine.scale < 0).any():  # condition 2
            raise Blocked("picks the largest: carries no negative scale")
        if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):  # condition 2
            raise Blocked("also says where the largest was")
    elif affine.shift.any() and (counted := _counted_padding(node, view)):  # condition 3
        raise Blocked(f"averages cells beyond the border ({counted}): carries no shift")


def _counted_padding(node: ir.Node, view: View) -> str | None:
    if node.op_type != "AveragePool":
        return None
    if flag(node, "ceil_mode") and not _is_filled(node, view):
        return "ceil_mode"
    padded = any(integers(node, "pads", ())) or text(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    return "count_include_pad" if padded and flag(node, "count_include_pad") else None


def _is_filled(node: ir.Node, view: View) -> bool:
    """Whether the last window ends where the data ends, so that rounding up the number of windows changes nothing."""
    sizes = view.shape(required_input(node, 0))[2:]
    kernel = integers(node, "kernel_shape", ())
    strides, dilations = (integers(node, name, ()) or (1,) * len(sizes) for name in ("strides", "dilations"))
    pads = integers(node, "pads", ()) or (0,) * 2 * len(sizes)
    if text(node, "auto_pad", "NOTSET") != "NOTSET":
        return False
    totals = (begin + end for begin, end in zip(pads[: len(sizes)], pads[len(sizes) :], strict=True))
    return all(
        isinstance(size, int) and (size + total - dilation * (window - 1) - 1) % stride == 0
        for size, total, dilation, window, stride in zip(sizes, totals, dilations, kernel, strides, strict=True)
    )
