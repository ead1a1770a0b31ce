"""BN203."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.lints import GOOD, built, found, the_finding
from tests.helpers.models import set_constant

CODE = "BN203"
DEAD = {"scale": [1, 0, 0.5, -0.8], "var": [1, 1, 0, 1], "mean": [0.1, 0.2, 0.3, 0.4]}


def test_says_which_and_why() -> None:
    finding = the_finding(CODE, built(**DEAD))
    assert finding.message == "2 of 4 channels (1 and 2) dead: scale ≈ 0 in 1 and variance ≈ 0 in 1"


def test_says_by_how_much_the_network_could_shrink() -> None:
    """One channel: 27 weights of its filter, 4 of its parameters, and 5 of the layer that reads it."""
    finding = the_finding(CODE, built(**DEAD))
    assert finding.advice.startswith("take them out of Conv 'c' and Conv 'y': 72 parameters fewer, 50.0%")
    assert dict(finding.figures) == {"channels": 2, "of": 4, "parameters": 72}


def test_counts_the_bias_of_the_layer_in_front() -> None:
    text = GOOD.replace("Conv (x, w)", "Conv (x, w, b)").replace("float[5,4,1,1] v", "float[4] b, float[5,4,1,1] v")
    for bias in ([1, 2, 3, 4], [0, 0, 0, 0]):
        assert the_finding(CODE, built(text, b=bias, **DEAD)).figures["parameters"] == 74
    same = text.replace("n = Batch", "i = Identity (c) n = Batch").replace("Normalization (c", "Normalization (i")
    assert the_finding(CODE, built(same, **DEAD)).figures["parameters"] == 74


def test_counts_a_matmul_and_its_bias() -> None:
    text = """
        g (float[N,3] x, float[3,4] w, float[4] b, float[4,5] v, BN4) => (float[N,5] y) {
            h = MatMul (x, w)
            c = Add (h, b)
            n = BatchNormalization (c, scale, bias, mean, var)
            y = MatMul (n, v)
        }
    """
    assert the_finding(CODE, built(text, **DEAD)).figures["parameters"] == 2 * (3 + 1 + 4 + 5)
    plain = text.replace("c = Add (h, b)", "c = Identity (h)")
    assert the_finding(CODE, built(plain, **DEAD)).figures["parameters"] == 2 * (3 + 4 + 5)


def test_counts_every_column_behind_a_flatten_and_each_reader() -> None:
    text = """
        g (float[N,3,8,8] x, float[4,3,3,3] w, float[144,7] v, float[6,4,1,1] u, BN4)
                => (float[N,7] y, float[N,6,6,6] z) {
            c = Conv (x, w)
            n = BatchNormalization (c, scale, bias, mean, var)
            s = Sigmoid (n)
            r = Mul (n, s)
            f = Flatten (r)
            y = Gemm (f, v)
            z = Conv (r, u)
        }
    """
    finding = the_finding(CODE, built(text, **DEAD))
    assert "Conv 'c', " in finding.advice
    assert finding.figures["parameters"] == 2 * (27 + 4 + 36 * 7 + 6)


def test_counts_a_depthwise_layer_and_goes_on() -> None:
    text = GOOD.replace("y = Conv (r, v)", "d = Conv <group = 4> (r, k) q = Relu (d) y = Conv (q, v)")
    text = text.replace("float[5,4,1,1] v", "float[4,1,1,1] k, float[5,4,1,1] v")
    assert the_finding(CODE, built(text, **DEAD)).figures["parameters"] == 2 * (27 + 4 + 1 + 5)


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("y = Conv (r, v)", "q = Add (r, c) y = Conv (q, v)"),
        GOOD.replace("y = Conv (r, v)", "k = Softmax <axis = 1> (r) y = Conv (k, v)"),
        GOOD.replace("(float[N,5,6,6] y)", "(float[N,5,6,6] y, float[N,4,6,6] r)"),
        GOOD.replace("(float[N,5,6,6] y)", "(float[N,5,6,6] y, float[N,4,6,6] c)"),
        GOOD.replace("n = Batch", "p = PRelu (c, slope) n = Batch")
        .replace("Normalization (c", "Normalization (p")
        .replace("float[5,4,1,1] v", "float[4,1,1] slope, float[5,4,1,1] v"),
        GOOD.replace("y = Conv (r, v)", "y = Conv <group = 2> (r, v)").replace("[5,4,1,1] v", "[6,2,1,1] v"),
    ],
)
def test_says_so_when_a_channel_cannot_be_taken_out_alone(text) -> None:
    finding = the_finding(CODE, built(text, **DEAD))
    assert "cannot be taken out here alone" in finding.advice
    assert finding.figures["parameters"] == 0


def test_says_so_when_the_weights_behind_are_not_known() -> None:
    model = built(**DEAD)
    model.graph.inputs.append(model.graph.initializers["v"])
    assert the_finding(CODE, model).figures["parameters"] == 0


MIXED = """
    g (float[2,3] x, float[3,4] w, HEAD, BN4) => (float[M,7] y) {
        c = Gemm (x, w)
        n = BatchNormalization (c, scale, bias, mean, var)
        INNER
    }
"""


@pytest.mark.parametrize(
    ("inner", "head"),
    [
        ("y = Gemm (z, v, n)", "float[3,4] v, float[2,3] z"),
        ("f = Transpose <perm = [1, 0]> (n) y = MatMul (f, v)", "float[2,4] v"),
        ("f = Reshape (n, shape) y = Gemm (f, v)", "int64[2] shape, float[2,8] v"),
    ],
)
def test_says_so_when_the_channels_are_mixed_with_others(inner, head) -> None:
    model = built(MIXED.replace("HEAD", head).replace("INNER", inner), **DEAD)
    if "shape" in head:  # the samples one below the other, each in two rows
        set_constant(model, model.graph.initializers.pop("shape"), np.array([-1, 2]))
    assert the_finding(CODE, model).figures["parameters"] == 0


def test_says_so_when_a_linear_layer_is_along_another_axis() -> None:
    """Over the last axis, where the channels are the second."""
    text = """
        g (float[N,4,3] x, float[3,8] w, float[8,5] v, BN4) => (float[N,4,5] y) {
            c = MatMul (x, w)
            n = BatchNormalization (c, scale, bias, mean, var)
            y = MatMul (n, v)
        }
    """
    assert the_finding(CODE, built(text, **DEAD)).figures["parameters"] == 0


def test_is_silent_about_small_channels() -> None:
    assert not found(CODE, built(scale=[1, 3e-3, 1, 1], var=[1, 1, 1e-7, 1]))


def test_is_silent_about_a_residual_block_that_was_never_trained() -> None:
    """Its last BatchNormalization begins with a scale of 0."""
    assert not found(CODE, built(scale=[0, 0, 0, 0], mean=[0, 0, 0, 0], var=[1, 1, 1, 1]))


def test_warns_when_all_channels_are_dead() -> None:
    assert the_finding(CODE, built(scale=[0, 0, 0, 0])).message.startswith("4 of 4 channels (0, 1, 2 and 3) dead")


def test_is_silent_about_parameters_that_are_no_numbers() -> None:
    assert not found(CODE, built(scale=[float("nan"), 0, 1, 1]))
