"""ConvTranspose in 1, 2 and 3 dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.affine import DUST
from bnfold.folding.answers import Blocked
from bnfold.folding.nodes import find_input, integer, integers, required_input, text
from bnfold.folding.ops.weights import Weight, agree, changed_bias, find_output
from bnfold.folding.view import channels

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.answers import Answer
    from bnfold.folding.view import View

__all__ = ["ConvTransposeRule"]


class ConvTransposeRule:
    """Absorbs an affine behind it, and the scale of one in front of it; the shift only where every cell sums alike.

    Drawing:
        x → ConvTranspose(W, b) → scale·y + shift   ⇒   x → ConvTranspose(W′, b′)
        scale·x + shift → ConvTranspose(W, b) → y   ⇒   x → ConvTranspose(W′, b′)

    Algebra:
        W is [inputs, outputs / group, …]; seen as [group, inputs / group, outputs / group, …]:
        behind:      W′[g, i, o] = scale[g, o]·W[g, i, o]      b′ = scale·b + shift
        in front:    W′[g, i, o] = W[g, i, o]·scale[g, i]      b′ = b + Σ_i shift[g, i]·W[g, i, o, k], for any k

    Conditions:
        1. Where W or b is computed at run time, as a DequantizeLinear does, what computes it must take its new scale
           (and shift). The sum above needs the numbers of W: it is a constant, or quantised.
        2. Each affine varies along the channel axis only.
        3. A shift in front reaches every output cell through exactly one tap: stride = kernel, no dilation, no output
           padding, no automatic or demanded output size. (Pads only cut cells off.)
        4. And that sum over i is the same for every tap k.

    Source:
        https://onnx.ai/onnx/operators/onnx__ConvTranspose.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"ConvTranspose"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0, 1, 2})
    examples: ClassVar[tuple[str, ...]] = (
        """
        behind (float[N,4,3,3] x, float[4,3,2,2] w, float[6] b, float[6] scale, float[6] bias, float[6] mean,
                float[6] var) => (float[N,6,6,6] y) {
            h = ConvTranspose <group = 2, strides = [2,2]> (x, w, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        """
        in_front (float[N,4,5] x, float[4,3,1] w, float[4] scale, float[4] bias, float[4] mean, float[4] var)
                => (float[N,3,5] y) {
            h = BatchNormalization (x, scale, bias, mean, var)
            y = ConvTranspose (h, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        data, output = required_input(node, 0), node.outputs[0]
        weight = Weight.of(node, view, group=integer(node, "group", 1), inputs_first=True)
        in_scale, in_shift = channels(view.read(data), 1, weight.inputs, "input")  # condition 2
        added = np.zeros(weight.outputs)
        if in_shift.any():
            if overlap := _uneven_coverage(node, weight.shape[2:]):  # condition 3
                raise Blocked(f"sums a different number of taps in different cells ({overlap}), and the shift is not 0")
            added = _sum_of_taps(weight.numbers(view), in_shift.reshape(weight.group, -1))  # conditions 1 and 4
        bias = find_input(node, 2)
        out_scale, out_shift, carried = find_output(weight, output, in_scale, added, view, bias=bias)
        change = weight.times(out_scale, in_scale, view) | changed_bias(node, view, bias, added, out_scale, out_shift)
        return agree(node, view, change | carried, (data, output))


def _uneven_coverage(node: ir.Node, kernel: tuple[int, ...]) -> str | None:
    """The attribute because of which not every output cell is written by exactly one tap, or None."""
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    if integers(node, "strides", ones) != kernel:
        return f"strides are not the kernel {list(kernel)}"
    if integers(node, "dilations", ones) != ones:
        return "dilations"
    if integers(node, "output_padding", zeros) != zeros:
        return "output_padding"
    if integers(node, "output_shape", ()):
        return "output_shape"
    if text(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return "auto_pad"
    if min(integers(node, "pads", zeros)) < 0:
        return "negative pads"
    return None


def _sum_of_taps(grouped: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.einsum("goik,gi->gok", grouped, shift)
    size = np.einsum("goik,gi->gok", np.abs(grouped), np.abs(shift))
    if (np.abs(sums - sums[..., :1]) > DUST * size).any():
        raise Blocked("has different weights for different cells, and the shift in front of it is not 0")
    first: NDArray[np.float64] = sums[..., 0].reshape(-1)
    return first
