"""Reductions of whole axes: each condition, both ways, with and without the axes kept, in all opsets."""

from __future__ import annotations

import pytest

from tests.helpers.conditions import assert_folds, assert_kept
from tests.helpers.models import model_of, without_shift

BEHIND = """
    g (float[2,2,5] x, float[3,2,1] w, BN3) => (float[2,3,1] y) {
        h = Conv (x, w)
        axes = Constant <value_ints = [2]> ()
        r = REDUCE (h, axes)
        y = BatchNormalization (r, scale, bias, mean, var)
    }
"""
IN_FRONT = """
    g (float[2,3,5] x, float[4,3,1] w, BN3) => (float[2,4,1] y) {
        n = BatchNormalization (x, scale, bias, mean, var)
        axes = Constant <value_ints = [2]> ()
        r = REDUCE (n, axes)
        y = Conv (r, w)
    }
"""


BROKEN = {
    "axes_computed_at_run_time": (
        """
        g (int64[1] x, float[2,2,5] u, float[3,2,1] w, BN3) => (float[2,3,1] y) {
            h = Conv (u, w)
            r = ReduceMean (h, x)
            y = BatchNormalization (r, scale, bias, mean, var)
        }
        """,
        "has axes that are computed at run time",
    ),
    "along_the_affine": (
        """
        g (float[2,3,5] x, float[4,1,1] w, BN3) => (float[2,4,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            axes = Constant <value_ints = [-2]> ()
            r = ReduceMean (n, axes)
            y = Conv (r, w)
        }
        """,
        "reduces along the axes [1], along which the affine varies",
    ),
    "all_axes": (
        """
        g (float[2,3,5] x, float[1,3] w, BN3) => (float[1,1,3] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            r = ReduceMean (n)
            y = MatMul (r, w)
        }
        """,
        "reduces along the axes [1], along which the affine varies",
    ),
    "sum_over_an_unknown_size": (
        BEHIND.replace("REDUCE", "ReduceSum").replace("[2,2,5] x", "[2,2,L] x"),
        "sums over the axes [2], whose sizes are not known: carries no shift",
    ),
    "maximum_with_a_negative_scale": (
        BEHIND.replace("REDUCE", "ReduceMax"),
        "picks the largest or the smallest: carries no negative scale",
    ),
    "minimum_with_a_negative_scale": (
        IN_FRONT.replace("REDUCE", "ReduceMin"),
        "picks the largest or the smallest: carries no negative scale",
    ),
    "norm_with_a_shift": (IN_FRONT.replace("REDUCE", "ReduceL1"), "is a norm: carries no shift"),
    "norm_behind_which_a_negative_scale_is_wanted": (
        without_shift(BEHIND.replace("REDUCE", "ReduceL2")),
        "is never negative: carries no negative scale back",
    ),
    "norm_of_no_axis": (
        without_shift(
            IN_FRONT.replace("REDUCE", "ReduceL1 <noop_with_empty_axes = 1>").replace(
                "value_ints = [2]", "value = int64[0] {}"
            )
        ).replace("float[2,4,1] y", "float[2,4,5] y"),
        "reduces no axis (noop_with_empty_axes)",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2"])
@pytest.mark.parametrize("text", [BEHIND, IN_FRONT])
@pytest.mark.parametrize("opset", [11, 13, 18, 20])
def test_every_opset(op, text, opset) -> None:
    is_input = opset >= (13 if op == "ReduceSum" else 18)
    call = op if is_input else f"{op} <axes = [2]>"
    text = text.replace("REDUCE", call)
    text = text if is_input else text.replace(", axes)", ")").replace("value_ints = [2]", "value = int64[1] {2}")
    text = text.replace("value_ints = [2]", "value = int64[1] {2}")
    if op.startswith("ReduceM") and op != "ReduceMean":
        text = text.replace("BN3)", "float[3] positive_scale, float[3] bias, float[3] mean, float[3] var)")
        text = text.replace("(x, scale", "(x, positive_scale").replace("(r, scale", "(r, positive_scale")
    if op.startswith("ReduceL"):
        text = without_shift(text, "positive_scale" if text.count("Conv (x") else "scale")
    assert_folds(model_of(text, opset=opset, ir_version=8))


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum"])
@pytest.mark.parametrize("axes", [[0, 3], [-1], [2, 3], [0, 2, 3]])
def test_axes_that_are_not_kept_leave_the_affine_too(op, axes) -> None:
    rest = [axis for axis in range(4) if axis not in [a % 4 for a in axes]]
    order = [rest.index(1), *(i for i in range(len(rest)) if i != rest.index(1))]
    assert_folds(
        model_of(
            f"""
        g (float[2,3,4,5] x, float[6,3] w, float[6,1] c, BN3) => (float[6,M] y) {{
            n = BatchNormalization (x, scale, bias, mean, var)
            axes = Constant <value_ints = {axes}> ()
            r = {op} <keepdims = 0> (n, axes)
            t = Transpose <perm = {order}> (r)
            sizes = Constant <value_ints = [3, -1]> ()
            f = Reshape (t, sizes)
            h = MatMul (w, f)
            y = Add (h, c)
        }}
    """
        )
    )


def test_no_axes_with_noop_is_the_identity() -> None:
    text = IN_FRONT.replace("REDUCE", "ReduceSum <noop_with_empty_axes = 1>").replace("[2,4,1]", "[2,4,5]")
    assert_folds(model_of(text.replace("value_ints = [2]", "value = int64[0] {}")))


def test_back_from_a_vector_to_axes_that_were_not_kept() -> None:
    assert_folds(
        model_of("""
        g (float[2,2,4,5] x, float[3,2,1,1] w, BN3) => (float[2,3] y) {
            h = Conv (x, w)
            axes = Constant <value_ints = [2, -1]> ()
            r = ReduceSum <keepdims = 0> (h, axes)
            y = BatchNormalization (r, scale, bias, mean, var)
        }
    """)
    )
