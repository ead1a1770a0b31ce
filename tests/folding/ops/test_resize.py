"""Resize and Upsample in all opsets and modes: the weights sum to 1, and which axes are resized is known."""

from __future__ import annotations

import onnx_ir as ir
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.conditions import assert_folds, assert_kept
from tests.helpers.models import model_of

BEHIND = """
    g (float[2,2,3] x, float[3,2,1] w, BN3) => (float[2,3,L] y) {
        h = Conv (x, w)
        scales = Constant <value = float[3] {1.0, 1.0, 1.7}> ()
        RESIZE
        y = BatchNormalization (r, scale, bias, mean, var)
    }
"""
CROP = """
    g (float[2,2,3] x, float[3,2,1] w, float[3] scale, float[3] zero_bias, float[3] zero_mean, float[3] var)
            => (float[2,3,L] y) {
        h = Conv (x, w)
        scales = Constant <value_floats = [1.0, 1.0, 1.7]> ()
        region = Constant <value_floats = [REGION]> ()
        r = Resize <mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize"> (h, region, scales)
        y = BatchNormalization (r, scale, zero_bias, zero_mean, var)
    }
"""
BROKEN = {
    "along_the_affine": (
        """
        g (float[N,3,5] x, float[3,3,1] w, BN5) => (float[N,5,5] y) {
            h = Conv (x, w)
            scales = Constant <value_floats = [1.0, 1.7, 1.0]> ()
            r = Resize (h, "", scales)
            y = BatchNormalization (r, scale, bias, mean, var)
        }
        """,
        "resizes along the axes [1], along which the affine varies",
    ),
    "scales_computed_at_run_time": (
        BEHIND.replace(
            "RESIZE",
            """four = Constant <value_ints = [0, 1, 2]> ()
        m = ReduceMax <keepdims = 0> (x, four)
        f = Cast <to = 1> (m)
        s = Mul (f, scales)
        r = Resize (h, "", s)""",
        ).replace("[2,3,L] y)", "[2,3,L] y) <float[2,3,L] r>"),
        "resizes along the axes [1], along which the affine varies",
    ),
    "sizes_computed_at_run_time_of_an_unknown_size": (
        """
        g (float[N,K,5] x, float[2,5,1] w, BN3) => (float[N,3,5] y) {
            t = Transpose <perm = [0,2,1]> (x)
            h = Conv (t, w)
            u = Transpose <perm = [0,2,1]> (h)
            all = Constant <value_ints = [2, 3, 5]> ()
            r = Resize (u, "", "", all)
            y = BatchNormalization (r, scale, bias, mean, var)
        }
        """,
        "resizes along the axes [1], along which the affine varies",
    ),
    "a_ratio_that_is_kept": (
        """
        g (float[N,2,5] x, float[3,2,1] w, BN3) => (float[N,3,5] y) {
            h = Conv (x, w)
            sizes = Constant <value_ints = [3, 6]> ()
            r = Resize <axes = [1, 2], keep_aspect_ratio_policy = "not_larger"> (h, "", "", sizes)
            y = BatchNormalization (r, scale, bias, mean, var)
        }
        """,
        "resizes along the axes [1], along which the affine varies",
    ),
    "a_crop_with_a_shift": (
        CROP.replace("REGION", "0.0, 0.0, 0.2, 1.0, 1.0, 1.5").replace("zero_", ""),
        "writes 0.0 beyond the border (tf_crop_and_resize)",
    ),
    "a_crop_that_writes_another_number": (
        CROP.replace("REGION", "0.0, 0.0, 0.2, 1.0, 1.0, 1.5").replace('resize"', 'resize", extrapolation_value = 2.0'),
        "writes 2.0 beyond the border (tf_crop_and_resize)",
    ),
    "a_crop_of_channels": (
        CROP.replace("REGION", "0.0, 0.5, 0.0, 1.0, 1.0, 1.0"),
        "crops axis 1, along which the affine varies, or may do so",
    ),
    "a_crop_of_a_region_computed_at_run_time": (
        CROP.replace("region = ", "some = ")
        .replace("REGION", "0.0, 0.0, 0.0, 1.0, 1.0, 1.0")
        .replace("r = ", "m = ReduceMax <keepdims = 0> (x) region = Add (some, m) r = "),
        "crops axis 1, along which the affine varies, or may do so",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


def test_half_a_cell_on_is_another_channel() -> None:
    """A mode of opsets 11 and 12."""
    mode = 'coordinate_transformation_mode = "tf_half_pixel_for_nn"'
    call = f"none = Constant <value = float[0] {{}}> ()\n r = Resize <{mode}, REST> (h, none, scales)"
    text = BEHIND.replace("RESIZE", call)
    for rest, folds in (('nearest_mode = "ceil"', False), ('mode = "linear"', False), ('nearest_mode = "floor"', True)):
        result = bnfold.fold(model_of(text.replace("REST", rest), opset=11, ir_version=8))
        assert not result.kept if folds else "resizes along the axes [1]" in result.kept[0].reason


MODES = [
    "",
    'mode = "linear"',
    'mode = "linear", antialias = 1',
    'mode = "cubic"',
    'mode = "cubic", cubic_coeff_a = -0.5, antialias = 1',
    'mode = "cubic", exclude_outside = 1',
    'mode = "linear", coordinate_transformation_mode = "align_corners"',
    'mode = "cubic", coordinate_transformation_mode = "half_pixel_symmetric"',
    'mode = "linear", coordinate_transformation_mode = "pytorch_half_pixel"',
    'nearest_mode = "ceil", coordinate_transformation_mode = "asymmetric"',
]


@pytest.mark.parametrize("attributes", MODES)
@pytest.mark.parametrize("factor", ["1.7", "0.6"])
def test_all_modes_average(attributes, factor) -> None:
    text = BEHIND.replace("RESIZE", f'r = Resize <{attributes}> (h, "", scales)'.replace("<>", ""))
    assert_folds(model_of(text.replace("1.7", factor)))


@pytest.mark.parametrize(
    "sizes", ["Constant <value_ints = [2, 3, 7]> ()", "Concat <axis = 0> (batch, channels, seven)"]
)
def test_sizes_say_which_axes_are_resized(sizes) -> None:
    assert_folds(
        model_of(f"""
        g (float[2,2,4] x, float[3,2,1] w, BN3) => (float[2,3,7] y) {{
            h = Conv (x, w)
            batch = Shape <start = 0, end = 1> (x)
            channels = Shape <start = 1, end = 2> (h)
            seven = Constant <value_ints = [7]> ()
            sizes = {sizes}
            r = Resize <mode = "linear"> (h, "", "", sizes)
            y = BatchNormalization (r, scale, bias, mean, var)
        }}
    """)
    )


def test_axes_that_are_not_listed_are_not_resized() -> None:
    assert_folds(
        model_of("""
        g (float[N,2,4] x, float[3,2,1] w, BN3) => (float[N,3,L] y) {
            h = Conv (x, w)
            sizes = Constant <value_ints = [7]> ()
            r = Resize <axes = [-1], keep_aspect_ratio_policy = "not_larger"> (h, "", "", sizes)
            y = BatchNormalization (r, scale, bias, mean, var)
        }
    """)
    )


def test_a_crop_passes_a_scale() -> None:
    assert_folds(model_of(CROP.replace("REGION", "0.0, 0.0, 0.2, 1.0, 1.0, 1.5")))


@pytest.mark.parametrize(
    ("opset", "call"),
    [
        (1, 'Upsample <height_scale = 2.0, width_scale = 1.5, mode = "nearest"> (h)'),
        (7, 'Upsample <scales = [1.0, 1.0, 2.0, 1.5], mode = "linear"> (h)'),
        (9, 'Upsample <mode = "linear"> (h, scales)'),
        (10, 'Resize <mode = "linear"> (h, scales)'),
        (11, 'Resize <mode = "cubic"> (h, none, scales)'),
        (13, 'Resize <mode = "cubic"> (h, "", scales)'),
        (18, 'Resize <mode = "linear", antialias = 1> (h, "", scales)'),
        (19, 'Resize <mode = "linear"> (h, "", scales)'),
    ],
)
def test_every_opset(opset, call) -> None:
    model = model_of(
        f"""
        g (float[2,2,3,4] x, float[3,2,1,1] w, BN3) => (float[2,3,6,6] y) {{
            h = Conv (x, w)
            scales = Constant <value = float[4] {{1.0, 1.0, 2.0, 1.5}}> ()
            none = Constant <value = float[0] {{}}> ()
            r = {call}
            y = BatchNormalization{" <is_test = 1>" if opset < 7 else ""} (r, scale, bias, mean, var)
        }}
        """,
        opset=opset,
        ir_version=8,
    )
    assert_folds(model)


def test_a_dynamic_batch_is_no_obstacle() -> None:
    model = model_of(BEHIND.replace("RESIZE", 'r = Resize (h, "", scales)').replace("[2,2,3] x", "[N,2,L] x"))
    model.graph.outputs[0].shape = ir.Shape(["N", 3, "M"])
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept
