"""Clip."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.conditions import assert_kept
from tests.helpers.models import constant, model_of, set_constant

BEHIND = """
    g (float[N,2,5] x, float[3,2,1] w, float low, float high, BN3) => (float[N,3,5] y) {
        h = Conv (x, w)
        c = Clip CALL
        y = BatchNormalization MODE (c, scale, bias, mean, var)
    }
"""
FRONT = """
    g (float[N,3,5] x, float[2,3,1] w, float low, float high, BN3) => (float[N,2,5] y) {
        n = BatchNormalization MODE (x, scale, bias, mean, var)
        c = Clip CALL
        y = Conv (c, w)
    }
"""


def made(text: str, scale: object, shift: object, limits: tuple = (0.0, 6.0), call: str = "(c, low, high)", **options):
    """An affine that is exactly ``scale`` and ``shift``."""
    mode = "is_test = 1" if options.get("opset", 20) < 7 else ""
    call = call.replace("(c", "(h" if "h = Conv" in text else "(n")
    model = model_of(text.replace("CALL", call).replace("MODE", f"<epsilon = 0.0 {mode and ',' + mode}>"), **options)
    values = {"scale": scale, "bias": shift, "mean": 0.0, "var": 1.0}
    for name, value in values.items():
        old = model.graph.initializers[name]
        set_constant(model, old, np.array(np.broadcast_to(value, 3), old.const_value.numpy().dtype))
    for name, value in zip(("low", "high"), limits, strict=True):
        old = model.graph.initializers[name]
        set_constant(model, old, np.array(value, old.const_value.numpy().dtype))
    return model


BROKEN = {
    "a_limit_that_is_not_a_constant": (
        """
        g (float[1,1,5] x, float[1,1,1] w, BN1) => (float[1,1,5] y) {
            h = Conv (x, w)
            m = ReduceMax <keepdims = 0> (x)
            c = Clip (h, , m)
            y = BatchNormalization (c, scale, bias, mean, var)
        }
        """,
        "Clip 'c' has a limit max that is not a floating-point constant",
    ),
    "a_limit_that_is_re_expressed": (
        """
        g (float[1,1] x, BN1) => (float[] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            axes = Constant <value_ints = [0, 1]> ()
            s = Squeeze (n, axes)
            y = Clip (x, s)
        }
        """,
        "Clip 'y' reads 's' as its input 1, where no fold can follow",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


CALLS = {"(c, low, high)": (0.0, 6.0), "(c, low)": (-1.0, 0.0), "(c, , high)": (0.0, 2.0), "(c)": (0.0, 0.0)}


@pytest.mark.parametrize("text", [BEHIND, FRONT])
@pytest.mark.parametrize("call", CALLS)
def test_one_scale_and_shift_rescale_the_limits(text, call) -> None:
    model = made(text, 0.7, 0.3, CALLS[call], call)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept
    (node,) = (node for node in result.model.graph if node.op_type == "Clip")
    assert [value is None for value in node.inputs] == [not part.strip() for part in call.strip("()").split(",")]


@pytest.mark.parametrize("text", [BEHIND, FRONT])
@pytest.mark.parametrize(
    ("scale", "shift", "reason"),
    [
        (-0.7, 0.0, "carries no negative scale"),
        ([0.5, 1, 2], 0.0, "carries no scale that differs between them"),
        (1.0, [0.5, 1, 2], "carries no shift that differs between them"),
    ],
)
def test_what_has_no_common_limits_blocks(text, scale, shift, reason) -> None:
    model = made(text, scale, shift)
    result = bnfold.fold(model)
    assert any(reason in attempt.reason for attempt in result.kept[0].attempts)
    for call in ("(c)", "(c, , )"):
        model = made(text, scale, shift, call=call)
        result = bnfold.fold(model)
        oracle.assert_equal(model, result.model)
        assert not result.kept


@pytest.mark.parametrize("text", [BEHIND, FRONT])
@pytest.mark.parametrize("call", ["(c, low)", "(c, , low)", "(c, low, low)"])
def test_limits_of_0_alone_are_a_relu(text, call) -> None:
    for scale, shift in (([0.5, 1, 2], 0.0), ([0.5, -1, 2], 0.0), ([0.5, 1, 2], [1, 2, 3])):
        model = made(text, scale, shift, call=call)
        result = bnfold.fold(model)
        oracle.assert_equal(model, result.model)
        assert bool(result.kept) == (np.min(scale) < 0 or np.any(shift))


@pytest.mark.parametrize(
    ("text", "scale", "constants", "limits", "folds"),
    [
        (BEHIND, 1, 0.0, (0, 6), True),
        (BEHIND, 1, 6.0, (0, 6), True),
        (BEHIND, 1, 6.5, (0, 6), False),
        (BEHIND, 2, 11.5, (0, 6), True),
        (BEHIND, 2, -0.5, (0, 6), False),
        (BEHIND, [0, 1, 2], 0.0, (0, 6), False),
        (FRONT, 1, 6.5, (0, 6), True),
        (FRONT, 2, -1.0, (0, 6), True),
        (FRONT, [0, 1, 2], 0.0, (0, 6), False),
    ],
)
def test_a_dead_channel_is_clipped(text, scale, constants, limits, folds) -> None:
    scale = np.broadcast_to(scale, 3) * np.array([0.0, 1, 1])
    model = made(text, scale, [constants, 0, 0], limits)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert bool(result.kept) != folds


def test_where_all_channels_are_constants_the_limits_stay() -> None:
    model = made(FRONT, 0.0, [-1, 3, 9])
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept
    assert constant(result.model, "high") == 6


@pytest.mark.parametrize(
    ("dtype", "largest"), [("float", 3.4028234663852886e38), ("float16", 65504), ("bfloat16", 3.38953139e38)]
)
def test_the_largest_number_is_no_limit(dtype, largest) -> None:
    """What clamp(min=0) exports to; rescaled, it would overflow, or cut off what it did not before."""
    for text in (BEHIND, FRONT):
        model = made(text, [0.25, 0.5, 4], 0.0, (0.0, largest), dtype=dtype)
        result = bnfold.fold(model)
        assert not result.kept
        assert constant(result.model, "high") == model.graph.initializers["high"].const_value.numpy()
    assert bnfold.fold(made(BEHIND, [0.25, 0.5, 4], 0.0, (-largest / 2, largest / 2), dtype=dtype)).kept
    assert bnfold.fold(made(BEHIND, [0.25, 0.5, 4], 0.0, (largest, 0.0), dtype=dtype)).kept


def test_shared_limits_are_copied() -> None:
    text = BEHIND.replace("y = B", "d = Clip (x, low, high)\n y = B").replace("5] y", "5] y, float[N,2,5] d")
    model = made(text, 2, 1)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept
    assert constant(result.model, "high") == 6


@pytest.mark.parametrize("opset", [6, 7, 10])
@pytest.mark.parametrize("text", [BEHIND, FRONT])
def test_before_opset_11_the_limits_are_attributes(text, opset) -> None:
    options = {"opset": opset, "ir_version": 8, "dtype": "float", "call": "<min = -1.0, max = 6.0> (c)"}
    result = bnfold.fold(made(text, 0.5, 1.0, **options))
    assert not result.kept
    (node,) = (node for node in result.model.graph if node.op_type == "Clip")
    assert len(node.inputs) == 1
    expected = (0.5, 4.0) if text is BEHIND else (-4.0, 10.0)
    assert (node.attributes["min"].as_float(), node.attributes["max"].as_float()) == expected
    options["call"] = "<min = 0.0, max = 3.4028234663852886e38> (c)"
    result = bnfold.fold(made(text, [0.5, 1, 2], 0.0, **options))
    assert not result.kept
    options["call"] = "<min = 0.0> (c)"
    result = bnfold.fold(made(text, 0.5, 1.0, **options))
    assert not result.kept
    (node,) = (node for node in result.model.graph if node.op_type == "Clip")
    assert "max" not in node.attributes


def test_limits_that_are_attributes_of_double_tensors_lose_no_bits() -> None:
    options = {"opset": 10, "ir_version": 8, "call": "<min = -1.0, max = 6.0> (c)"}
    assert not bnfold.fold(made(BEHIND, 0.5, 1.0, **options)).kept
    (kept,) = bnfold.fold(made(BEHIND, 0.7, 0.3, **options)).kept
    assert "would get its attribute min rounded to FLOAT" in kept.reason
