"""BN101."""

from __future__ import annotations

import pytest

from tests.helpers.lints import GOOD, built, found, the_finding

CODE = "BN101"

TWO_LAYERS = """
    g (float[N,5] x, float[6,5] w, float[4,6] v, float[6] s, float[6] b, float[6] m, float[6] var1,
       float[4] s2, float[4] b2, float[4] m2, float[4] var2) => (float[N,4] y) {
        h = Gemm <transB = 1> (x, w)
        INNER
        z = Gemm <transB = 1> (k, v)
        o = BatchNormalization (z, s2, b2, m2, var2)
        y = Relu (o)
    }
"""
NORM = "BatchNormalization (h, s, b, m, var1)"


def layer(inner: str) -> str:
    return TWO_LAYERS.replace("INNER", inner)


BEHIND = layer(f"n = {NORM} r = Relu (n) k = Dropout (r)")
DIRECTLY_BEHIND = layer(f"n = {NORM} k = Dropout (n)")


@pytest.mark.parametrize("text", [BEHIND, DIRECTLY_BEHIND])
def test_warns_of_dropout_behind_it_when_another_one_follows(text) -> None:
    finding = the_finding(CODE, built(text))
    assert finding.node == "n"
    assert "Dropout 'k' of 0.5 is behind it in the same layer" in finding.message
    assert dict(finding.figures) == {"rate": 0.5}


@pytest.mark.parametrize("inner", ["d = Dropout (h) k = BatchNormalization (d, s, b, m, var1)"])
def test_warns_of_dropout_in_front_of_it(inner) -> None:
    finding = the_finding(CODE, built(layer(inner)))
    assert finding.node == "k"
    assert "in front of it" in finding.message
    assert "this BatchNormalization normalises" in finding.message


def test_warns_behind_an_activation_of_several_nodes() -> None:
    inner = f"n = {NORM} g1 = Sigmoid (n) r = Mul (n, g1) k = Dropout (r)"
    assert the_finding(CODE, built(layer(inner))).node == "n"


def test_reads_the_rate_of_either_kind_of_dropout() -> None:
    inner = f"n = {NORM} ratio = Constant <value_float = 0.25> () k = Dropout (n, ratio)"
    assert the_finding(CODE, built(layer(inner))).figures["rate"] == 0.25
    old = layer(f"n = {NORM} k = Dropout <ratio = 0.125> (n)")
    assert the_finding(CODE, built(old, opset=11)).figures["rate"] == 0.125


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        (f"n = {NORM} zero = Constant <value_float = 0.0> () k = Dropout (n, zero)", "it sets nothing to 0"),
        (f"n = {NORM} q = Reciprocal (n) k = Dropout (q)", "another op is between"),
        (f"n = {NORM} d = Dropout (n) k = Add (n, d)", "it is a branch beside it"),
    ],
)
def test_is_silent(inner, reason) -> None:
    assert not found(CODE, built(layer(inner))), reason


def test_a_rate_that_the_caller_gives_is_not_known() -> None:
    text = layer(f"n = {NORM} k = Dropout (n, ratio)")
    model = built(text.replace("float[6,5] w", "float[6,5] w, float ratio"))
    model.graph.inputs.append(model.graph.initializers["ratio"])
    finding = the_finding(CODE, model)
    assert finding.message.startswith("Dropout 'k' is behind it")
    assert not finding.figures


def test_is_silent_when_what_follows_only_has_that_name() -> None:
    model = built(BEHIND)
    (last,) = (node for node in model.graph if node.outputs[0].name == "o")
    last.domain = "other"
    model.opset_imports["other"] = 1
    assert not found(CODE, model)


def test_is_silent_at_the_head() -> None:
    """No BatchNormalization comes behind it: it does no harm there."""
    assert not found(CODE, built(GOOD.replace("y = Conv (r, v)", "d = Dropout (r) y = Conv (d, v)")))


def test_is_silent_in_another_layer() -> None:
    assert not found(
        CODE, built(layer(f"n = {NORM} r = Relu (n) p = MaxPool <kernel_shape = [1]> (r) k = Dropout (p)"))
    )
