"""Slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.folding.ops.selecting import answer_selection

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.folding.answers import Answer, Choice
    from bnfold.folding.view import View

__all__ = ["SliceRule"]


class SliceRule:
    """Carries any affine, either way: the part of it that belongs to the slice.

    Drawing:
        scale·x + shift → Slice → y   ⇔   x → Slice → scale[slice]·y + shift[slice]

    Algebra:
        Forward, the arrays of the affine are sliced like the data. Back, the data is re-expressed where the slice is,
        and elsewhere as the other Slices and Gathers of it demand; what nobody demanded stays as it is. Along an axis
        on which the affine does not vary, all of the data is re-expressed alike.

    Conditions:
        1. The starts, ends, axes and steps are constants.
        2. Back, the size of an axis that is sliced, and along which the affine varies, is known.
        3. No cell of the data is wanted in two forms.

    Source:
        https://onnx.ai/onnx/operators/onnx__Slice.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Slice"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        one_part (float[N,2,5] x, float[6,2,1] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,5] y) {
            h = Conv (x, w)
            starts = Constant <value_ints = [3]> ()
            ends = Constant <value_ints = [9223372036854775807]> ()
            axes = Constant <value_ints = [-2]> ()
            s = Slice (h, starts, ends, axes)
            y = BatchNormalization (s, scale, bias, mean, var)
        }
        """,
        """
        backwards (float[N,4,6] x, float[3,2,1] w, float[4] scale, float[4] bias, float[4] mean, float[4] var)
                => (float[N,3,2] y) {
            h = BatchNormalization (x, scale, bias, mean, var)
            starts = Constant <value_ints = [-1, 1]> ()
            ends = Constant <value_ints = [-9223372036854775807, 4]> ()
            axes = Constant <value_ints = [1, -1]> ()
            steps = Constant <value_ints = [-2, 2]> ()
            s = Slice (h, starts, ends, axes, steps)
            y = Conv (s, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer | Choice:  # noqa: D102 - see Rule
        return answer_selection(node, view)
