"""What is said of an affine that stays: the true reason, the route that came closest, a hint, a warning."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.models import affines, example, model_of, parse, set_constant


def test_the_route_that_came_closest_comes_first() -> None:
    model = model_of("""
        g (float[N,3,5] x, float[4,3,1] w, BN3) => (float[N,4,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            i = Identity (n)
            j = Identity (i)
            k = Conv <pads = [1,1]> (j, w)
            y = Tanh (k)
        }
    """)
    (kept,) = bnfold.fold(model).kept
    assert kept.attempts[0].route == "forward"
    assert kept.reason.startswith("forward: Conv 'k' pads with zeros")
    reaches = [attempt.reach for attempt in kept.attempts]
    assert reaches == sorted(reaches, reverse=True)


def test_the_affine_that_went_before_is_named() -> None:
    """Two BatchNormalizations read one segment: the first puts its shift into it, and Relu then reads that itself."""
    model = example("""
        g (float[N,3,5] x, float[4,3,1] w, float[2,4,3] a, float[2,4,3] b,
           float[4] positive1, float[4] bias1, float[4] mean1, float[4] var1,
           float[4] positive2, float[4] bias2, float[4] mean2, float[4] var2) => (float[N,2,3] y, float[N,2,3] z) {
            s = Conv (x, w)
            n1 = BatchNormalization (s, positive1, bias1, mean1, var1)
            r1 = Relu (n1)
            y = Conv (r1, a)
            n2 = BatchNormalization (s, positive2, bias2, mean2, var2)
            r2 = Relu (n2)
            z = Conv (r2, b)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    (folded,), (kept,) = result.folded, result.kept
    assert f"(it reads 's' since BatchNormalization '{folded.node}' went)" in kept.reason


def test_a_negative_scale_is_counted_and_its_channel_named() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[4,2,1] w, BN4) => (float[N,4,5] y) {
            h = Conv (x, w)
            r = Relu (h)
            n = BatchNormalization (r, scale, bias, mean, var)
            y = Tanh (n)
        }
    """)
    set_constant(model, model.graph.initializers["scale"], np.array([1.0, 1.0, -2.0, 1.0]))
    (kept,) = bnfold.fold(model).kept
    assert "channel 2 is negative (1 of 4 channels)" in kept.reason


@pytest.mark.parametrize("statistic", ["mean", "var"])
def test_batch_statistics_are_recognised(statistic) -> None:
    """What torch writes for track_running_stats=False."""
    model = model_of("""
        g (float[N,3,5] x, BN3) => (float[N,3,5] y) {
            axes = Constant <value_ints = [0, 2]> ()
            m = ReduceMean <keepdims = 0> (x, axes)
            s = Abs (m)
            y = BatchNormalization (x, scale, bias, mean, var)
        }
    """)
    node = list(model.graph)[-1]
    computed = next(node for node in model.graph if node.op_type == "Abs").outputs[0]
    node.replace_input_with(3 if statistic == "mean" else 4, computed)
    (kept,) = bnfold.fold(model).kept
    assert "is computed at run time" in kept.reason
    assert "track_running_stats=False" in kept.hint


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["scale", "bias", "mean", "var"])
def test_parameters_that_are_not_finite_are_kept_with_a_warning(name, value) -> None:
    model = model_of("""
        g (float[N,3,5] x, float[4,3,1] w, BN4) => (float[N,4,5] y) {
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    array = model.graph.initializers[name].const_value.numpy().copy()
    array[1] = value
    set_constant(model, model.graph.initializers[name], array)
    result = bnfold.fold(model)
    (kept,) = result.kept
    assert f"its {name} is {value} in channel 1 (1 of 4 channels)" in kept.reason
    assert kept.warning


def test_the_shift_that_others_take_off_is_told() -> None:
    model = example("""
        g (float[N,3,5] x, float[4,3,1] w, float[4,4,3] a,
           float[4] positive, float[4] bias, float[4] mean, float[4] var) => (float[N,4,5] y) {
            s = Conv (x, w)
            n = BatchNormalization (s, positive, bias, mean, var)
            r = Relu (n)
            c = Conv <pads = [1,1]> (r, a)
            t = Add (s, c)
            y = Tanh (t)
        }
    """)
    set_constant(model, model.graph.initializers["mean"], np.array([30.0, 0, 0, 0]))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert affines(result.model) == 0
    sigma = np.sqrt(model.graph.initializers["var"].const_value.numpy()[0] + 1e-5)
    bias, scale = (model.graph.initializers[name].const_value.numpy()[0] for name in ("bias", "positive"))
    assert np.isclose(result.folded[0].conditioning, (30 - bias * sigma / scale) / sigma, rtol=1e-4)


def test_a_weight_that_the_caller_may_replace_is_no_constant() -> None:
    model = model_of("""
        g (float[N,3,5] x, float[4,3,1] w, BN4) => (float[N,4,5] y) {
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    model.graph.inputs.append(model.graph.initializers["w"])
    (kept,) = bnfold.fold(model).kept
    assert "would change 'w', which is a graph input, which the caller may replace" in kept.reason


def test_a_call_of_a_function_is_called_one() -> None:
    model = parse(
        """
        g (float[N,4] x) => (float[N,4] y) <float[1] two = {2.0}> {
            h = local.f (x)
            y = Mul (h, two)
        }
        <domain: "local", opset_import: ["": 20]>
        f (a) => (b) { b = Tanh (a) }
        """
    )
    (kept,) = bnfold.fold(model).kept
    assert "f 'h' calls a function" in kept.reason
