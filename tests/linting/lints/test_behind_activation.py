"""BN102."""

from __future__ import annotations

import itertools

import pytest

from tests.helpers.lints import GOOD, built, found, the_finding

CODE = "BN102"

POST = """
    g (float[N,3,8] x, float[4,3,1] w, float[4,4,1] v, BN4) => (float[N,4,8] y) {
        c = Conv (x, w)
        INNER
        n = BatchNormalization (a, scale, bias, mean, var)
        y = Conv (n, v)
    }
"""


# f(x) of nine steps: that is a branch of its own.
STEPS = ["c", *(f"t{step}" for step in range(1, 10))]
LONG_WAY = " ".join(f"{new} = Tanh ({old})" for old, new in itertools.pairwise(STEPS)) + " a = Mul (c, t9)"


def test_names_the_activation_and_the_layer_in_front_of_it() -> None:
    finding = the_finding(CODE, built(POST.replace("INNER", "a = Relu (c)")))
    assert finding.node == "n"
    assert finding.message.startswith("it is right behind Relu 'a' (of Conv 'c')")
    assert "put it in front of 'a'" in finding.advice


@pytest.mark.parametrize(
    "inner",
    [
        "a = Tanh (c)",
        "zero = Constant <value_float = 0.0> () six = Constant <value_float = 6.0> () a = Clip (c, zero, six)",
        "s = Sigmoid (c) a = Mul (c, s)",
        "s = Softplus (c) t = Tanh (s) a = Mul (t, c)",
        "k = Constant <value_float = 1.4> () one = Constant <value_float = 1.0> () "
        "half = Constant <value_float = 0.5> () "
        "d = Div (c, k) e = Erf (d) p = Add (e, one) h = Mul (c, half) a = Mul (h, p)",
    ],
)
def test_knows_activations_of_one_node_and_of_several(inner) -> None:
    assert the_finding(CODE, built(POST.replace("INNER", inner))).node == "n"


@pytest.mark.parametrize(
    "inner",
    [
        "a = Identity (c)",
        "r = Relu (c) a = MaxPool <kernel_shape = [1]> (r)",
        "r = Relu (c) a = Add (r, c)",
        "p = GlobalAveragePool (c) q = Conv (p, v) s = Sigmoid (q) a = Mul (c, s)",
        "k = Constant <value_float = 2.0> () a = Mul (c, k)",
        "k = Constant <value_float = 2.0> () h = Mul (c, k) a = Mul (c, h)",
        LONG_WAY,
    ],
)
def test_is_silent_behind_anything_else(inner) -> None:
    assert not found(CODE, built(POST.replace("INNER", inner)))


def test_is_silent_where_others_read_the_activation_too() -> None:
    branches = POST.replace("y = Conv (n, v)", "b = Conv (a, v) y = Add (n, b)").replace("INNER", "a = Relu (c)")
    assert not found(CODE, built(branches))
    output = POST.replace("INNER", "a = Relu (c)").replace("float[N,4,8] y)", "float[N,4,8] y, float[N,4,8] a)")
    assert not found(CODE, built(output))


def test_knows_an_activation_of_the_input_of_the_network() -> None:
    text = (
        POST.replace("c = Conv (x, w)", "s = Sigmoid (x)").replace("INNER", "a = Mul (x, s)").replace("N,3,8", "N,4,8")
    )
    assert the_finding(CODE, built(text)).message.startswith("it is right behind Mul 'a':")


def test_is_silent_in_front_of_an_activation() -> None:
    assert not found(CODE, built(GOOD))
