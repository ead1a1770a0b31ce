"""DeformConv beside an affine."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.conditions import assert_kept
from tests.helpers.models import constant, model_of, set_constant

# name: (what makes the model, part of the reason)
BROKEN = {
    "a_weight_known_at_run_time_only": (  # condition 1
        """
        g (float[4,2,2,2] x, float[1,2,3,3] u, float[1,8,2,2] offset, BN4) => (float[1,4,2,2] y) {
            w = Tanh (x)
            h = DeformConv (u, w, offset)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "Tanh 'w'",
    ),
    "along_another_axis": (  # condition 2
        """
        g (float[1,2,3,3] x, float[2,2,2,2] w, float[1,8,2,2] offset, BN2) => (float[1,2,2,2] y) {
            h = DeformConv (x, w, offset)
            t = Transpose <perm = [0,2,1,3]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
        "has weights along axis 1 of its output, but the affine varies along 2",
    ),
    "in_front_along_another_axis": (  # condition 2
        """
        g (float[1,3,2,3] x, float[2,2,2,2] w, float[1,8,2,2] offset, BN3) => (float[1,2,2,2] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            t = Transpose <perm = [0,2,1,3]> (n)
            y = DeformConv (t, w, offset)
        }
        """,
        "has weights along axis 1 of its input, but the affine varies along 2",
    ),
    "a_shift_in_front": (  # condition 3
        """
        g (float[1,2,3,3] x, float[4,2,2,2] w, float[1,8,2,2] offset, BN2) => (float[1,4,2,2] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = DeformConv (n, w, offset)
        }
        """,
        "reads zeros beyond the border, where its offsets lead: carries no shift",
    ),
    "of_the_offsets": (  # condition 4
        """
        g (float[1,8,2,2] x, float[1,2,3,3] u, float[4,2,2,2] w, BN8) => (float[1,4,2,2] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = DeformConv (u, w, n)
        }
        """,
        "reads 'n' as its input 2, where no fold can follow",
    ),
    "of_the_mask": (  # condition 4
        """
        g (float[1,4,2,2] x, float[1,2,3,3] u, float[4,2,2,2] w, float[1,8,2,2] offset, BN4) => (float[1,4,2,2] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = DeformConv (u, w, offset, , n)
        }
        """,
        "reads 'n' as its input 4, where no fold can follow",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


def test_a_scale_in_front_goes_along_the_inputs_of_each_group() -> None:
    model = model_of("""
        g (float[1,4,3,3] x, float[4,2,2,2] w, float[1,16,2,2] offset, float[4] b, float[1,8,2,2] mask, float[4] scale,
           float[4] zero_bias, float[4] zero_mean, float[4] var) => (float[1,4,2,2] y) {
            n = BatchNormalization (x, scale, zero_bias, zero_mean, var)
            y = DeformConv <group = 2, offset_group = 2> (n, w, offset, b, mask)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept


def test_a_quantised_weight_and_bias_take_an_affine_behind() -> None:
    model = model_of("""
        g (float[1,2,3,3] x, int8[4,2,2,2] q, float[] positive_step, float[1,8,2,2] offset, int32[4] codes,
           float[4] positive_scale, float[4] bias, float[4] mean, float[4] var) => (float[1,4,2,2] y) {
            w = DequantizeLinear (q, positive_step)
            b = DequantizeLinear (codes, positive_step)
            h = DeformConv (x, w, offset, b)
            y = BatchNormalization (h, positive_scale, bias, mean, var)
        }
    """)
    set_constant(model, model.graph.initializers["positive_step"], np.array(2.0**-24))
    result = bnfold.fold(model)
    assert not result.kept
    oracle.assert_equal(model, result.model, tolerance=1e-4)
    np.testing.assert_array_equal(constant(result.model, "q"), constant(model, "q"))
