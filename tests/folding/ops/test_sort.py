"""TopK: each condition, and what happens to the indices."""

from __future__ import annotations

import pytest

import bnfold
from tests.helpers.conditions import assert_folds, assert_kept
from tests.helpers.models import constant, model_of, set_constant

TEXT = """
    g (float[N,2,6] x, float[3,2,1] w, float[3] SCALE, float[3] bias, float[3] mean, float[3] var)
            => (float[N,3,4] y, int64[N,3,4] i) {
        h = Conv (x, w)
        k = Constant <value = int64[1] {4}> ()
        t, i = TopK <ATTRIBUTES> (h, k)
        y = BatchNormalization (t, SCALE, bias, mean, var)
    }
"""
BROKEN = {
    "negative_scale": (
        TEXT.replace("SCALE", "scale").replace("ATTRIBUTES", "axis = 2"),
        "sorts: carries no scale that is negative or 0",
    ),
    "along_the_affine": (
        """
        g (float[N,5,6] x, float[5,5,1] w, BN4) => (float[N,4,6] y) {
            h = Conv (x, w)
            k = Constant <value_ints = [4]> ()
            t, i = TopK <axis = -2> (h, k)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
        "sorts along the axes [1], along which the affine varies",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


@pytest.mark.parametrize("attributes", ["axis = -1", "largest = 0", "sorted = 0, axis = 2"])
def test_the_indices_stay_what_they_were(attributes) -> None:
    assert_folds(model_of(TEXT.replace("SCALE", "positive_scale").replace("ATTRIBUTES", attributes)))


@pytest.mark.parametrize(("opset", "call"), [(1, "TopK <k = 4> (h)"), (10, "TopK (h, k)"), (11, "TopK (h, k)")])
def test_every_opset(opset, call) -> None:
    text = TEXT.replace("SCALE", "positive_scale").replace("TopK <ATTRIBUTES> (h, k)", call)
    text = text if opset >= 7 else text.replace("BatchNormalization", "BatchNormalization <is_test = 1>")
    assert_folds(model_of(text, opset=opset, ir_version=8))


def test_a_channel_with_scale_zero_has_no_order() -> None:
    text = TEXT.replace("SCALE", "positive_scale").replace("ATTRIBUTES", "axis = 2")
    model = model_of(text)
    scale = constant(model, "positive_scale").copy()
    scale[1] = 0
    set_constant(model, model.graph.initializers["positive_scale"], scale)
    assert "negative or 0" in bnfold.fold(model).kept[0].reason
