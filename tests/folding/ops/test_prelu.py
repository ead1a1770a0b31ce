"""PRelu."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.conditions import assert_kept
from tests.helpers.models import constant, model_of, set_constant

BEHIND = """
    g (float[N,2,5] x, float[3,2,1] w, float[SLOPE] a, float[3] scale, float[3] zero_bias, float[3] zero_mean,
       float[3] var) => (float[N,3,5] y) {
        h = Conv (x, w)
        r = PRelu (h, a)
        y = BatchNormalization MODE (r, scale, zero_bias, zero_mean, var)
    }
"""
FRONT = """
    g (float[N,3,5] x, float[2,3,1] w, float[SLOPE] a, float[3] scale, float[3] bias, float[3] zero_mean,
       float[3] var) => (float[N,2,5] y) {
        n = BatchNormalization MODE (x, scale, bias, zero_mean, var)
        r = PRelu (n, a)
        y = Conv (r, w)
    }
"""


def made(text: str, slope: object, scale: object, constants: object = (0, 0, 0), opset: int = 20):
    slope = np.asarray(slope, float)
    shape = "0" if slope.ndim == 0 else ",".join(map(str, slope.shape))
    mode = "<is_test = 1>" if opset < 7 else ""
    model = model_of(text.replace("SLOPE", shape).replace("MODE", mode), opset=opset, ir_version=8)
    bias = "zero_bias" if "zero_bias" in text else "bias"
    for name, array in (("a", slope), ("scale", scale), (bias, constants)):
        set_constant(model, model.graph.initializers[name], np.asarray(array, float))
    return model


BROKEN = {
    "a_slope_that_is_not_a_constant": (
        """
        g (float[1,2,5] x, float[3,2,1] w, float[3,2,1] v, float[3] scale, float[3] zero_bias, float[3] zero_mean,
           float[3] var) => (float[1,3,5] y) {
            h = Conv (x, w)
            c = Conv (x, v)
            a = Sigmoid (c)
            r = PRelu (h, a)
            y = BatchNormalization (r, scale, zero_bias, zero_mean, var)
        }
        """,
        "PRelu 'r' has a slope that is not a floating-point constant",
    ),
    "the_slope_is_re_expressed": (
        """
        g (float[N,3,5] x, float[3,1] w, BN3) => (float[N,3,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = PRelu (x, n)
        }
        """,
        "PRelu 'y' reads 'n' as its input 1, where no fold can follow",
    ),
    "a_shift": (
        """
        g (float[N,3,5] x, float[3,1] positive_a, BN3) => (float[N,3,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            r = PRelu (n, positive_a)
            y = Conv (r, w)
        }
        """.replace("BN3", "float[2,3,1] w, BN3"),
        "PRelu 'r' carries no shift",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


SCALE = (-0.5, 2.0, -3.0)


@pytest.mark.parametrize("text", [BEHIND, FRONT])
@pytest.mark.parametrize(
    ("slope", "new"),
    [
        ([[0.25], [0.5], [0.1]], [[4], [0.5], [10]]),
        ([0.25], [[4], [0.25], [4]]),
        (0.25, [[4], [0.25], [4]]),
        ([[0.25]], [[4], [0.25], [4]]),
        ([[[0.25], [-0.5], [0.1]]], [[[4], [-0.5], [10]]]),
        ([[2.0], [0.0], [1.0]], [[0.5], [0.0], [1.0]]),
    ],
)
def test_a_negative_scale_turns_the_slope_around(text, slope, new) -> None:
    model = made(text, slope, SCALE)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept
    (node,) = (node for node in result.model.graph if node.op_type == "PRelu")
    np.testing.assert_allclose(constant(result.model, node.inputs[1].name), new)


@pytest.mark.parametrize("text", [BEHIND, FRONT])
@pytest.mark.parametrize("slope", [[[-0.25]], [[0.5], [0.5], [0.0]]])
def test_a_slope_that_is_not_positive_blocks_a_negative_scale(text, slope) -> None:
    model = made(text, slope, SCALE)
    assert "carries a negative scale only where its slope is positive" in bnfold.fold(model).kept[0].reason
    result = bnfold.fold(made(text, slope, np.abs(SCALE)))
    assert not result.kept


@pytest.mark.parametrize("text", [BEHIND, FRONT])
def test_a_slope_of_its_own_for_each_cell_does_not_grow(text) -> None:
    model = made(text, [0.1, 0.2, 0.3, 0.4, 0.5], SCALE)
    assert "would see its slope grow from 5 to 15 numbers" in bnfold.fold(model).kept[0].reason
    # One sign for all channels would still be several scales for one slope, had the slope to be turned around.
    model = made(text, [[0.1, 0.2, 0.3, 0.4, 0.5]] * 3, SCALE)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)


def test_a_slope_that_is_read_twice_is_copied() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[3,2,1] w, float[3,2,1] v, float[1] positive_a, float[3] scale, float[3] zero_bias,
           float[3] zero_mean, float[3] var) => (float[N,3,5] y, float[N,3,5] z) {
            h = Conv (x, w)
            r = PRelu (h, positive_a)
            y = BatchNormalization (r, scale, zero_bias, zero_mean, var)
            g = Conv (x, v)
            z = PRelu (g, positive_a)
        }
    """)
    set_constant(model, model.graph.initializers["scale"], np.array(SCALE))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept
    assert constant(result.model, "positive_a").shape == (1,)


@pytest.mark.parametrize("opset", [6, 7, 9, 16])
@pytest.mark.parametrize("slope", [[0.25], [0.25, 0.5, 0.1]])
def test_every_opset(opset, slope) -> None:
    """Before opset 7 a slope of C numbers is one for each channel; since then, one for each cell of the last axis."""
    model = made(BEHIND.replace("2,5] x", "2,3] x").replace("3,5] y", "3,3] y"), slope, SCALE, opset=opset)
    result = bnfold.fold(model)
    if opset > 13:  # the reference implementation of BatchNormalization is wrong before
        oracle.assert_equal(model, result.model)
    assert bool(result.kept) == (opset > 6 and len(slope) > 1)
    if not result.kept:
        node = result.model.graph.node(1)
        expected = np.where(np.array(SCALE) < 0, 1 / np.array(slope), slope)
        got = constant(result.model, node.inputs[1].name)
        np.testing.assert_allclose(got, expected if opset == 6 else expected[:, None])


def test_before_opset_7_the_slope_lies_along_the_second_axis() -> None:
    text = """
        g (float[N,5,2] x, float[2,2] m, float[1] positive_a, float[2] scale, float[2] zero_bias, float[2] zero_mean,
           float[2] var) => (float[N,2,5] y) {
            h = MatMul (x, m)
            r = PRelu (h, positive_a)
            t = Transpose <perm = [0,2,1]> (r)
            n = BatchNormalization <is_test = 1> (t, scale, zero_bias, zero_mean, var)
            y = Tanh (n)
        }
    """
    model = model_of(text, opset=6, ir_version=8)
    assert "is of opset 6, whose broadcasting is another one" in bnfold.fold(model).kept[0].reason


@pytest.mark.parametrize(
    ("text", "slope", "value", "folds"),
    [
        (BEHIND, [0.25], 0.7, True),
        (BEHIND, [0.25], -0.7, True),
        (BEHIND, [-0.25], 0.7, True),
        (BEHIND, [-0.25], -0.7, False),
        (BEHIND, [0.0], -0.7, False),
        (FRONT, [0.25], 0.7, True),
        (FRONT, [0.25], -0.7, True),
        (FRONT, [-0.25], -0.7, True),
        (FRONT, [0.0], -0.7, True),
    ],
)
def test_a_dead_channel(text, slope, value, folds) -> None:
    model = made(text, slope, (0, 1, -2) if slope[0] > 0 else (0, 1, 2), (value, 0, 0))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert bool(result.kept) != folds
    if not folds:
        assert "never writes the negative constant" in result.kept[0].reason


def test_a_slope_that_fits_no_axis_blocks() -> None:
    (kept,) = bnfold.fold(made(FRONT, [0.1, 0.2, 0.3], SCALE)).kept
    assert "has a slope of shape [3], which does not broadcast into its data" in kept.reason
