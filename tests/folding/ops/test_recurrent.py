"""LSTM, GRU and RNN behind an affine."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.conditions import assert_kept
from tests.helpers.models import model_of, set_constant

# name: (what makes the model, part of the reason)
BROKEN = {
    "a_weight_computed_at_run_time": (  # condition 1
        """
        g (float[1,4,3] x, float[5,2,3] u, float[1,4,4] r, BN2) => (float[5,1,2,4] y) {
            w = Tanh (x)
            n = BatchNormalization (u, scale, bias, mean, var)
            y = RNN <hidden_size = 4> (n, w, r)
        }
        """,
        "has a weight that is not a floating-point constant",
    ),
    "a_bias_computed_at_run_time": (  # condition 1
        """
        g (float[1,8] x, float[2,3,5] u, float[1,4,3] w, float[1,4,4] r, BN3) => (float[5,1,2,4] y) {
            v = Tanh (u)
            n = BatchNormalization (v, scale, bias, mean, var)
            t = Transpose <perm = [2,0,1]> (n)
            b = Tanh (x)
            y = RNN <hidden_size = 4> (t, w, r, b)
        }
        """,
        "has a bias that is not a floating-point constant",
    ),
    "along_the_batch": (  # condition 2
        """
        g (float[5,2,3] x, float[1,4,3] w, float[1,4,4] r, BN2) => (float[5,1,2,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = RNN <hidden_size = 4> (n, w, r)
        }
        """,
        "has weights along axis 2 of its input, but the affine varies along 1",
    ),
    "behind": (  # condition 3
        """
        g (float[5,2,3] x, float[1,4,3] w, float[1,4,4] r, BN4) => (float[5,4,2,1] y) {
            h = RNN <hidden_size = 4> (x, w, r)
            t = Transpose <perm = [0,3,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
        "RNN 'h' writes what its activations bound: carries nothing",
    ),
    "of_the_initial_state": (
        """
        g (float[1,2,4] x, float[5,2,3] u, float[1,4,3] w, float[1,4,4] r, BN2) => (float[5,1,2,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = RNN <hidden_size = 4> (u, w, r, , , n)
        }
        """,
        "RNN 'y' reads 'n' as its input 5, where no fold can follow",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("layout", [0, 1])
def test_every_direction_and_both_layouts(direction, layout) -> None:
    count = 2 if direction == "bidirectional" else 1
    perm = [0, 2, 1] if layout else [2, 0, 1]
    model = model_of(f"""
        g (float[N,3,5] x, float[{count},16,3] w, float[{count},16,4] r, float[{count},32] b, BN3)
                => (float[a,b,c,4] y) {{
            n = BatchNormalization (x, scale, bias, mean, var)
            t = Transpose <perm = {perm}> (n)
            y = LSTM <hidden_size = 4, direction = "{direction}", layout = {layout}> (t, w, r, b)
        }}
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept


@pytest.mark.slow
@pytest.mark.parametrize(
    ("op", "gates", "options"), [("LSTM", 4, ", clip = 1.5"), ("GRU", 3, ", linear_before_reset = 1"), ("RNN", 1, "")]
)
def test_onnxruntime_agrees_also_on_sequences_that_end_early(op, gates, options) -> None:
    model = model_of(
        f"""
        g (float[3,3,5] x, float[2,{4 * gates},3] w, float[2,{4 * gates},4] r, float[2,{8 * gates}] b, BN3,
           int32[3] lengths) => (float[5,2,3,4] y, float[2,3,4] h) {{
            n = BatchNormalization (x, scale, bias, mean, var)
            t = Transpose <perm = [2,0,1]> (n)
            y, h = {op} <hidden_size = 4, direction = "bidirectional"{options}> (t, w, r, b, lengths)
        }}
        """.replace("BN3,", "float[3] scale, float[3] bias, float[3] mean, float[3] var,"),
        dtype="float",
        opset=14,
        ir_version=8,
    )
    set_constant(model, model.graph.initializers["lengths"], np.array([5, 1, 3], np.int32))
    result = bnfold.fold(model)
    assert not result.kept
    assert bnfold.verify(model, result.model)
