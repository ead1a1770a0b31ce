"""Mul and Div by a constant, next to an affine: the factor takes the scale in, and the shift must go elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.conditions import assert_kept
from tests.helpers.models import model_of, serialised, set_constant

# Factors that vary along two axes: these are no affines of their own that could go first.
BETWEEN = """
    g (float[N,2,5] x, float[3,2,1] w, float[3,5] c, float[6] scale, float[6] bias, float[6] zero_mean, float[6] var)
            => (float[N,6,5] y) {
        h = Conv (x, w)
        m = CALL
        j = Concat <axis = 1> (h, m)
        y = BatchNormalization (j, scale, bias, zero_mean, var)
    }
"""
BROKEN = {
    "a_constant_divided_by_the_tensor": (
        """
        g (float[N,2,5] x, float[3,2,1] w, float[3,1] c, BN3) => (float[N,3,5] y) {
            h = Conv (x, w)
            m = Div (c, h)
            y = BatchNormalization (m, scale, bias, mean, var)
        }
        """,
        "Div 'm' divides a constant by the tensor, or has a factor that is not finite",
    ),
    # What varies along the second axis of the product would vary along the first of the tensor.
    "a_factor_with_more_axes": (
        """
        g (float[3,2,5] x, float[3,2,1] w, float[1,1,1,1] c, BN3) => (float[1,3,3,5] y) {
            h = Conv (x, w)
            m = Mul (h, c)
            y = BatchNormalization (m, scale, bias, mean, var)
        }
        """,
        "Mul 'm' broadcasts 'h' to the shape of its constant, or may do so",
    ),
    "shifts_on_both_sides_that_do_not_cancel": (
        BETWEEN.replace("CALL", "Mul (h, c)"),
        "Mul 'm' takes in no shift, and the shifts around it do not cancel",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    text, reason = BROKEN[name]
    model = model_of(text)
    oracle.assert_equal(model, bnfold.fold(model).model)
    assert_kept(text, reason)


@pytest.mark.parametrize("call", ["Mul (c, h)", "Div (h, c)"])
def test_scales_on_both_sides_meet_in_the_factor(call) -> None:
    model = model_of(BETWEEN.replace("CALL", call).replace(" bias,", " zero_bias,"))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert [node.op_type for node in result.model.graph] == ["Conv", "Mul", "Concat"]


@pytest.mark.parametrize("call", ["Mul (h, c)", "Div (h, c)"])
def test_a_factor_that_is_not_finite_stays_where_it_is(call) -> None:
    model = model_of(BROKEN["a_constant_divided_by_the_tensor"][0].replace("Div (c, h)", call))
    number = np.inf if call.startswith("Mul") else 0.0
    set_constant(model, model.graph.initializers["c"], np.array([[number], [1.0], [2.0]]))
    result = bnfold.fold(model)
    assert "'m' divides a constant by the tensor, or has a factor that is not finite" in result.kept[0].reason
    assert serialised(result.model) == serialised(model)
