"""Normalisations beside an affine."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.conditions import assert_kept
from tests.helpers.models import constant, model_of, set_constant

# name: (what makes the model, part of the reason)
BROKEN = {
    "a_scale_computed_at_run_time": (  # condition 1
        """
        g (float[5] x, float[2,7,5] u, BN5) => (float[2,5,7] y) {
            gamma = Tanh (x)
            h = LayerNormalization (u, gamma)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
        "has a scale that is not a floating-point constant",
    ),
    "a_bias_computed_at_run_time": (  # condition 1
        """
        g (float[5] x, float[2,7,5] u, float[5] gamma, BN5) => (float[2,5,7] y) {
            beta = Tanh (x)
            h = LayerNormalization (u, gamma, beta)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
        "has a bias that is not a floating-point constant",
    ),
    "a_bias_of_another_shape": (  # condition 2
        """
        g (float[2,7,5] x, float[5] gamma, float[1] beta, BN5) => (float[2,5,7] y) {
            h = LayerNormalization (x, gamma, beta)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
        "has a bias of shape [1] beside a scale of [5]",
    ),
    "another_axis": (  # condition 2
        """
        g (float[2,5,5] x, float[5] gamma, BN5) => (float[2,5,5] y) {
            h = LayerNormalization (x, gamma)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "has a scale along the axes [2], the affine varies along [1]",
    ),
    "another_axis_of_an_instance": (  # condition 2
        """
        g (float[2,5,5] x, float[5] gamma, float[5] beta, BN5) => (float[2,5,5] y) {
            h = InstanceNormalization (x, gamma, beta)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
        "has weights along axis 1 of its output, but the affine varies along 2",
    ),
    "a_shift_without_a_bias": (  # condition 3
        """
        g (float[2,7,5] x, float[5] gamma, BN5) => (float[2,5,7] y) {
            h = RMSNormalization (x, gamma)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
        "has no bias that could take the shift in",
    ),
    "a_scale_in_front": (  # condition 4
        """
        g (float[2,3,5] x, float[3] gamma, float[3] beta, BN3) => (float[2,3,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = InstanceNormalization (n, gamma, beta)
        }
        """,
        "a scale in front of it does not vanish, because of epsilon",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    text, reason = BROKEN[name]
    assert_kept(text, reason, opset=23)


@pytest.mark.parametrize(("axis", "shape"), [(-1, "5"), (2, "5"), (1, "7,5"), (1, "5"), (0, "1,1,5"), (-1, "7,5")])
def test_the_parameters_of_a_layer_take_an_affine_along_their_axes(axis, shape) -> None:
    model = model_of(f"""
        g (float[2,7,5] x, float[{shape}] gamma, float[{shape}] beta, BN5) => (float[2,5,7] y) {{
            h = LayerNormalization <axis = {axis}> (x, gamma, beta)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }}
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept
    assert constant(result.model, "gamma").shape == constant(model, "gamma").shape


def test_the_scale_of_an_rms_takes_a_scale() -> None:
    model = model_of(
        """
        g (float[2,7,5] x, float[5] gamma, float[5] scale, float[5] zero_bias, float[5] zero_mean, float[5] var)
                => (float[2,5,7] y) {
            h = RMSNormalization (x, gamma)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, zero_bias, zero_mean, var)
        }
        """,
        opset=23,
    )
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model, tolerance=1e-6)
    assert not result.kept


GROUPS = """
    g (float[2,4,5] x, float[SIZE] gamma, float[SIZE] beta, BN4) => (float[2,4,5] y) {
        h = GroupNormalization <num_groups = 2> (x, gamma, beta)
        y = BatchNormalization (h, scale, bias, mean, var)
    }
"""


def test_groups_have_a_scale_for_each_channel_since_opset_21() -> None:
    model = model_of(GROUPS.replace("SIZE", "4"), opset=21)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model, tolerance=1e-6)
    assert not result.kept


def test_groups_have_a_scale_of_their_own_before_opset_21() -> None:
    assert_kept(GROUPS.replace("SIZE", "2"), "the affine varies within a group", opset=20)
    model = model_of(GROUPS.replace("SIZE", "2"), opset=20)
    for name in ("scale", "bias", "mean", "var"):
        set_constant(model, model.graph.initializers[name], np.repeat(constant(model, name)[::2], 2))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model, tolerance=1e-6)
    assert not result.kept
    assert constant(result.model, "gamma").shape == (2,)


# A residual stream, whose shift a BatchNormalization chooses, and another reader of it.
STREAM = """
    g (float[N,2,6] x, float[4,2,1] w, float[4,4,1] w2, float[P] gamma, float[P] beta, float[4] positive_scale,
       float[4] bias, float[4] mean, float[4] var) => (float[N,4,6] y, float[N,K,L] z) {
        h = Conv (x, w)
        n = BatchNormalization (h, positive_scale, bias, mean, var)
        r = Relu (n)
        y = Conv (r, w2)
        READER
    }
"""


@pytest.mark.parametrize(
    ("reader", "size", "reason"),
    [
        ("z = InstanceNormalization (h, gamma, beta)", 4, None),
        ("t = Transpose <perm = [0,2,1]> (h)\n z = InstanceNormalization (t, gamma, beta)", 6, "takes a mean along"),
        ("z = LayerNormalization (h, gamma, beta)", 6, None),
        ("z, m = LayerNormalization (h, gamma, beta)\n o = Identity (m)", 6, "also says what the mean was"),
        ("z = LayerNormalization <axis = 1> (h, gamma, beta)", 6, "takes a mean along the axes [1, 2]"),
        ("t = Transpose <perm = [0,2,1]> (h)\n z = LayerNormalization (t, gamma, beta)", 4, "takes a mean along"),
        ("z = RMSNormalization (h, gamma)", 6, "subtracts no mean: carries no shift"),
        ("z = GroupNormalization <num_groups = 4> (h, gamma, beta)", 4, None),
        ("z = GroupNormalization <num_groups = 2> (h, gamma, beta)", 4, "the affine varies within a group"),
    ],
)
def test_a_shift_vanishes_where_a_mean_takes_it_off(reader, size, reason) -> None:
    text = STREAM.replace("READER", reader).replace("float[P]", f"float[{size}]")
    model = model_of(text, opset=23)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model, tolerance=1e-6)
    if reason is None:
        assert [folded.route for folded in result.folded] == ["shift back, scale forward"]
    else:
        assert reason in result.kept[0].reason


def test_groups_take_nothing_along_another_axis_before_opset_21() -> None:
    assert_kept(
        """
        g (float[2,4,4] x, float[2] gamma, float[2] beta, BN4) => (float[2,4,4] y) {
            h = GroupNormalization <num_groups = 2> (x, gamma, beta)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
        "has a scale for each group of channels, but the affine varies along [2]",
        opset=18,
    )


def test_a_shift_that_is_the_same_within_each_group_vanishes() -> None:
    reader = "z = GroupNormalization <num_groups = 2> (h, gamma, beta)"
    model = model_of(STREAM.replace("READER", reader).replace("float[P]", "float[4]"), opset=21)
    for name in ("positive_scale", "bias", "mean", "var"):
        set_constant(model, model.graph.initializers[name], np.repeat(constant(model, name)[::2], 2))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model, tolerance=1e-6)
    assert not result.kept


def test_a_statistic_that_would_change_keeps_the_affine() -> None:
    assert_kept(
        """
        g (float[2,3,5] x, float[5] gamma, float[5] beta, BN3) => (float[2,3,5] z, float[2,3,1] y) {
            z, m = LayerNormalization (x, gamma, beta)
            y = BatchNormalization (m, scale, bias, mean, var)
        }
        """,
        "LayerNormalization 'z' writes 'm', a statistic",
    )


def test_a_mean_that_is_an_output_takes_no_shift_off() -> None:
    reader = "z, m = LayerNormalization (h, gamma, beta)"
    text = STREAM.replace("READER", reader).replace("float[P]", "float[6]").replace("z)", "z, float[N,4,1] m)")
    assert_kept(text, "also says what the mean was")
