"""Softmax, ArgMax and their like: what in front of them makes no difference."""

from __future__ import annotations

import pytest

from tests.helpers.conditions import assert_folds, assert_kept
from tests.helpers.models import model_of

SHIFT = """
    g (float[3,4,5] x, float[4,3] w, BN4) => (float[3,5,3] y) {
        n = BatchNormalization (x, scale, bias, mean, var)
        t = Transpose <perm = [0,2,1]> (n)
        h = MatMul (t, w)
        y = COMPARE (h)
    }
"""
AFFINE = """
    g (float[3,4,5] x, float[4] SCALE, float[4] bias, float[4] mean, float[4] var) => (TYPE[3,4,M] y) {
        n = BatchNormalization (x, SCALE, bias, mean, var)
        y = COMPARE (n)
    }
"""


def argmax(scale: str, call: str) -> str:
    return AFFINE.replace("SCALE", scale).replace("TYPE", "int64").replace("COMPARE", call)


BROKEN = {
    "softmax_of_a_scale": (
        AFFINE.replace("SCALE", "scale").replace("TYPE", "float").replace("COMPARE", "Softmax <axis = 2>"),
        "takes no scale, only a shift",
    ),
    "softmax_along_the_shift": (
        """
        g (float[3,4,5] x, BN4) => (float[3,4,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = Softmax <axis = 1> (n)
        }
        """,
        "compares along the axes [1], along which the affine varies",
    ),
    "argmax_of_a_negative_scale": (argmax("scale", "ArgMax <axis = 2>"), "carries no scale that is negative or 0"),
    "argmax_along_the_affine": (
        argmax("positive_scale", "ArgMin <axis = -2>"),
        "compares along the axes [1], along which the affine varies",
    ),
    "softmax_whose_output_would_change": (
        """
        g (float[3,4,5] x, BN4) => (float[3,4,5] y) {
            s = Softmax (x)
            y = BatchNormalization (s, scale, bias, mean, var)
        }
        """,
        "writes what no affine may change",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
def test_a_shift_vanishes(op) -> None:
    result = assert_folds(model_of(SHIFT.replace("COMPARE", f"{op} <axis = 1>")))
    assert [node.op_type for node in result.model.graph] == ["Transpose", "MatMul", op]


def test_before_opset_13_all_axes_from_there_on_are_compared() -> None:
    text = SHIFT.replace("COMPARE", "Softmax <axis = 1>")
    result = assert_folds(model_of(text, opset=12, ir_version=8))
    assert [node.op_type for node in result.model.graph] == ["Transpose", "MatMul", "Add", "Softmax"]


def test_before_opset_13_the_last_axis_is_itself_alone() -> None:
    text = """
        g (float[3,4,5] x, float[4,3] w, BN4) => (float[3,3,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            t = Transpose <perm = [0,2,1]> (n)
            h = MatMul (t, w)
            u = Transpose <perm = [0,2,1]> (h)
            y = Softmax <axis = 2> (u)
        }
    """
    result = assert_folds(model_of(text, opset=11, ir_version=8))
    assert "Add" not in [node.op_type for node in result.model.graph]


@pytest.mark.parametrize("call", ["ArgMax <axis = 2>", "ArgMin <axis = -1, select_last_index = 1>"])
@pytest.mark.parametrize("opset", [12, 13, 20])
def test_a_positive_scale_and_a_shift_keep_the_largest_where_it_is(call, opset) -> None:
    assert_folds(model_of(argmax("positive_scale", call), opset=opset, ir_version=8))


def test_a_hardmax_takes_a_positive_scale() -> None:
    text = AFFINE.replace("SCALE", "positive_scale").replace("TYPE", "float").replace("[3,4,M]", "[3,4,5]")
    assert_folds(model_of(text.replace("COMPARE", "Hardmax <axis = 2>")))
