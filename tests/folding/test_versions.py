"""BatchNormalization and its neighbours in every opset that changed them."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.models import affines, example, set_constant

BEHIND = """
    g (float[N,2,5] x, float[3,2,3] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
            => (float[N,3,3] y) {
        h = Conv (x, w%s)
        y%s = BatchNormalization %s (h, scale, bias, mean, var)
    }
"""


@pytest.mark.parametrize(
    ("opset", "bias", "outputs", "attributes", "reason"),
    [
        (1, "", "", "<is_test = 1, consumed_inputs = [0,0,0,1,1]>", None),
        (1, "", "", "<consumed_inputs = [0,0,0,1,1]>", "is_test is not set"),
        (6, "", "", "<is_test = 1>", None),
        (6, "", "", "<is_test = 1, spatial = 0>", "spatial = 0"),
        (6, "", "", "", "is_test is not set"),
        (7, "", "", "", None),
        (7, "", "", "<spatial = 0>", "spatial = 0"),
        (9, "", "", "", None),
        (9, "", ", , , , ", "", None),
        (9, "", ", m, v, sm, sv", "", None),
        (14, "", "", "<training_mode = 0>", None),
        (14, "", ", m, v", "<training_mode = 1>", "training mode"),
        (15, ", ", "", "", None),
        (22, "", "", "", None),
        (24, "", "", "", None),
    ],
)
def test_mode_of_a_batch_normalization(opset, bias, outputs, attributes, reason) -> None:
    model = example(BEHIND % (bias, outputs, attributes), opset=opset, ir_version=8)
    result = bnfold.fold(model)
    if reason is None:
        assert not result.kept
        assert [value.name for value in result.model.graph.outputs] == ["y"]
    else:
        assert reason in result.kept[0].reason


def test_statistics_that_are_graph_outputs_mean_training() -> None:
    model = example(BEHIND % ("", ", m, v, sm, sv", ""), opset=9, ir_version=8)
    model.graph.outputs.append(model.graph.node(1).outputs[1])
    assert "further outputs are used" in bnfold.fold(model).kept[0].reason


DROPOUT = """
    g (float[N,5] x, float[5,4] w, float[5] scale, float[5] bias, float[5] mean, float[5] var) => (float[N,4] y) {
        n = BatchNormalization %s (x, scale, bias, mean, var)
        %s
        d = Dropout %s
        y = Gemm (d, w, c)
    }
"""


@pytest.mark.parametrize(
    ("opset", "mode", "call", "folds"),
    [
        (6, "", "<is_test = 1> (n)", True),
        (6, "", "(n)", False),
        (7, "", "(n)", True),
        (13, "", "(n)", True),
        (13, "t = Constant <value = bool {0}> ()", "(n, , t)", True),
        (13, "t = Constant <value = bool {1}> ()", "(n, , t)", False),
        (13, "s = ReduceMax (x)\n f = Sub (s, s)\n t = Cast <to = 9> (f)", "(n, , t)", False),
    ],
)
def test_mode_of_a_dropout(opset, mode, call, folds) -> None:
    text = DROPOUT % ("<is_test = 1>" if opset < 7 else "", mode, call)
    model = example(text.replace("float[5] scale", "float[4] c, float[5] scale"), opset=opset, ir_version=8)
    assert affines(bnfold.fold(model).model) == (0 if folds else 1)


def test_an_add_before_opset_7_broadcasts_in_another_way() -> None:
    model = example(
        """
        g (float[N,5] x, float[5,4] w, float[4] c, float[4] scale, float[4] bias, float[4] mean, float[4] var)
                => (float[N,4] y) {
            p = MatMul (x, w)
            h = Add <broadcast = 1, axis = 1> (p, c)
            y = BatchNormalization <is_test = 1> (h, scale, bias, mean, var)
        }
        """,
        opset=6,
        ir_version=8,
    )
    assert "opset 6" in bnfold.fold(model).kept[0].reason


@pytest.mark.parametrize(
    ("attributes", "sizes", "folds"),
    [
        ('<auto_pad = "VALID">', (6, 4), True),
        ('<auto_pad = "SAME_UPPER">', (6, 6), False),
        ('<auto_pad = "SAME_LOWER", strides = [3]>', (6, 2), True),
        ('<auto_pad = "SAME_UPPER", strides = [3]>', (7, 3), False),
        ("<pads = [0,1]>", (6, 5), False),
        ("<pads = [0,0]>", (6, 4), True),
    ],
)
def test_shift_in_front_of_a_padded_conv(attributes, sizes, folds) -> None:
    text = """
        g (float[N,2,%d] x, float[3,2,3] w, float[2] scale, float[2] bias, float[2] mean, float[2] var)
                => (float[N,3,%d] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = Conv %s (n, w)
        }
    """
    model = example(text % (*sizes, attributes))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert affines(result.model) == (0 if folds else 1)
    for name in ("bias", "mean"):  # without a shift, zeros at the border stay zeros
        set_constant(model, model.graph.initializers[name], np.zeros(2))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept
