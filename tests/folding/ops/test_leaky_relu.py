"""LeakyRelu."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.conditions import assert_kept
from tests.helpers.models import constant, model_of, set_constant

BEHIND = """
    g (float[N,2,5] x, float[3,2,1] w, float[3] %sscale, float[3] %sbias, float[3] zero_mean, float[3] var)
            => (float[N,3,5] y) {
        h = Conv (x, w)
        r = LeakyRelu %s (h)
        y = BatchNormalization (r, %sscale, %sbias, zero_mean, var)
    }
"""

FRONT = """
    g (float[N,3,5] x, float[2,3,1] w, float[3] %sscale, float[3] %sbias, float[3] zero_mean, float[3] var)
            => (float[N,2,5] y) {
        n = BatchNormalization (x, %sscale, %sbias, zero_mean, var)
        r = LeakyRelu (n)
        y = Conv (r, w)
    }
"""

BROKEN = {
    "with_a_shift_in_front": (FRONT % (("positive_", "") * 2), "LeakyRelu 'r' carries no shift"),
    "with_a_negative_scale_in_front": (FRONT % (("", "zero_") * 2), "carries no negative scale: channel"),
    "with_a_shift": (BEHIND % ("positive_", "", "", "positive_", ""), "LeakyRelu 'r' carries no shift"),
    "with_a_negative_scale": (BEHIND % ("", "zero_", "", "", "zero_"), "carries no negative scale: channel"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


@pytest.mark.parametrize(
    ("attribute", "wanted", "written"),
    [
        ("", 0.7, 0.7),
        ("", -0.7, -0.7 / float(np.float32(0.01))),
        ("<alpha = 0.25>", -0.5, -2.0),
        ("<alpha = 0.0>", -0.5, None),
        ("<alpha = -0.25>", -0.5, None),
        ("<alpha = -0.25>", 0.5, 0.5),
    ],
)
def test_a_dead_channel_behind_it(attribute, wanted, written) -> None:
    model = model_of(BEHIND % ("positive_", "", attribute, "positive_", ""))
    set_constant(model, model.graph.initializers["positive_scale"], np.array([0.0, 1, 2]))
    set_constant(model, model.graph.initializers["bias"], np.array([wanted, 0, 0]))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    if written is None:
        assert "never writes the negative constant" in result.kept[0].reason
    else:
        assert (
            constant(result.model, "h.bias" if "h.bias" in result.model.graph.initializers else "y.bias")[0] == written
        )


@pytest.mark.parametrize("opset", [5, 6, 20])
@pytest.mark.parametrize("bias", [0.7, -0.7])
def test_a_dead_channel_in_front_of_it(bias, opset) -> None:
    model = model_of(
        """
        g (float[N,3,5] x, float[2,3,1] w, float[3] positive_scale, float[3] bias, float[3] zero_mean, float[3] var)
                => (float[N,2,5] y) {
            n = BatchNormalization MODE (x, positive_scale, bias, zero_mean, var)
            r = LeakyRelu (n)
            y = Conv (r, w)
        }
        """.replace("MODE", "<is_test = 1>" if opset < 7 else ""),
        opset=opset,
    )
    set_constant(model, model.graph.initializers["positive_scale"], np.array([0.0, 1, 2]))
    set_constant(model, model.graph.initializers["bias"], np.array([bias, 0, 0]))
    result = bnfold.fold(model)
    if opset > 6:
        oracle.assert_equal(model, result.model)
    assert not result.kept
