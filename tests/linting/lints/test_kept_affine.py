"""BN401."""

from __future__ import annotations

import pytest

import bnfold
from tests.helpers.lints import GOOD, built, found, the_finding

CODE = "BN401"
BLOCKED = """
    g (float[N,4,8] x, float[5,4,3] v, BN4) => (float[N,5,8] y) {
        a = Tanh (x)
        n = BatchNormalization (a, scale, bias, mean, var)
        y = Conv <pads = [1,1]> (n, v)
    }
"""
SPELT_OUT = """
    g (float[N,4] x, float[4] scale, float[4] bias) => (float[N,4] y) {
        a = Tanh (x)
        m = Mul (a, scale)
        n = Add (m, bias)
        y = Sigmoid (n)
    }
"""


@pytest.mark.parametrize("text", [BLOCKED, SPELT_OUT])
def test_has_the_reason_of_the_planner(text) -> None:
    model = built(text)
    (kept,) = bnfold.inspect(model).kept
    finding = the_finding(CODE, model)
    assert (finding.node, finding.op_type) == (kept.node, kept.op_type)
    assert finding.message == f"it stays: {kept.reason}"


def test_says_when_a_repair_would_fold_it() -> None:
    assert "--repairs" in the_finding(CODE, built(BLOCKED)).advice
    assert "--repairs" not in the_finding(CODE, built(SPELT_OUT)).advice


def test_says_that_the_model_is_damaged() -> None:
    finding = the_finding(CODE, built(var=[1, float("nan"), 1, 1]))
    assert "its var is nan in channel 1" in finding.message
    assert "damaged" in finding.message
    assert "repair the model" in finding.advice


@pytest.mark.parametrize("text", [GOOD, SPELT_OUT.replace("n = Add (m, bias)", "n = Identity (m)")])
def test_is_silent_about_what_folds_and_about_single_constants(text) -> None:
    assert not found(CODE, built(text))
