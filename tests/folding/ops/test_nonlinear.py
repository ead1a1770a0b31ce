"""Ops that carry nothing, but channels that are constants."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, defs, helper
from onnx.reference import ReferenceEvaluator

import bnfold
from bnfold.folding.ops.nonlinear import _FUNCTIONS, _KEEP_ZERO, NonlinearRule
from tests.helpers import oracle
from tests.helpers.conditions import assert_kept
from tests.helpers.models import constant, model_of, set_constant

BEHIND = """
    g (float[N,2,5] x, float[3,2,1] w, float[3] %sscale, float[3] %sbias, float[3] mean, float[3] var)
            => (float[N,3,5] y) {
        h = Conv (x, w)
        f = %s (h)
        y = BatchNormalization (f, %sscale, %sbias, mean, var)
    }
"""
FRONT = """
    g (float[N,3,5] x, float[2,3,1] w, float[3] scale, float[3] bias, float[3] zero_mean, float[3] var)
            => (float[N,2,5] y) {
        n = BatchNormalization <epsilon = 0.0> (x, scale, bias, zero_mean, var)
        f = %s (n)
        y = Conv (f, w)
    }
"""


def in_front(op: str, value: float):
    """A channel that is a constant, and two that stay as they are."""
    model = model_of(FRONT % op)
    for name, array in (("scale", [0.0, 1, 1]), ("bias", [value, 0, 0]), ("var", [1.0, 1, 1])):
        set_constant(model, model.graph.initializers[name], np.array(array))
    return model


ZERO = ("zero_", "zero_")
BROKEN = {
    "a_scale_behind": (BEHIND % ("", "", "Tanh", "", ""), "Tanh 'f' is not linear: carries neither scale nor shift"),
    "a_constant_other_than_0_behind": (
        BEHIND % ("zero_", "", "Tanh", "zero_", ""),
        "Tanh 'f' cannot be made to write the constant",
    ),
    "a_0_behind_what_keeps_no_0": (BEHIND % (*ZERO, "Exp", *ZERO), "Exp 'f' cannot be made to write the constant"),
    "a_0_behind_what_divides_by_0": (
        BEHIND % (*ZERO, "Celu <alpha = 0.0>", *ZERO),
        "Celu 'f' cannot be made to write the constant",
    ),
    "a_scale_in_front": (FRONT % "Sigmoid", "Sigmoid 'f' is not linear: carries neither scale nor shift"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


@pytest.mark.parametrize(("op", "value"), [("Log", -1.0), ("Reciprocal", 0.0), ("Elu", 0.5), ("Round", 0.5)])
def test_a_constant_in_front_whose_value_is_not_at_hand_blocks(op, value) -> None:
    (kept,) = bnfold.fold(in_front(op, value)).kept
    assert f"{op} 'f' does not say what it makes of the constant" in kept.reason


@pytest.mark.parametrize(
    ("op", "value"),
    [("Sigmoid", -0.7), ("Softplus", -0.7), ("Exp", 1.5), ("Tanh", 0.3), ("Elu", 0.0), ("Selu", 0.0), ("Sign", 0.0)],
)
def test_a_constant_in_front_is_one_behind(op, value) -> None:
    model = in_front(op, value)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept


@pytest.mark.parametrize("op", sorted(NonlinearRule.op_types & _KEEP_ZERO))
def test_a_0_that_is_wanted_behind_is_written_in_front(op) -> None:
    model = model_of(BEHIND % (*ZERO, op, *ZERO), opset=24 if op == "Swish" else 20)
    result = bnfold.fold(model)
    assert not result.kept
    assert not constant(result.model, "w").any()


def evaluated(op: str, value: float) -> float:
    node = helper.make_node(op, ["x"], ["y"])
    tensors = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, [1]) for name in "xy"]
    graph = helper.make_graph([node], "g", tensors[:1], tensors[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)])
    (result,) = ReferenceEvaluator(model).run(None, {"x": np.array([value])})
    return result[0]


@pytest.mark.parametrize("op", sorted(NonlinearRule.op_types))
def test_the_table_says_what_the_operators_say(op) -> None:
    assert defs.has(op)
    if op in _KEEP_ZERO:
        assert evaluated(op, 0.0) == 0
    if op in _FUNCTIONS:
        value = 1.25 if op == "Acosh" else 0.75
        expected = evaluated(op, value)
        assert np.isclose(_FUNCTIONS[op](np.array([value]))[0], expected, rtol=1e-6 if op == "Erf" else 1e-12)
