"""GridSample and RoiAlign: each condition, and all modes."""

from __future__ import annotations

import pytest

from tests.helpers.conditions import assert_folds, assert_kept
from tests.helpers.models import model_of, without_shift

GRID = """
    g (float[2,2,4,4] x, float[3,2,1,1] w, float[2,3,3,2] g, BN3) => (float[2,3,3,3] y) {
        h = Conv (x, w)
        s = GridSample <ATTRIBUTES> (h, g)
        y = BatchNormalization (s, scale, bias, mean, var)
    }
"""
ROI = """
    g (float[1,2,8,8] x, float[3,2,1,1] w, float[2,4] rois, BN3) => (float[2,3,2,2] y) {
        h = Conv (x, w)
        i = Constant <value_ints = [0, 0]> ()
        s = RoiAlign <ATTRIBUTES> (h, rois, i)
        y = BatchNormalization (s, scale, bias, mean, var)
    }
"""
SIZE = "output_height = 2, output_width = 2, sampling_ratio = 2"

BROKEN = {
    "grid_with_a_shift": (
        GRID.replace("ATTRIBUTES", 'padding_mode = "zeros"'),
        "reads zeros beyond the border: carries no shift",
    ),
    "grid_along_the_affine": (
        """
        g (float[2,2,3,4] x, float[2,3,3,2] g, BN3) => (float[2,2,3,3] y) {
            t = Transpose <perm = [0,2,1,3]> (x)
            n = BatchNormalization (t, scale, bias, mean, var)
            u = Transpose <perm = [0,2,1,3]> (n)
            y = GridSample <padding_mode = "border"> (u, g)
        }
        """,
        "samples along the axes [2], along which the affine varies",
    ),
    "grid_that_is_the_affine": (
        """
        g (float[2,3,3,2] x, float[2,3,1,1] w, BN3) => (float[2,2,3,3] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            u = Tanh (x)
            c = Conv (u, w)
            y = GridSample (c, n)
        }
        """,
        "reads 'n' as its input 1, where no fold can follow",
    ),
    "regions_with_a_shift": (ROI.replace("ATTRIBUTES", SIZE), "counts samples beyond the border as 0"),
    "regions_along_the_images": (
        """
        g (float[3,1,8,8] x, float[2,4] rois, BN3) => (float[2,1,2,2] y) {
            t = Transpose <perm = [1,0,2,3]> (x)
            n = BatchNormalization (t, scale, bias, mean, var)
            u = Transpose <perm = [1,0,2,3]> (n)
            i = Constant <value_ints = [0, 2]> ()
            y = RoiAlign <output_height = 2, output_width = 2> (u, rois, i)
        }
        """,
        "samples along the axes [0], along which the affine varies",
    ),
    "largest_sample_with_a_negative_scale": (
        without_shift(ROI.replace("ATTRIBUTES", f'{SIZE}, mode = "max"')),
        "picks the largest sample: carries no negative scale",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("padding", ["border", "reflection", "zeros"])
@pytest.mark.parametrize("align", [0, 1])
def test_a_grid_in_all_modes(mode, padding, align) -> None:
    attributes = f'mode = "{mode}", padding_mode = "{padding}", align_corners = {align}'
    text = GRID.replace("ATTRIBUTES", attributes)
    assert_folds(model_of(without_shift(text) if padding == "zeros" else text))


def test_a_grid_before_opset_20_calls_its_modes_otherwise() -> None:
    text = GRID.replace("ATTRIBUTES", 'mode = "bilinear", padding_mode = "border"')
    assert_folds(model_of(text, opset=16, ir_version=8))


@pytest.mark.parametrize(("mode", "scale"), [("avg", "scale"), ("max", "positive_scale")])
@pytest.mark.parametrize("opset", [10, 16, 20])
def test_regions_take_a_scale(mode, scale, opset) -> None:
    text = without_shift(ROI.replace("ATTRIBUTES", f'{SIZE}, mode = "{mode}"'), scale)
    indices = "i = Constant <value = int64[2] {0, 0}> ()"
    text = text.replace("i = Constant <value_ints = [0, 0]> ()", indices)
    assert_folds(model_of(text.replace("rois", "positive_rois"), opset=opset, ir_version=8))
