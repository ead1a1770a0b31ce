"""Channels whose scale is 0: nothing ever divides by it, and no reader recovers what it lost."""

from __future__ import annotations

import numpy as np

import bnfold
from tests.helpers import oracle
from tests.helpers.models import constant, model_of, set_constant


def relu_with_a_dead_channel(constant_value: float):
    model = model_of("""
        g (float[N,5] x, float[5,4] w, float[4] b, float[4] positive_scale, float[4] bias, float[4] zero_mean,
           float[4] var) => (float[N,4] y) {
            h = Gemm (x, w, b)
            r = Relu (h)
            y = BatchNormalization (r, positive_scale, bias, zero_mean, var)
        }
    """)
    set_constant(model, model.graph.initializers["positive_scale"], np.array([0.0, 1, 2, 3]))
    set_constant(model, model.graph.initializers["bias"], np.array([constant_value, 0, 0, 0]))
    return model


def test_a_dead_channel_behind_a_relu_may_be_a_positive_constant() -> None:
    model = relu_with_a_dead_channel(0.7)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept
    assert constant(result.model, "b")[0] == 0.7


def test_a_dead_channel_behind_a_relu_cannot_be_a_negative_constant() -> None:
    model = relu_with_a_dead_channel(-0.7)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    (kept,) = result.kept
    assert "never writes the negative constant" in kept.reason


def test_a_dead_channel_cannot_be_read_elsewhere() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[3,2,3] w, float[4,3,1] v, BN3) => (float[N,3,3] y, float[N,4,3] z) {
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
            z = Conv (h, v)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept  # the second Conv undoes the affine with its own weights
    set_constant(model, model.graph.initializers["scale"], np.array([1.0, 0, 2]))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    (kept,) = result.kept
    assert "of which the fold leaves only a constant where the scale is 0" in kept.reason


def test_a_dead_channel_goes_through_a_relu_forward_as_what_the_relu_makes_of_it() -> None:
    model = model_of("""
        g (float[N,4] x, float[4,3] w, float[4] positive_scale, float[4] bias, float[4] zero_mean, float[4] var)
                => (float[N,3] y) {
            n = BatchNormalization (x, positive_scale, bias, zero_mean, var)
            r = Relu (n)
            y = Gemm (r, w)
        }
    """)
    for constant_value in (-0.7, 0.7):
        set_constant(model, model.graph.initializers["positive_scale"], np.array([0.0, 1, 2, 3]))
        set_constant(model, model.graph.initializers["bias"], np.array([constant_value, 0, 0, 0]))
        result = bnfold.fold(model)
        oracle.assert_equal(model, result.model)
        assert not result.kept


SUM = """
    g (float[N,2,5] x, float[3,2,1] w, float[3,2,1] v, BN3) => (float[N,3,5] y) {
        a = Conv (x, w)
        b = Conv (x, v)
        OTHER
        s = Add (a, b)
        y = BatchNormalization (s, scale, bias, mean, var)
    }
"""


def test_every_branch_of_a_sum_writes_a_constant_into_a_dead_channel() -> None:
    model = model_of(SUM.replace("OTHER", ""))
    set_constant(model, model.graph.initializers["scale"], np.array([1.0, 0.0, 2.0]))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept


def test_a_branch_that_someone_else_reads_keeps_the_channel() -> None:
    model = model_of(SUM.replace("OTHER", "z = Tanh (a)").replace("y)", "y, float[N,3,5] z)"))
    set_constant(model, model.graph.initializers["scale"], np.array([1.0, 0.0, 2.0]))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert "Tanh 'z'" in result.kept[0].reason


def test_a_dead_branch_of_a_sum_cannot_tell_the_others() -> None:
    """Forward: what the branch wrote is lost, and the sum has one scale for all."""
    model = model_of("""
        g (float[N,3,5] x, float[3,3,1] v, BN3) => (float[N,3,5] y) {
            a = BatchNormalization (x, scale, bias, mean, var)
            t = Tanh (x)
            b = Conv (t, v)
            s = Add (a, b)
            y = Conv (s, v)
        }
    """)
    set_constant(model, model.graph.initializers["scale"], np.array([1.0, 0.0, 2.0]))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert "a scale of 0 cannot be undone" in result.kept[0].reason


def test_a_dead_channel_cannot_be_added_elsewhere() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[3,2,1] w, float[3,2,1] v, BN3) => (float[N,3,5] y, float[N,3,5] z) {
            h = Conv (x, w)
            n = BatchNormalization (h, scale, bias, mean, var)
            y = Relu (n)
            b = Conv (x, v)
            s = Add (h, b)
            z = Tanh (s)
        }
    """)
    set_constant(model, model.graph.initializers["scale"], np.array([1.0, 0.0, 2.0]))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert "Add 's' shares one scale among its branches, and a scale of 0 cannot be undone" in result.kept[0].reason


def test_a_dead_channel_behind_relu_hands_its_constant_on() -> None:
    """Relu cannot write a negative constant: the channel becomes 0, and an Add further on gets the constant."""
    model = model_of("""
        g (float[N,2,5] x, float[3,2,1] w, float[3,2,1] v, float[3] positive_scale, float[3] bias, float[3] zero_mean,
           float[3] var) => (float[N,3,5] y) {
            h = Conv (x, w)
            r = Relu (h)
            n = BatchNormalization (r, positive_scale, bias, zero_mean, var)
            b = Conv (x, v)
            s = Add (n, b)
            y = Tanh (s)
        }
    """)
    set_constant(model, model.graph.initializers["positive_scale"], np.array([1.0, 0.0, 2.0]))
    set_constant(model, model.graph.initializers["bias"], np.array([0.0, -1.5, 0.0]))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert result.folded[0].route == "back, constants of dead channels forward"


def test_a_piece_without_the_dead_channel_is_free() -> None:
    """The whole cannot tell its old content; the second half can."""
    model = model_of("""
        g (float[N,4,5] x, float[3,2,1] u, float[2,4,1] v, float[3,2,1] w, BN4) => (float[N,3,5] y, float[N,3,5] z) {
            n = BatchNormalization (x, scale, bias, mean, var)
            a, b = Split <axis = 1, num_outputs = 2> (n)
            y = Conv (a, u)
            t = Tanh (x)
            c = Conv (t, v)
            s = Add (b, c)
            z = Conv (s, w)
        }
    """)
    set_constant(model, model.graph.initializers["scale"], np.array([0.0, 1.5, -2.0, 0.5]))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept
