"""Conv, ConvTranspose and Gemm whose weights or biases are computed at run time."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import bnfold
from bnfold.affine import Affine
from bnfold.folding.answers import Blocked
from bnfold.folding.facts import Facts
from bnfold.folding.ops.conv import ConvRule
from bnfold.folding.reexpression import Reexpression
from bnfold.folding.view import View
from tests.helpers import oracle
from tests.helpers.conditions import assert_kept
from tests.helpers.models import constant, model_of, serialised, set_constant

# name: (what makes the model, part of the reason)
BROKEN = {
    "channels_that_are_not_known": (
        """
        g (float[K,2,3] x, float[1,2,5] u, float[1,2,1] v, BN2) => (float[1,K,3] y) {
            w = Conv (x, v)
            r = Tanh (u)
            n = BatchNormalization (r, scale, bias, mean, var)
            y = Conv (n, w)
        }
        """,
        "has a weight 'w' that is computed at run time, with channels that are not known",
    ),
    "numbers_that_are_known_at_run_time_only": (
        """
        g (float[4,2,3] x, float[1,2,5] u, float[2,2,1] v, BN2) => (float[1,4,3] y) {
            w = Conv (x, v)
            r = Tanh (u)
            n = BatchNormalization (r, scale, bias, mean, var)
            y = Conv (n, w)
        }
        """,
        "has a weight 'w' that is known at run time only, behind a shift",
    ),
    "a_transposed_weight_known_at_run_time_only": (
        """
        g (float[2,4,3] x, float[1,2,5] u, float[4,4,1] v, BN2) => (float[1,4,L] y) {
            w = Conv (x, v)
            r = Tanh (u)
            n = BatchNormalization (r, scale, bias, mean, var)
            y = ConvTranspose <strides = [3]> (n, w)
        }
        """,
        "has a weight 'w' that is known at run time only, behind a shift",
    ),
    "a_shifted_weight": (
        """
        g (float[4,2,3] x, float[1,2,5] u, BN2) => (float[1,4,3] y) {
            r = Tanh (x)
            w = BatchNormalization (r, scale, bias, mean, var)
            y = Conv (u, w)
        }
        """,
        "has a weight 'w' that would be changed otherwise than by a scale",
    ),
    "a_weight_scaled_along_its_taps": (
        """
        g (float[4,3,2] x, float[1,2,5] u, float[3] scale, float[3] zero_bias, float[3] zero_mean, float[3] var)
                => (float[1,4,3] y) {
            r = Tanh (x)
            n = BatchNormalization (r, scale, zero_bias, zero_mean, var)
            w = Transpose <perm = [0,2,1]> (n)
            y = Conv (u, w)
        }
        """,
        "has a weight 'w' that would be changed otherwise than by a scale",
    ),
    "a_weight_scaled_along_the_inputs": (
        """
        g (float[4,2,3] x, float[1,2,5] u, float[2] scale, float[2] zero_bias, float[2] zero_mean, float[2] var)
                => (float[1,4,3] y) {
            r = Tanh (x)
            w = BatchNormalization (r, scale, zero_bias, zero_mean, var)
            y = Conv (u, w)
        }
        """,
        "has a weight 'w' that would change along the channels of the input",
    ),
    "a_bias_that_changes_along_the_rows": (
        """
        g (float[5,3] x, float[3,2] a, float[2,5] w, BN3) => (float[3,5] y) {
            r = Tanh (x)
            n = BatchNormalization (r, scale, bias, mean, var)
            c = Transpose (n)
            y = Gemm (a, w, c)
        }
        """,
        "adds 'c', which would change along another axis than the channels",
    ),
    "a_c_that_does_not_vary_along_the_affine": (
        """
        g (float[3,1] x, float[3,2] a, float[2,5] w, BN5) => (float[3,5] y) {
            c = Tanh (x)
            h = Gemm (a, w, c)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "adds 'c', which does not vary along the affine, or may not do so",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


def fold_checked(text: str, **options: object) -> bnfold.FoldResult:
    model = model_of(text, **options)
    before = serialised(model)
    result = bnfold.fold(model)
    assert serialised(model) == before
    assert not result.kept, [kept.reason for kept in result.kept]
    oracle.assert_equal(model, result.model)
    return result


@pytest.mark.parametrize("group", [1, 2, 6])
def test_a_scale_behind_goes_into_what_writes_the_weight(group) -> None:
    """The weight of [6, 6 / group, 3] is a product with a constant on the left."""
    fold_checked(
        f"""
        g (float[6,K,3] x, float[1,6,5] u, float[6,6] v, float[6] b, BN6) => (float[1,6,3] y) {{
            t = Transpose <perm = [2,0,1]> (x)
            m = MatMul (v, t)
            s = Transpose <perm = [1,2,0]> (m)
            shape = Constant <value_ints = [6,{6 // group},3]> ()
            w = Reshape (s, shape)
            h = Conv <group = {group}, pads = [1,1], strides = [2]> (u, w, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }}
    """.replace("K", str(6 // group))
    )


@pytest.mark.parametrize("group", [1, 2, 3])
def test_a_scale_in_front_goes_into_what_writes_the_weight(group) -> None:
    """The same for a transposed one of [6, 6 / group, 3], whose inputs are on the first axis."""
    fold_checked(f"""
        g (float[6,{6 // group},3] x, float[1,6,5] u, float[6,6] v, float[6] scale, float[6] zero_bias,
           float[6] zero_mean, float[6] var) => (float[1,6,L] y) {{
            t = Transpose <perm = [2,0,1]> (x)
            m = MatMul (v, t)
            w = Transpose <perm = [1,2,0]> (m)
            r = Tanh (u)
            n = BatchNormalization (r, scale, zero_bias, zero_mean, var)
            y = ConvTranspose <group = {group}, strides = [2]> (n, w)
        }}
    """)


def test_a_shift_goes_into_what_writes_the_bias() -> None:
    fold_checked("""
        g (float[1,5] x, float[1,2,5] u, float[3,2,3] w, float[5,3] v, float[3] b, BN3) => (float[1,3,3] y) {
            g1 = Gemm (x, v, b)
            shape = Constant <value_ints = [3]> ()
            c = Reshape (g1, shape)
            h = Conv (u, w, c)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_an_affine_of_the_bias_goes_on_behind(op) -> None:
    result = fold_checked(f"""
        g (float[1,3] x, float[1,3,5] u, float[3,3,3] w, float[2,3,1] v, BN3) => (float[1,2,L] y) {{
            n = BatchNormalization (x, scale, bias, mean, var)
            shape = Constant <value_ints = [3]> ()
            c = Reshape (n, shape)
            h = {op} (u, w, c)
            y = Conv (h, v)
        }}
    """)
    assert result.folded[0].route == "forward"


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_an_affine_of_a_residual_goes_through_the_product_that_adds_it(beta) -> None:
    fold_checked(f"""
        g (float[N,4] x, float[4,4] w, float[4,2] v, BN4) => (float[N,2] y) {{
            n = BatchNormalization (x, scale, bias, mean, var)
            t = Tanh (x)
            h = Gemm <beta = {beta}, alpha = 0.5> (t, w, n)
            y = Gemm (h, v)
        }}
    """)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_c_of_two_axes_that_is_computed_takes_scale_and_shift(rows) -> None:
    fold_checked(f"""
        g (float[{rows},4] x, float[3,5] a, float[5,4] w, float[4,4] v, float[4] b, BN4) => (float[3,4] y) {{
            product = MatMul (x, v)
            c = Add (product, b)
            h = Gemm <beta = 2.0> (a, w, c)
            y = BatchNormalization (h, scale, bias, mean, var)
        }}
    """)


def test_a_c_of_one_axis_that_is_computed_takes_scale_and_shift() -> None:
    fold_checked("""
        g (float[1,5] x, float[3,5] a, float[5,4] w, float[5,4] v, float[4] b, BN4) => (float[3,4] y) {
            product = Gemm (x, v, b)
            shape = Constant <value_ints = [4]> ()
            c = Reshape (product, shape)
            h = Gemm <beta = 2.0> (a, w, c)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)


@pytest.mark.parametrize("beta", ["1.0", "0.0"])
def test_a_computed_c_before_opset_7_keeps_the_affine(beta) -> None:
    assert_kept(
        f"""
        g (float[3,5] x, float[5,4] w, float[5,4] v, BN4) => (float[3,4] y) {{
            c = MatMul (x, v)
            h = Gemm <broadcast = 1, beta = {beta}> (x, w, c)
            y = BatchNormalization <is_test = 1> (h, scale, bias, mean, var)
        }}
        """,
        "is of opset 6, whose broadcasting is another one",
        opset=6,
        ir_version=8,
    )


def test_a_convolution_with_same_padding_and_a_computed_weight_takes_no_shift() -> None:
    """What the padding is follows from the kernel: it is not known, although the numbers are."""
    assert_kept(
        """
        g (float[1,4,L] x, int8[6,4,3] q, float[] positive_step, float[4] positive_scale, float[4] bias, float[4] mean,
           float[4] var) => (float[1,6,L] y) {
            t = Tanh (x)
            n = BatchNormalization (t, positive_scale, bias, mean, var)
            w = DequantizeLinear (q, positive_step)
            y = Conv <auto_pad = "SAME_UPPER"> (n, w)
        }
        """,
        "pads with zeros (auto_pad = SAME_UPPER), and the shift in front of it is not 0",
    )


def test_a_weight_that_is_shared_at_run_time_is_made_up_for_behind_the_other_reader() -> None:
    model = model_of("""
        g (float[4,2,3] x, float[1,2,5] u, float[4,4,1] v, float[3,4,1] z, BN4) => (float[1,4,3] y, float[1,3,3] o) {
            t = Transpose <perm = [1,0,2]> (x)
            c = Conv (t, v)
            w = Transpose <perm = [1,0,2]> (c)
            h = Conv (u, w)
            y = BatchNormalization (h, scale, bias, mean, var)
            a = Tanh (u)
            p = Conv <pads = [1,1]> (a, w)
            o = Conv <strides = [2]> (p, z)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept


def test_an_infinite_weight_beside_a_computed_bias_makes_no_nan() -> None:
    model = model_of("""
        g (float[1,5] x, float[1,2,5] u, float[3,2,3] w, float[5,3] v, float[3] b, BN3) => (float[1,3,3] y) {
            g1 = Gemm (x, v, b)
            shape = Constant <value_ints = [3]> ()
            c = Reshape (g1, shape)
            h = Conv (u, w, c)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    weight = constant(model, "w").copy()
    weight[0, 0, 0] = np.inf
    set_constant(model, model.graph.initializers["w"], weight)
    folded = bnfold.fold(model).model
    assert np.isfinite(constant(folded, "b")).all()


def test_a_scale_of_zero_in_front_of_a_weight_that_changes() -> None:
    model = model_of("g (float[4,2,3] x, float[1,2,5] u) => (float[1,4,3] y) { w = Tanh (x) y = Conv (u, w) }")
    node = model.graph.node(1)
    scales = np.array([0.0, 2.0]).reshape(1, 2, 1), np.full((1, 1, 1), 3.0)
    data, weight = (Affine(scale, np.zeros_like(scale)) for scale in scales)
    settled = {node.inputs[0]: Reexpression.from_read(data), node.inputs[1]: Reexpression.from_write(weight)}
    with pytest.raises(Blocked, match="cannot make up for a scale of 0 in front of it"):
        ConvRule().answer(node, View(Facts(model), settled))


def test_no_bias_is_made_of_a_type_that_is_not_known() -> None:
    """The scale is exactly 1: only the shift remains, and a weight from an op that nobody knows."""
    model = model_of("""
        g (float[4,2,3] x, float[1,2,5] u, BN4) => (float[1,4,3] y) {
            w = Tanh (x)
            h = Conv (u, w)
            y = BatchNormalization <epsilon = 0.0> (h, scale, bias, mean, var)
        }
    """)
    for name in ("scale", "var"):
        set_constant(model, model.graph.initializers[name], np.ones(4))
    maker = model.graph.node(0)
    maker.domain, model.opset_imports["custom"] = "custom", 1
    maker.outputs[0].shape = ir.Shape([4, 2, 3])
    assert "would get a bias, whose type is not known" in bnfold.fold(model).kept[0].reason
