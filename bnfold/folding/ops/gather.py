"""Gather: of a tensor, by constant indices above all, and of a constant table (an embedding)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.folding.answers import Answer, Rewrite
from bnfold.folding.nodes import integer, required_input
from bnfold.folding.ops.carrying import check_free
from bnfold.folding.ops.selecting import answer_selection

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.answers import Choice
    from bnfold.folding.view import View

__all__ = ["GatherRule"]


class GatherRule:
    """Carries any affine, either way, to what is gathered; takes one behind it into its table.

    Drawing:
        scale·x + shift → Gather(i) → y   ⇔   x → Gather(i) → scale[i]·y + shift[i]
        i → Gather(table) → scale·y + shift   ⇒   i → Gather(scale·table + shift)

    Algebra:
        As for Slice. The axis that is gathered along becomes the axes of the indices.

    Conditions:
        1. Where the affine varies along the axis, the indices are constants.
        2. Back, the size of that axis is known.
        3. No cell of the data is wanted in two forms, be it gathered twice or by two readers.
        4. Of a table: the affine varies along the other axes of the table only.

    Source:
        https://onnx.ai/onnx/operators/onnx__Gather.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Gather"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        shuffled (float[N,2,5] x, float[4,2,1] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,5] y) {
            h = Conv (x, w)
            some = Constant <value_ints = [2, -4, 3]> ()
            g = Gather <axis = 1> (h, some)
            y = BatchNormalization (g, scale, bias, mean, var)
        }
        """,
        """
        one_position (float[N,4,5] x, float[4,3] w, float[4] scale, float[4] bias, float[4] mean, float[4] var)
                => (float[N,3] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            first = Constant <value_int = 0> ()
            g = Gather <axis = 2> (n, first)
            y = Gemm (g, w)
        }
        """,
        """
        embedding (int64[N,5] x, float[12,4] w, float[4] scale, float[4] bias, float[4] mean, float[4] var)
                => (float[N,4,5] y) {
            g = Gather (w, x)
            t = Transpose <perm = [0,2,1]> (g)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer | Choice:  # noqa: D102 - see Rule
        table = view.find_weight(required_input(node, 0))
        return answer_selection(node, view) if table is None else _answer_table(node, table, view)


def _answer_table(node: ir.Node, table: NDArray[np.float64], view: View) -> Answer:
    write = view.write(node.outputs[0])
    axis = integer(node, "axis", 0) % table.ndim
    index_rank = write.rank - table.ndim + 1
    check_free(write, range(axis, axis + index_rank), "gathers")  # condition 4

    def of_table(array: NDArray[np.float64]) -> NDArray[np.float64]:
        return array.reshape(*array.shape[:axis], 1, *array.shape[axis + index_rank :])

    moved = write.map(of_table)
    return Answer(rewrite=lambda: Rewrite(node, {0: moved.scale * table + moved.shift}, dtype_slot=0))
