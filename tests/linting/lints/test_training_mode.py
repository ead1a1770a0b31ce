"""BN302."""

from __future__ import annotations

import pytest

from tests.helpers.lints import GOOD, built, found, the_finding

CODE = "BN302"
BATCH_STATISTICS = """
    g (float[N,4,8] x, float[4] scale, float[4] bias, float[5,4,1] v) => (float[N,5,8] y) {
        axes = Constant <value_ints = [0, 2]> ()
        m = ReduceMean <keepdims = 0> (x, axes)
        k = ReduceMean (x, axes)
        d = Sub (x, k)
        q = Mul (d, d)
        s = ReduceMean <keepdims = 0> (q, axes)
        n = BatchNormalization (x, scale, bias, m, s)
        y = Conv (n, v)
    }
"""


@pytest.mark.parametrize(
    ("text", "opset", "words"),
    [
        (
            GOOD.replace("BatchNormalization (", "BatchNormalization <training_mode = 1> ("),
            20,
            "statistics of the batch",
        ),
        (
            GOOD.replace("n = Batch", "n, m2, v2, m3, v3 = Batch").replace("=> (", "=> (float[4] m2, "),
            9,
            "outputs are used",
        ),
        (GOOD, 6, "is_test is not set"),
        (BATCH_STATISTICS, 20, "its mean is computed from the batch"),
    ],
)
def test_warns_and_the_planner_agrees(text, opset, words) -> None:
    model = built(text, opset=opset)
    finding = the_finding(CODE, model)
    assert words in finding.message
    assert finding.node == "n"
    assert not found("BN401", model), "one finding is enough"


def test_is_silent_about_a_mean_of_constants() -> None:
    mean = "axis = Constant <value_ints = [0]> () k = ReduceMean <keepdims = 0> (table, axis)"
    text = GOOD.replace("n = Batch", f"{mean} n = Batch").replace("bias, mean", "bias, k")
    model = built(text.replace("BN4)", "float[2,4] table, BN4)"))
    assert not found(CODE, model)


def test_is_silent_at_inference() -> None:
    assert not found(CODE, built())
    assert not found(CODE, built(GOOD.replace("BatchNormalization (", "BatchNormalization <is_test = 1> ("), opset=6))


def test_is_silent_about_parameters_that_the_caller_gives() -> None:
    """Which the planner keeps for another reason."""
    model = built()
    model.graph.inputs.append(model.graph.initializers["mean"])
    assert not found(CODE, model)
    assert "a graph input" in the_finding("BN401", model).message
