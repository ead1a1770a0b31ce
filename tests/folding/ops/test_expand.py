"""Expand and Tile: each condition, and both ways of knowing how often a cell is repeated."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.conditions import assert_folds, assert_kept
from tests.helpers.models import constant, model_of, set_constant

BROKEN = {
    "expand_along_the_affine": (
        """
        g (float[N,2,5] x, float[1,2,1] w, BN4) => (float[N,4,5] y) {
            h = Conv (x, w)
            sizes = Constant <value_ints = [4, 1]> ()
            e = Expand (h, sizes)
            y = BatchNormalization (e, scale, bias, mean, var)
        }
        """,
        "expands the axes [1], along which the affine varies",
    ),
    "expand_that_adds_the_axis": (
        """
        g (float[1,5] x, float[5,5] w, BN4) => (float[1,4,5] y) {
            h = Gemm (x, w)
            sizes = Constant <value_ints = [1, 4, 1]> ()
            e = Expand (h, sizes)
            y = BatchNormalization (e, scale, bias, mean, var)
        }
        """,
        "expands the axes [1], along which the affine varies",
    ),
    "tile_that_repeats_different_numbers": (
        """
        g (float[N,2,5] x, float[2,2,1] w, BN4) => (float[N,4,5] y) {
            h = Conv (x, w)
            repeats = Constant <value_ints = [1, 2, 1]> ()
            t = Tile (h, repeats)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
        "repeats axis 1, where the affine differs from one copy to the next",
    ),
    "tile_of_an_unknown_number": (
        """
        g (float[N,K,5] x, float[3,5,1] w, BN3) => (float[N,M,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            counts = Shape (x)
            t = Tile (n, counts)
            y = Identity (t)
        }
        """,
        "repeats axis 1, along which the affine varies, an unknown number of times, or never",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


def test_tile_before_opset_6_is_another_op() -> None:
    text = """
        g (float[N,3,5] x, float[2,3,1] w, BN3) => (float[N,2,10] y) {
            n = BatchNormalization <is_test = 1> (x, scale, bias, mean, var)
            tiles = Constant <value = float[1] {2}> ()
            axis = Constant <value = float[1] {2}> ()
            t = Tile (n, tiles, axis)
            y = Conv (t, w)
        }
    """
    assert_kept(text, "is of opset 5, where Tile was another op", opset=5, ir_version=8)


def test_a_tile_whose_copies_are_wanted_in_one_form_carries_back() -> None:
    model = model_of(BROKEN["tile_that_repeats_different_numbers"][0])
    for name in ("scale", "bias", "mean", "var"):
        set_constant(model, model.graph.initializers[name], np.tile(constant(model, name)[:2], 2))
    assert_folds(model)


@pytest.mark.parametrize("repeats", ["Constant <value_ints = [1, 2, 3]> ()", "Concat <axis = 0> (one, two, three)"])
def test_the_repeats_may_follow_from_the_shapes(repeats) -> None:
    model = model_of(f"""
        g (float[4,3,5] x, float[2,6,1] w, BN3) => (float[4,2,15] y) {{
            n = BatchNormalization (x, scale, bias, mean, var)
            one = Constant <value_ints = [1]> ()
            two = Constant <value_ints = [2]> ()
            three = Constant <value_ints = [3]> ()
            repeats = {repeats}
            t = Tile (n, repeats)
            y = Conv (t, w)
        }}
    """)
    assert_folds(model)


def test_an_expand_to_a_shape_computed_at_run_time_carries() -> None:
    assert_folds(
        model_of("""
        g (float[N,2,L] x, float[3,2,1] w, float[3,2,1] v, BN3) => (float[N,3,L] y) {
            axes = Constant <value_ints = [2]> ()
            m = ReduceMean (x, axes)
            h = Conv (m, w)
            c = Conv (x, v)
            t = Tanh (c)
            sizes = Shape (t)
            e = Expand (h, sizes)
            y = BatchNormalization (e, scale, bias, mean, var)
        }
    """)
    )


def test_an_expand_that_adds_axes_carries_both_ways() -> None:
    assert_folds(
        model_of("""
        g (float[3,5] x, float[4,3,1] w, float[4] v, BN3) => (float[2,4,5] y) {
            axes = Constant <value_ints = [0]> ()
            u = Unsqueeze (x, axes)
            n = BatchNormalization (u, scale, bias, mean, var)
            s = Squeeze (n, axes)
            sizes = Constant <value_ints = [2, 3, 5]> ()
            e = Expand (s, sizes)
            y = Conv (e, w, v)
        }
    """)
    )
