"""Ops that move blocks of an image into channels, or back: SpaceToDepth, DepthToSpace."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.folding.answers import Blocked
from bnfold.folding.nodes import integer, text
from bnfold.folding.ops.carrying import affines_around, carry_through, check_free

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.answers import Answer
    from bnfold.folding.view import View

__all__ = ["DepthSpaceRule"]


class DepthSpaceRule:
    """Carries any affine to the deep side; from there, one that is the same for all cells of a block.

    Drawing:
        x → DepthToSpace → scale·y + shift   ⇔   scale′·x + shift′ → DepthToSpace → y

    Algebra:
        A channel c of the wide side is a block of b² channels on the deep side, which all get its numbers. They are
        the channels k·C + c (DCR, and SpaceToDepth), or c·b² + k (CRD), with k = 0 … b² − 1.

    Conditions:
        1. The affine does not vary along the spatial axes.
        2. From the deep side: it is the same for the channels of a block, which become neighbouring cells.

    Source:
        https://onnx.ai/onnx/operators/onnx__DepthToSpace.html, https://onnx.ai/onnx/operators/onnx__SpaceToDepth.html;
        Shi et al. 2016 (https://arxiv.org/abs/1609.05158) for CRD, which PyTorch calls pixel shuffle.
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"DepthToSpace", "SpaceToDepth"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        pixel_shuffle (float[N,2,3,3] x, float[12,2,1,1] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,6,6] y) {
            h = Conv (x, w)
            d = DepthToSpace <blocksize = 2, mode = "CRD"> (h)
            y = BatchNormalization (d, scale, bias, mean, var)
        }
        """,
        """
        depth_column_row (float[N,2,3,3] x, float[12,2,1,1] w, float[3] scale, float[3] bias, float[3] mean,
                          float[3] var) => (float[N,3,6,6] y) {
            h = Conv (x, w)
            d = DepthToSpace <blocksize = 2> (h)
            y = BatchNormalization (d, scale, bias, mean, var)
        }
        """,
        """
        space_to_depth (float[N,3,4,4] x, float[2,12,1,1] w, float[3] scale, float[3] bias, float[3] mean,
                        float[3] var) => (float[N,2,2,2] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            d = SpaceToDepth <blocksize = 2> (n)
            y = Conv (d, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        block = integer(node, "blocksize", 1) ** 2
        channels_first = text(node, "mode", "DCR") == "CRD"
        for affine in affines_around(node, view):
            check_free(affine, (2, 3), "moves blocks")  # condition 1

        def deep(array: NDArray[np.float64]) -> NDArray[np.float64]:
            if array.shape[1] == 1:
                return array
            return np.repeat(array, block, 1) if channels_first else np.tile(array, (1, block, 1, 1))

        def wide(array: NDArray[np.float64]) -> NDArray[np.float64]:
            if array.shape[1] == 1:
                return array
            step = array.shape[1] // block
            first = array[:, ::block] if channels_first else array[:, :step]
            if (deep(first) != array).any():  # condition 2
                raise Blocked("makes neighbouring cells of channels for which the affine is not the same")
            return first

        return carry_through(node, view, *((deep, wide) if node.op_type == "SpaceToDepth" else (wide, deep)))
