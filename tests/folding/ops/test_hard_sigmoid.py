"""HardSigmoid, whose numbers are attributes and so of float32."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.conditions import assert_kept
from tests.helpers.models import model_of, set_constant

UNIFORM = """
    g (float[N,1,5] x, BN1) => (float[N,1,5] y) {
        n = BatchNormalization <epsilon = 0.0> (x, scale, bias, mean, var)
        y = HardSigmoid %s (n)
    }
"""

BROKEN = {
    "different_scales_in_front": (
        """
        g (float[N,2,5] x, BN2) => (float[N,2,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = HardSigmoid (n)
        }
        """,
        "HardSigmoid 'y' is not linear",
    ),
    "behind": (
        """
        g (float[N,1,5] x, BN1) => (float[N,1,5] y) {
            s = HardSigmoid (x)
            y = BatchNormalization (s, scale, bias, mean, var)
        }
        """,
        "HardSigmoid 's' is not linear",
    ),
    "a_constant_wanted_behind": (
        """
        g (float[N,2,5] x, float[3,2,1] w, float[3] zero_scale, float[3] zero_bias, float[3] mean, float[3] var)
                => (float[N,3,5] y) {
            h = Conv (x, w)
            s = HardSigmoid (h)
            y = BatchNormalization (s, zero_scale, zero_bias, mean, var)
        }
        """,
        "HardSigmoid 's' is not linear",
    ),
    "attributes_that_would_lose_bits": (UNIFORM % "", "would get its attribute alpha rounded to FLOAT"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


def uniform(attributes: str, scale: float, bias: float, **options: object):
    """Numbers that float32 holds exactly, so that float64 tensors lose nothing."""
    model = model_of(UNIFORM % attributes, **options)
    for name, value in (("scale", scale), ("bias", bias), ("mean", 0.0), ("var", 4.0)):
        old = model.graph.initializers[name]
        set_constant(model, old, np.full(1, value, old.const_value.numpy().dtype))
    return model


@pytest.mark.parametrize("attributes", ["", "<alpha = 0.25>", "<alpha = -0.5, beta = 0.25>"])
@pytest.mark.parametrize("scale", [4.0, -1.0])
def test_one_scale_and_shift_go_into_the_attributes(attributes, scale) -> None:
    model = uniform(attributes, scale, 0.0 if not attributes else 0.75)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept


def test_float32_tensors_take_rounded_attributes() -> None:
    model = uniform("", 1.7, 0.3, dtype="float")
    result = bnfold.fold(model)
    (node,) = result.model.graph
    alpha, shift = float(np.float32(0.2)), float(np.float32(0.3))
    assert node.attributes["alpha"].as_float() == alpha * float(np.float32(1.7)) / 2
    assert node.attributes["beta"].as_float() == alpha * shift + 0.5


def test_an_attribute_does_not_overflow() -> None:
    model = uniform("<alpha = 1e30>", 1e30, 0.0, dtype="float")
    assert "beyond the range of FLOAT" in bnfold.fold(model).kept[0].reason


@pytest.mark.parametrize("bias", [-9.0, 0.5, 9.0])
def test_a_constant_in_front_is_one_behind(bias) -> None:
    model = model_of("""
        g (float[N,3,5] x, float[2,3,1] w, float[3] scale, float[3] bias, float[3] zero_mean, float[3] var)
                => (float[N,2,5] y) {
            n = BatchNormalization <epsilon = 0.0> (x, scale, bias, zero_mean, var)
            s = HardSigmoid (n)
            y = Conv (s, w)
        }
    """)
    for name, array in (("scale", [0.0, 1, 1]), ("bias", [bias, 0, 0]), ("var", [1.0, 1, 1])):
        set_constant(model, model.graph.initializers[name], np.array(array))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept
