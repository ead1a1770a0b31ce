"""Abs, and Neg, which has no condition to break."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.conditions import assert_kept
from tests.helpers.models import model_of, set_constant

BEHIND = """
    g (float[N,2,5] x, float[3,2,1] w, float[3] %sscale, float[3] %sbias, float[3] zero_mean, float[3] var)
            => (float[N,3,5] y) {
        h = Conv (x, w)
        a = Abs (h)
        y = BatchNormalization (a, %sscale, %sbias, zero_mean, var)
    }
"""

BROKEN = {
    "with_a_shift_behind": (BEHIND % (("positive_", "") * 2), "Abs 'a' carries no shift"),
    "with_a_negative_scale_behind": (BEHIND % (("", "zero_") * 2), "carries no negative scale"),
    "with_a_shift_in_front": (
        """
        g (float[N,2,5] x, float[3,2,1] w, BN2) => (float[N,3,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            a = Abs (n)
            y = Conv (a, w)
        }
        """,
        "Abs 'a' carries no shift",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


@pytest.mark.parametrize(("constant", "folds"), [(0.7, True), (0.0, True), (-0.7, False)])
def test_a_dead_channel_behind_it(constant, folds) -> None:
    model = model_of(BEHIND % (("positive_", "") * 2))
    set_constant(model, model.graph.initializers["positive_scale"], np.array([0.0, 1, 2]))
    set_constant(model, model.graph.initializers["bias"], np.array([constant, 0, 0]))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    if folds:
        assert not result.kept
    else:
        assert "never writes the negative constant" in result.kept[0].reason


@pytest.mark.parametrize("op_type", ["Abs", "Neg"])
@pytest.mark.parametrize("constant", [0.7, -0.7])
def test_a_dead_channel_in_front_of_it(constant, op_type) -> None:
    model = model_of(f"""
        g (float[N,3,5] x, float[2,3,1] w, float[3] scale, float[3] bias, float[3] zero_mean, float[3] var)
                => (float[N,2,5] y) {{
            n = BatchNormalization (x, scale, bias, zero_mean, var)
            a = {op_type} (n)
            y = Conv (a, w)
        }}
    """)
    set_constant(model, model.graph.initializers["scale"], np.array([0.0, -1, 2]))
    set_constant(model, model.graph.initializers["bias"], np.array([constant, 0, 0]))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept
