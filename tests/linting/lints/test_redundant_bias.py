"""BN103."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.lints import GOOD, built, found, the_finding

CODE = "BN103"

CONV = """
    g (float[N,3,8] x, float[4,3,3] w, float[4] b, BN4) => (float[N,4,6] y) {
        c = Conv (x, w, b)
        INNER
        n = BatchNormalization (a, scale, bias, mean, var)
        y = Relu (n)
    }
"""
LINEAR = """
    g (float[N,6,3] x, float[3,4] w, float[4] b, BN4) => (float[N,4,6] y) {
        h = MatMul (x, w)
        c = Add (h, b)
        INNER
        n = BatchNormalization (a, scale, bias, mean, var)
        y = Relu (n)
    }
"""
SAME = "a = Identity (c)"
TRANSPOSED = "a = Transpose <perm = [0, 2, 1]> (c)"


@pytest.mark.parametrize("text", [CONV.replace("INNER", SAME), LINEAR.replace("INNER", TRANSPOSED)])
def test_counts_the_bias(text) -> None:
    finding = the_finding(CODE, built(text))
    assert finding.node == "n"
    assert "'c' in front of it has a bias of 4 numbers" in finding.message
    assert dict(finding.figures) == {"parameters": 4}


def test_knows_gemm_and_says_the_module() -> None:
    text = """
        g (float[N,3] x, float[3,4] w, float[4] b, BN4) => (float[N,4] y) {
            c = Gemm (x, w, b)
            n = BatchNormalization (c, scale, bias, mean, var)
            y = Relu (n)
        }
    """
    model = built(text)
    model.graph.initializers["var"].name = "features.1.running_var"
    finding = the_finding(CODE, model)
    assert finding.module == "features.1"
    assert "Gemm 'c'" in finding.message


def test_warns_also_where_the_planner_keeps_it() -> None:
    """In training mode nothing folds, and the bias is as redundant."""
    text = CONV.replace("INNER", SAME).replace("BatchNormalization (", "BatchNormalization <training_mode = 1> (")
    assert the_finding(CODE, built(text)).node == "n"


TRAINING = "BatchNormalization <training_mode = 1> ("


def test_without_the_planner_it_takes_two_axes() -> None:
    text = LINEAR.replace("BatchNormalization (", TRAINING).replace("INNER", SAME)
    text = text.replace("[N,6,3]", "[N,3]").replace("[N,4,6]", "[N,4]")
    assert the_finding(CODE, built(text)).node == "n"


def test_without_the_planner_a_transposition_hides_the_axis() -> None:
    text = CONV.replace("BatchNormalization (", TRAINING).replace("INNER", TRANSPOSED).replace("[N,3,8]", "[N,3,6]")
    assert not found(CODE, built(text.replace("[N,4,6] y", "[N,4,4] y")))


def test_is_silent_where_the_number_of_axes_is_not_known() -> None:
    text = LINEAR.replace("MatMul (x, w)", "MatMul (u, w)").replace("INNER", SAME)
    text = text.replace("h = MatMul", "k = Shape (x) u = Reshape (x, k) h = MatMul").replace(
        "float[N,6,3] x", "float x"
    )
    assert not found(CODE, built(text.replace("(float[N,4,6] y)", "(float y)")))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD, "there is no bias"),
        (CONV.replace("INNER", "a = Relu (c)"), "an activation is between"),
        (CONV.replace("INNER", "a = Dropout (c)"), "a Dropout is between"),
        (CONV.replace("INNER", SAME).replace("y = Relu (n)", "z = Relu (n) y = Add (z, c)"), "somebody else reads it"),
        (CONV.replace("INNER", SAME).replace("y = Relu (n)", "z = Relu (n) y = Add (z, a)"), "or reads it further on"),
        (CONV.replace("INNER", SAME).replace("[N,4,6] y)", "[N,4,6] y, float[N,4,6] c)"), "it is an output too"),
        (LINEAR.replace("MatMul (x, w)", "Relu (x)").replace("INNER", TRANSPOSED).replace("6,3", "6,4"), "no weights"),
    ],
)
def test_is_silent(text, reason) -> None:
    assert not found(CODE, built(text)), reason


UNIFORM = {"scale": [2] * 4, "bias": [0] * 4, "mean": [0] * 4, "var": [1] * 4}


@pytest.mark.parametrize("arrays", [{}, UNIFORM])
def test_is_silent_about_a_bias_along_another_axis(arrays) -> None:
    """A Linear over C whose BatchNormalization is over L, although L = C; also where it folds, being one number."""
    text = LINEAR.replace("INNER", SAME).replace("float[N,6,3]", "float[N,4,3]").replace("[N,4,6]", "[N,4,4]")
    assert not found(CODE, built(text, **arrays))


def test_is_silent_about_a_bias_of_zeros_in_a_file() -> None:
    assert not found(CODE, built(CONV.replace("INNER", SAME), b=np.zeros(4)))
