"""BN402."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.lints import GOOD, built, found, the_finding

CODE = "BN402"
RNG = np.random.default_rng(0)
W = RNG.uniform(0.5, 1, (4, 3, 3, 3)) * RNG.choice([-1, 1], (4, 3, 3, 3))
ONES = {"mean": [0, 0, 0, 0], "var": [1, 1, 1, 1]}


def test_says_the_ratio_before_and_after() -> None:
    finding = the_finding(CODE, built(w=W, scale=[1, 1, 300, 1], **ONES))
    assert (finding.node, finding.op_type) == ("c", "Conv")
    assert "3 of 4 channels (0, 1 and 3)" in finding.message
    assert finding.figures["ratio"] == pytest.approx(300, rel=0.1)
    assert finding.figures["ratio_unfolded"] == pytest.approx(1, abs=0.1)


def test_judges_by_what_rounding_does_to_a_channel() -> None:
    """A step of 1/127 of the largest weight: noise of a tenth of the power at a ratio of about 60."""
    assert not found(CODE, built(w=W, scale=[1, 1, 30, 1], **ONES))
    assert found(CODE, built(w=W, scale=[1, 1, 150, 1], **ONES))


def test_is_silent_about_dead_channels() -> None:
    assert not found(CODE, built(w=W, scale=[1, 1, 1e-6, 1], **ONES))


def test_is_silent_about_weights_that_no_fold_touches() -> None:
    """Unequal, but not for a BatchNormalization: it is no business of ours."""
    unequal = W * np.array([1, 1, 300, 1]).reshape(4, 1, 1, 1)
    text = GOOD.replace("n = BatchNormalization (c, scale, bias, mean, var)", "n = Relu (c)")
    assert not found(CODE, built(text, w=unequal))


@pytest.mark.parametrize(
    ("op", "shape", "axis"),
    [("Gemm <transB = 1>", (4, 6), 0), ("Gemm", (6, 4), 1), ("MatMul", (6, 4), 1)],
)
def test_looks_along_the_channels_of_each_op(op, shape, axis) -> None:
    text = f"""
        g (float[N,6] x, float[{shape[0]},{shape[1]}] w, BN4) => (float[N,4] y) {{
            c = {op} (x, w)
            n = BatchNormalization (c, scale, bias, mean, var)
            y = Relu (n)
        }}
    """
    weight = RNG.uniform(0.5, 1, shape)
    finding = the_finding(CODE, built(text, w=weight, scale=[1, 1, 300, 1], **ONES))
    assert "3 of 4 channels (0, 1 and 3)" in finding.message


def test_looks_along_the_channels_of_a_grouped_conv_transpose() -> None:
    text = """
        g (float[N,2,6] x, float[2,2,3] w, BN4) => (float[N,4,8] y) {
            c = ConvTranspose <group = 2> (x, w)
            n = BatchNormalization (c, scale, bias, mean, var)
            y = Relu (n)
        }
    """
    weight = RNG.uniform(0.5, 1, (2, 2, 3))
    finding = the_finding(CODE, built(text, w=weight, scale=[1, 1, 300, 1], **ONES))
    assert "3 of 4 channels (0, 1 and 3)" in finding.message
