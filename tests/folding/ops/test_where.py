"""Where."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.conditions import assert_kept
from tests.helpers.models import constant, model_of, set_constant

BROKEN = {
    "a_branch_with_fewer_axes": (
        """
        g (float[2,3,5] x, float[5,5] w, float[5,5] v, BN3) => (float[2,3,5] y) {
            mask = Constant <value = bool[5] {1, 0, 1, 1, 0}> ()
            a = MatMul (x, w)
            axes = Constant <value_ints = [0]> ()
            r = ReduceMean <keepdims = 0> (x, axes)
            b = MatMul (r, v)
            h = Where (mask, a, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "Where 'h' broadcasts 'b', which has 2 axes",
    ),
    "a_branch_that_is_broadcast_along_the_channels": (
        """
        g (float[N,2,5] x, float[3,2,1] w, float[1,2,1] v, BN3) => (float[N,3,5] y) {
            mask = Constant <value = bool[5] {1, 0, 1, 1, 0}> ()
            a = Conv (x, w)
            b = Conv (x, v)
            h = Where (mask, a, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "Where 'h' broadcasts 'b' along the channels, or may do so",
    ),
    "channels_that_the_condition_spreads": (
        """
        g (float[N,1,5] x, float[1,1,1] w, float[1,1,1] v, BN3) => (float[N,3,5] y) {
            mask = Constant <value = bool[3,1] {1, 0, 1}> ()
            a = Conv (x, w)
            b = Conv (x, v)
            h = Where (mask, a, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "Where 'h' broadcasts 'a' along the channels, or may do so",
    ),
    "a_constant_that_would_grow": (
        """
        g (float[N,2,5] x, float[3,2,1] w, float[5] fill, BN3) => (float[N,3,5] y) {
            mask = Constant <value = bool[5] {1, 0, 1, 1, 0}> ()
            a = Conv (x, w)
            h = Where (mask, a, fill)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "Where 'h' would see its constant grow from 5 to 15 numbers",
    ),
    "the_condition_reads_what_changes": (
        """
        g (float[N,3,5] x, float[2,3,1] w, float[1] c, BN3) => (float[N,2,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            mask = Greater (n, c)
            h = Where (mask, n, c)
            y = Conv (h, w)
        }
        """,
        "Greater 'mask'",
    ),
    "branches_that_need_different_forms": (
        """
        g (float[N,3,5] x, float[2,3,1] w, BN3) => (float[N,2,5] y) {
            mask = Constant <value = bool[5] {1, 0, 1, 1, 0}> ()
            n = BatchNormalization (x, scale, bias, mean, var)
            h = Where (mask, n, x)
            y = Conv (h, w)
        }
        """,
        "Where 'h' needs 'x' in another form",
    ),
    "a_branch_of_which_the_channels_are_not_known": (
        """
        g (float[N,3,5] x, float[2,3,1] w, BN3) => (float[N,2,5] y) {
            mask = Constant <value = bool[1,1,5] {1, 0, 1, 1, 0}> ()
            sizes = Constant <value_ints = [7, -1, 5]> ()
            u, v = other.op (x)
            a = Reshape (u, sizes)
            b = Reshape (v, sizes)
            h = Where (mask, a, b)
            c = Conv (h, w)
            k = Neg (h)
            n = BatchNormalization (k, scale, bias, mean, var)
            y = Tanh (n)
        }
        """,
        "Where 'h' broadcasts 'a' along the channels, or may do so",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


MASKED = """
    g (float[N,2,5] x, float[3,2,1] w, float[2,3,1] v, float fill, BN3) => (float[N,2,5] y) {
        mask = Constant <value = bool[5] {1, 0, 1, 1, 0}> ()
        h = Conv (x, w)
        NODES
        y = Conv (last, v)
    }
"""
BEHIND = MASKED.replace("NODES", "m = Where (mask, h, fill)\n last = BatchNormalization (m, scale, bias, mean, var)")
FRONT = MASKED.replace("NODES", "n = BatchNormalization (h, scale, bias, mean, var)\n last = Where (mask, n, fill)")
FRONT_ONLY = FRONT.replace("h = Conv (x, w)", "c = Conv (x, w)\n h = Tanh (c)")


LAST = """
    g (float[N,2,5] x, float[3,2,1] w, float fill, BN3) => (float[N,3,5] y) {
        mask = Constant <value = bool[5] {1, 0, 1, 1, 0}> ()
        h = Conv (x, w)
        m = Where (mask, h, fill)
        y = BatchNormalization (m, scale, bias, mean, var)
    }
"""


def made(text: str, scale: object, shift: object, fill: object):
    """An affine that is exactly ``scale`` and ``shift``."""
    model = model_of(text.replace("BatchNormalization", "BatchNormalization <epsilon = 0.0>"))
    for name, value in (("scale", scale), ("bias", shift), ("mean", 0.0), ("var", 1.0)):
        set_constant(model, model.graph.initializers[name], np.array(np.broadcast_to(value, 3), float))
    set_constant(model, model.graph.initializers["fill"], np.array(fill, float))
    return model


@pytest.mark.parametrize("text", [BEHIND, FRONT_ONLY])
def test_a_constant_branch_takes_the_affine_in(text) -> None:
    for scale, shift, fill in (([0.5, -1, 2], [1, 2, 3], 0.7), ([2, 2, 2], [0, 0, 0], 1.0), ([1, 2, 3], 0, [[1.0]])):
        model = made(text, scale, shift, fill)
        result = bnfold.fold(model)
        oracle.assert_equal(model, result.model)
        assert not result.kept


@pytest.mark.parametrize("text", [BEHIND, FRONT_ONLY])
@pytest.mark.parametrize(("scale", "shift", "fill"), [([0.5, -1, 2], 0, 0.0), ([0.5, 1, 2], [1, 2, 3], -np.inf)])
def test_a_constant_that_the_affine_leaves_alone_stays(text, scale, shift, fill) -> None:
    model = made(text, scale, shift, fill)
    result = bnfold.fold(model)
    assert not result.kept
    assert constant(result.model, "fill").shape == ()
    assert constant(result.model, "fill") == fill
    if np.isfinite(fill):
        oracle.assert_equal(model, result.model)


def test_minus_infinity_changes_its_sign_with_a_negative_scale() -> None:
    model = made(LAST, [-1, 2, 3], 1.0, -np.inf)
    result = bnfold.fold(model)
    assert not result.kept
    (reference,), (got,) = (oracle.run(m, oracle.feeds_for(m)) for m in (model, result.model))
    np.testing.assert_allclose(got, reference, rtol=1e-11)


def test_a_channel_that_is_written_as_a_constant() -> None:
    for fill in (0.7, -np.inf):
        model = made(LAST, [0, -1, 2], [1, 2, 3], fill)
        result = bnfold.fold(model)
        assert not result.kept
        assert [*constant(result.model, "fill")[:, 0]] == [1, 2 - fill, 3 + 2 * fill]
        if np.isfinite(fill):
            oracle.assert_equal(model, result.model)


def test_a_channel_that_is_a_constant_in_front_needs_the_same_constant_in_the_branch() -> None:
    for fill, folds in ((1.5, True), (1.0, False)):
        model = made(FRONT_ONLY, [0, 1, 2], [1.5, 0, 0], fill)
        result = bnfold.fold(model)
        oracle.assert_equal(model, result.model)
        assert bool(result.kept) != folds
    assert "has a constant in a channel of which the rest becomes another one" in result.kept[0].reason


def test_two_constant_branches_take_it_in() -> None:
    model = model_of("""
        g (bool[N,1,5] mask, float[3,1] a, float[3,1] b, BN3) => (float[N,3,5] y) {
            h = Where (mask, a, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept


@pytest.mark.parametrize("opset", [9, 16])
def test_one_tensor_in_both_branches(opset) -> None:
    model = model_of(
        """
        g (float[N,2,5] x, float[3,2,1] w, BN3) => (float[N,3,5] y) {
            mask = Constant <value = bool[5] {1, 0, 1, 1, 0}> ()
            h = Conv (x, w)
            m = Where (mask, h, h)
            y = BatchNormalization (m, scale, bias, mean, var)
        }
        """,
        opset=opset,
    )
    assert not bnfold.fold(model).kept
