"""Ops that read an image at positions which another input gives: GridSample, RoiAlign."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.folding.answers import Blocked
from bnfold.folding.nodes import text
from bnfold.folding.ops.carrying import affines_around, carry_as_is, check_free

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.affine import Affine
    from bnfold.folding.answers import Answer
    from bnfold.folding.view import View

__all__ = ["GridSampleRule"]


class GridSampleRule:
    """Carries a scale, and a shift where nothing beyond the border is read as 0.

    Drawing:
        scale·x + shift → GridSample(grid) → y   ⇔   x → GridSample(grid) → scale·y + shift

    Algebra:
        A sample is Σ weight·x with weights that sum to 1, as long as all cells are cells of the image. The largest of
        several samples is carried by a scale that is not negative.

    Conditions:
        1. The affine does not vary along the axes that are sampled, and of RoiAlign not along the first, which becomes
           that of the regions.
        2. A shift: the padding_mode is border or reflection. RoiAlign counts samples outside as 0.
        3. RoiAlign with mode = max: no scale is negative.

    Source:
        https://onnx.ai/onnx/operators/onnx__GridSample.html, https://onnx.ai/onnx/operators/onnx__RoiAlign.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"GridSample", "RoiAlign"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        grid (float[2,2,4,4] x, float[3,2,1,1] w, float[2,3,3,2] g, float[3] scale, float[3] bias, float[3] mean,
              float[3] var) => (float[2,3,3,3] y) {
            h = Conv (x, w)
            s = GridSample <padding_mode = "border"> (h, g)
            y = BatchNormalization (s, scale, bias, mean, var)
        }
        """,
        """
        regions (float[1,3,8,8] x, float[4,3,1,1] w, float[3] scale, float[3] zero_bias, float[3] zero_mean,
                 float[3] var, float[2,4] positive_rois) => (float[2,4,2,2] y) {
            n = BatchNormalization (x, scale, zero_bias, zero_mean, var)
            images = Constant <value_ints = [0, 0]> ()
            r = RoiAlign <output_height = 2, output_width = 2, sampling_ratio = 2> (n, positive_rois, images)
            t = Identity (r)
            y = Conv (t, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        for affine in affines_around(node, view):
            (_check_regions if node.op_type == "RoiAlign" else _check_grid)(node, affine)
        return carry_as_is(node, view)


def _check_grid(node: ir.Node, affine: Affine) -> None:
    check_free(affine, range(2, affine.rank), "samples")  # condition 1
    padding = text(node, "padding_mode", "zeros")
    if affine.shift.any() and padding not in ("border", "reflection"):  # condition 2
        raise Blocked(f"reads {padding} beyond the border: carries no shift")


def _check_regions(node: ir.Node, affine: Affine) -> None:
    check_free(affine, (0, 2, 3), "samples")  # condition 1
    if affine.shift.any():  # condition 2
        raise Blocked("counts samples beyond the border as 0: carries no shift")
    if text(node, "mode", "avg") != "avg" and (affine.scale < 0).any():  # condition 3
        raise Blocked("picks the largest sample: carries no negative scale")
