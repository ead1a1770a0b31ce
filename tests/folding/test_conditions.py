"""Each condition of each rule, broken: the affine stays, the reason says so, and the result is still exact."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.conditions import assert_folds, assert_kept
from tests.helpers.models import affines, constant, model_of, set_constant

# name: (what makes the model, part of the reason, and options of model_of if there are any)
BROKEN = {
    "sum_with_a_branch_that_is_not_linear": (
        """
        g (float[N,2,5] x, float[2,2,1] w, BN2) => (float[N,2,5] y) {
            a = Conv (x, w)
            b = Tanh (x)
            s = Add (a, b)
            y = BatchNormalization (s, scale, bias, mean, var)
        }
        """,
        "Tanh 'b' is not linear",
    ),
    "add_that_broadcasts_the_data": (
        """
        g (float[N,1,5] x, float[5,4] w, float[3,1] c, BN3) => (float[N,3,4] y) {
            u = MatMul (x, w)
            s = Add (u, c)
            y = BatchNormalization (s, scale, bias, mean, var)
        }
        """,
        "broadcasts 'u' to the shape of its constant, [3, 1]",
    ),
    "add_of_a_constant_with_more_axes": (
        """
        g (float[N,5] x, float[5,4] w, float[1,1,4] c, BN1) => (float[1,1,1,4] y) {
            u = MatMul (x, w)
            s = Add (u, c)
            axes = Constant <value_ints = [0]> ()
            r = Unsqueeze (s, axes)
            y = BatchNormalization (r, scale, bias, mean, var)
        }
        """,
        "broadcasts 'u'",
    ),
    "batch_normalization_in_training_mode": (
        """
        g (float[N,3,5] x, BN3) => (float[N,3,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            t, m, v = BatchNormalization <training_mode = 1> (n, scale, bias, mean, var)
            y = Tanh (t)
        }
        """,
        "BatchNormalization 't' is no affine (training mode",
    ),
    "batch_normalization_with_runtime_parameters": (
        """
        g (float[N,3,5] x, BN3) => (float[N,3,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            axes = Constant <value_ints = [0, 2]> ()
            m = ReduceMean <keepdims = 0> (x, axes)
            t = BatchNormalization (n, scale, bias, m, var)
            y = Tanh (t)
        }
        """,
        "has a parameter mean that is not a floating-point constant",
    ),
    "batch_normalization_whose_statistics_are_read": (
        """
        g (float[N,3,5] x, BN3) => (float[N,3,5] y, float[3] z) {
            n = BatchNormalization (x, scale, bias, mean, var)
            t, m, v, batch_mean, batch_var = BatchNormalization (n, scale, bias, mean, var)
            z = Exp (m)
            y = Tanh (t)
        }
        """,
        "BatchNormalization 't' is no affine (training mode: its further outputs are used)",
        {"opset": 13},
    ),
    "conv_with_runtime_weights": (
        """
        g (float[4,3,3] x, float[4,3,3] u, BN4) => (float[4,4,1] y) {
            w = Tanh (x)
            h = Conv (u, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "Tanh 'w' is not linear",
    ),
    "conv_with_a_runtime_bias": (
        """
        g (float[3] x, float[1,2,5] u, float[3,2,3] w, BN3) => (float[1,3,3] y) {
            h = Conv (u, w, x)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "Conv 'h' would change 'x', which is a graph input",
    ),
    "conv_in_front_with_a_runtime_bias": (
        """
        g (float[3] x, float[1,2,5] u, float[3,2,3] w, BN2) => (float[1,3,3] y) {
            t = Tanh (u)
            n = BatchNormalization (t, scale, bias, mean, var)
            y = Conv (n, w, x)
        }
        """,
        "Conv 'y' would change 'x', which is a graph input",
    ),
    "conv_behind_another_axis": (
        """
        g (float[N,2,5] x, float[3,2,3] w, BN3) => (float[N,3,3] y) {
            h = Conv (x, w)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
        "has weights along axis 1 of its output, but the affine varies along 2",
    ),
    "conv_in_front_of_another_axis": (
        """
        g (float[N,5,2] x, float[3,2,3] w, BN5) => (float[N,3,3] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            t = Transpose <perm = [0,2,1]> (n)
            y = Conv (t, w)
        }
        """,
        "has weights along axis 1 of its input, but the affine varies along 2",
    ),
    "conv_of_the_same_size_which_is_not_known": (
        """
        g (float[N,2,L] x, float[3,2,3] w, BN2) => (float[N,3,L] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = Conv <auto_pad = "SAME_UPPER"> (n, w)
        }
        """,
        "pads with zeros (auto_pad = SAME_UPPER), and the shift in front of it is not 0",
    ),
    "conv_transpose_with_overlap": (
        """
        g (float[N,2,3] x, float[2,3,2] w, BN2) => (float[N,3,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = ConvTranspose (n, w)
        }
        """,
        "strides are not the kernel [2]",
    ),
    "conv_transpose_with_gaps": (
        """
        g (float[N,2,3] x, float[2,3,2] w, BN2) => (float[N,3,7] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = ConvTranspose <strides = [2], dilations = [2]> (n, w)
        }
        """,
        "(dilations)",
    ),
    "conv_transpose_with_output_padding": (
        """
        g (float[N,2,3] x, float[2,3,2] w, BN2) => (float[N,3,7] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = ConvTranspose <strides = [2], output_padding = [1]> (n, w)
        }
        """,
        "(output_padding)",
    ),
    "conv_transpose_with_different_taps": (
        """
        g (float[N,2,3] x, float[2,3,2] w, BN2) => (float[N,3,6] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = ConvTranspose <strides = [2]> (n, w)
        }
        """,
        "different weights for different cells",
    ),
    "gemm_that_adds_the_affine": (
        """
        g (float[3,5] x, float[5,4] w, BN4) => (float[3,4] y) {
            t = Transpose <perm = [1,0]> (x)
            z = Gemm <transA = 1> (t, w)
            r = Tanh (z)
            n = BatchNormalization (r, scale, bias, mean, var)
            y = Gemm <transA = 1> (t, w, n)
        }
        """,
        "Gemm 'y' would change 'y', which is a graph output",
    ),
    "gemm_that_adds_a_runtime_tensor": (
        """
        g (float[3,5] x, float[5,4] w, BN4) => (float[3,4] y) {
            z = Gemm (x, w)
            r = Tanh (z)
            h = Gemm (x, w, r)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "Tanh 'r' is not linear",
    ),
    "gemm_behind_the_rows": (
        """
        g (float[3,5] x, float[5,4] w, BN3) => (float[4,3] y) {
            h = Gemm (x, w)
            t = Transpose <perm = [1,0]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
        "has weights along axis 1 of its output, but the affine varies along 0",
    ),
    "gemm_in_front_of_the_rows": (
        """
        g (float[3,5] x, float[3,4] w, BN5) => (float[5,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = Gemm <transA = 1> (n, w)
        }
        """,
        "has weights along axis 0 of its first operand, but the affine varies along 1",
    ),
    "gemm_before_opset_7_that_ignores_a_runtime_tensor": (
        """
        g (float[3,5] x, float[5,4] w, BN4) => (float[3,4] y) {
            c = Tanh (x)
            h = Gemm <beta = 0.0> (x, w, c)
            y = BatchNormalization <is_test = 1> (h, scale, bias, mean, var)
        }
        """,
        "is of opset 6, whose broadcasting is another one",
        {"opset": 6, "ir_version": 8},
    ),
    "matmul_with_a_constant_of_more_axes": (
        """
        g (float[N,5] x, float[2,5,4] w, BN5) => (float[2,N,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = MatMul (n, w)
        }
        """,
        "multiplies a tensor of 2 axes with a constant of 3",
    ),
    "matmul_with_a_vector": (
        """
        g (float[N,5] x, float[5] w, BN5) => (float[N] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = MatMul (n, w)
        }
        """,
        "multiplies a tensor of 2 axes with a constant of 1",
    ),
    "matmul_of_two_tensors": (
        """
        g (float[5,5] x, BN5) => (float[5,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = MatMul (n, n)
        }
        """,
        "MatMul 'y' multiplies a tensor with itself",
    ),
    "matmul_behind_another_axis": (
        """
        g (float[N,4,5] x, float[5,4] w, BN4) => (float[N,4,4] y) {
            h = MatMul (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "has weights along axis 2 of its output, but the affine varies along 1",
    ),
    "relu_with_a_negative_scale": (
        """
        g (float[N,5] x, float[5,4] w, float[4] scale, float[4] zero_bias, float[4] zero_mean, float[4] var)
                => (float[N,4] y) {
            h = MatMul (x, w)
            r = Relu (h)
            y = BatchNormalization (r, scale, zero_bias, zero_mean, var)
        }
        """,
        "carries no negative scale: channel",
    ),
    "relu_with_a_shift": (
        """
        g (float[N,5] x, float[5,4] w, float[4] positive_scale, float[4] bias, float[4] mean, float[4] var)
                => (float[N,4] y) {
            h = MatMul (x, w)
            r = Relu (h)
            y = BatchNormalization (r, positive_scale, bias, mean, var)
        }
        """,
        "carries no shift",
    ),
    "reshape_of_sizes_that_are_not_known": (
        """
        g (float[N,3,L] x, float[4,1] w, BN3) => (float[N,M] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            f = Flatten (n)
            y = Identity (f)
            z = Gemm (f, w)
        }
        """,
        "turns [3, L] into [?], along which the affine varies",
    ),
    "reshape_without_a_number": (
        """
        g (float[N,3,0] x, float[0,4] w, BN3) => (float[N,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            f = Flatten (n)
            y = Gemm (f, w)
        }
        """,
        "has an axis of size 0",
    ),
    "reshape_to_a_size_that_does_not_fit": (
        """
        g (float[N,3,L] x, float[8,4] w, BN3) => (float[N,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            rows = Constant <value_ints = [0, 8]> ()
            f = Reshape (n, rows)
            y = Gemm (f, w)
        }
        """,
        "turns [3, L] into [8], along which the affine varies",
    ),
    "reshape_of_a_size_that_does_not_fit": (
        """
        g (float[2,3,3] x, float[3,4,1] w, BN3) => (float[2,3,K] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            rows = Constant <value_ints = [2, 4, -1]> ()
            f = Reshape (n, rows)
            y = Conv (f, w)
        }
        """,
        "turns [3, 3] into [4, ?], along which the affine varies",
    ),
    "cast_like_of_the_affine": (
        """
        g (float[N,2,5] x, float[3,2,3] w, BN3) => (float[N,3,3] y) {
            h = Conv (x, w)
            c = CastLike (h, x)
            y = BatchNormalization (c, scale, bias, mean, var)
        }
        """,
        "converts a tensor that the fold changes",
    ),
    "sum_that_cancels": (
        """
        g (float[N,2,5] x, float[3,2,1] w, BN3) => (float[N,3,5] y) {
            h = Conv (x, w)
            s = Sub (h, h)
            y = BatchNormalization (s, scale, bias, mean, var)
        }
        """,
        "Sub 's' subtracts a tensor from itself",
    ),
    "sum_that_broadcasts_the_channels": (
        """
        g (float[N,2,5] x, float[3,2,1] w, float[1,2,1] v, BN3) => (float[N,3,5] y) {
            a = Conv (x, w)
            b = Conv (x, v)
            s = Add (a, b)
            y = BatchNormalization (s, scale, bias, mean, var)
        }
        """,
        "broadcasts 'b' along the channels, or may do so",
    ),
    "sum_of_different_ranks": (
        """
        g (float[N,3,5] x, float[5,5] w, float[5,5] v, BN5) => (float[3,5] y) {
            axes = Constant <value_ints = [0]> ()
            first = Constant <value_ints = [0]> ()
            row = Gather (x, first)
            r = Squeeze (row, axes)
            a = MatMul (r, w)
            one = Constant <value_ints = [5]> ()
            m = ReduceMean <keepdims = 0> (r, axes)
            s = Add (a, m)
            y = BatchNormalization (s, scale, bias, mean, var)
        }
        """,
        "broadcasts 'm', which has 1 axes",
    ),
    "sum_of_tensors_with_different_scales": (
        """
        g (float[N,3,3] x, float[2,3,1] w, BN3) => (float[N,2,3] y) {
            t = Tanh (x)
            n = BatchNormalization (t, scale, bias, mean, var)
            m = Transpose <perm = [0,2,1]> (n)
            s = Add (n, m)
            y = Conv (s, w)
        }
        """,
        "Add 's' has branches that would need different scales",
    ),
    "sum_with_a_scale_of_zero": (
        """
        g (float[N,3,5] x, float[3,3,1] w, float[3] zero_scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,5] y) {
            t = Tanh (x)
            n = BatchNormalization (t, zero_scale, bias, mean, var)
            c = Conv (x, w)
            s = Add (n, c)
            y = Conv (s, w)
        }
        """,
        "Add 's' shares one scale among its branches, and a scale of 0 cannot be undone",
    ),
    "sums_whose_shifts_contradict_each_other": (
        """
        g (float[N,2,5] x, float[3,2,1] w, float[3,2,1] v, BN3) => (float[N,3,10] y) {
            p = Conv (x, w)
            q = Conv (x, v)
            a = Sub (p, q)
            b = Sub (q, p)
            c = Concat <axis = 2> (a, b)
            n = BatchNormalization (c, scale, bias, mean, var)
            y = Tanh (n)
        }
        """,
        "has shifts that do not add up",
    ),
    "sum_along_channels_whose_number_is_not_known": (
        """
        g (float[N,K,5] x, BN3) => (float[N,K,5] y) {
            t = Tanh (x)
            n = BatchNormalization (t, scale, bias, mean, var)
            u = Neg (n)
            m = Sigmoid (x)
            s = Add (u, m)
            y = Sigmoid (s)
        }
        """,
        "Add 's' broadcasts 'u' along the channels, or may do so",
    ),
    "sum_without_one_of_its_operands": (
        """
        g (float[N,3,5] x, BN3) => (float[N,3,5] y) {
            t = Tanh (x)
            n = BatchNormalization (t, scale, bias, mean, var)
            y = Sub ( , n)
        }
        """,
        "Sub 'y' lacks its input 0",
    ),
    "sum_without_a_branch_for_the_shift": (
        """
        g (float[N,3,5] x, BN3) => (float[N,3,5] y) {
            t = Tanh (x)
            n = BatchNormalization (t, scale, bias, mean, var)
            y = Sub (x, n)
        }
        """,
        "has no branch that could take the shift",
    ),
    "concat_of_a_size_that_is_not_known": (
        """
        g (float[N,K,5] x, float[2,5,1] w, BN4) => (float[N,M,5] y) {
            t = Transpose <perm = [0,2,1]> (x)
            c = Conv (t, w)
            u = Transpose <perm = [0,2,1]> (c)
            v = Tanh (x)
            h = Concat <axis = 1> (v, v)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "holds 'v', whose size along axis 1 is not known",
    ),
    "concat_of_one_tensor_in_two_forms": (
        """
        g (float[N,3,5] x, float[2,3,1] w, BN4) => (float[N,4,5] y) {
            c = Conv (x, w)
            h = Concat <axis = 1> (c, c)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "holds 'c' twice, and would need it in two forms",
    ),
    "maximum_with_a_negative_scale": (
        """
        g (float[N,2,6] x, float[3,2,1] w, BN3) => (float[N,3,3] y) {
            h = Conv (x, w)
            p = MaxPool <kernel_shape = [2], strides = [2]> (h)
            y = BatchNormalization (p, scale, bias, mean, var)
        }
        """,
        "picks the largest: carries no negative scale",
    ),
    "maximum_whose_place_is_read": (
        """
        g (float[N,2,6] x, float[3,2,1] w, float[3] positive_scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,3] y, double[N,3,3] z) {
            h = Conv (x, w)
            p, i = MaxPool <kernel_shape = [2], strides = [2]> (h)
            z = Cast <to = 11> (i)
            y = BatchNormalization (p, positive_scale, bias, mean, var)
        }
        """,
        "MaxPool 'p' also says where the largest was",
    ),
    "average_over_the_padding": (
        """
        g (float[N,2,6] x, float[3,2,1] w, BN3) => (float[N,3,7] y) {
            h = Conv (x, w)
            p = AveragePool <kernel_shape = [2], pads = [1,1], count_include_pad = 1> (h)
            y = BatchNormalization (p, scale, bias, mean, var)
        }
        """,
        "averages cells beyond the border (count_include_pad)",
    ),
    "average_along_the_affine": (
        """
        g (float[N,3,6] x, BN3) => (float[N,6,2] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            t = Transpose <perm = [0,2,1]> (n)
            y = AveragePool <kernel_shape = [2]> (t)
        }
        """,
        "pools along the axes [2], along which the affine varies",
    ),
    "an_op_without_a_rule": (
        """
        g (float[N,2,5] x, BN2) => (int64[3,K] y) {
            t = Tanh (x)
            n = BatchNormalization (t, scale, bias, mean, var)
            y = NonZero (n)
        }
        """,
        "NonZero 'y' is an op that bnfold knows no rule for",
    ),
    "a_second_reader_that_needs_the_old_content": (
        """
        g (float[N,2,5] x, float[3,2,3] w, BN3) => (float[N,3,3] y, float[N,3,3] z) {
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
            z = Sigmoid (h)
        }
        """,
        "Sigmoid 'z'",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    text, reason, *options = BROKEN[name]
    assert_kept(text, reason, **(options[0] if options else {}))


@pytest.mark.parametrize("attribute", ['auto_pad = "SAME_UPPER"', "output_shape = [6]"])
def test_a_conv_transpose_whose_output_size_is_demanded_takes_no_shift(attribute) -> None:
    model = model_of(f"""
        g (float[N,2,3] x, float[2,3,2] w, BN2) => (float[N,3,6] y) {{
            n = BatchNormalization (x, scale, bias, mean, var)
            y = ConvTranspose <strides = [2], {attribute}> (n, w)
        }}
    """)
    (kept,) = bnfold.fold(model).kept
    assert attribute.split(" ")[0] in kept.reason


def test_a_conv_transpose_takes_a_shift_where_pads_only_cut_cells_off() -> None:
    model = model_of("""
        g (float[N,2,3] x, float[2,3,2] w, BN2) => (float[N,3,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = ConvTranspose <strides = [2], pads = [1,1]> (n, w)
        }
    """)
    weight = constant(model, "w")
    set_constant(model, model.graph.initializers["w"], np.repeat(weight[..., :1], 2, axis=-1))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_a_bias_that_the_fold_would_change_blocks(op) -> None:
    model = model_of(f"""
        g (float[1,3] x, float[1,3,5] u, float[3,3,3] w, BN3) => (float[1,3,L] y) {{
            n = BatchNormalization (x, scale, bias, mean, var)
            axes = Constant <value_ints = [0]> ()
            s = Squeeze (n, axes)
            y = {op} (u, w, s)
        }}
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    (kept,) = result.kept
    assert f"{op} 'y' would change 'y', which is a graph output" in kept.reason


def test_a_gemm_that_ignores_its_runtime_c_gets_a_constant_one() -> None:
    model = model_of("""
        g (float[3,5] x, float[5,4] w, BN4) => (float[3,4] y) {
            z = Gemm (x, w)
            c = Tanh (z)
            h = Gemm <beta = 0.0> (x, w, c)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept


def test_a_gemm_before_opset_7_keeps_the_shape_of_its_c() -> None:
    text = """
        g (float[3,5] x, float[5,4] w, float[SHAPE] c, BN4) => (float[3,4] y) {
            h = Gemm <beta = BETA, broadcast = 1> (x, w, c)
            y = BatchNormalization <is_test = 1> (h, scale, bias, mean, var)
        }
    """
    for shape, beta, folds in (("4", "2.0", True), ("3,4", "2.0", True), ("1", "2.0", False), ("3,4", "0.0", False)):
        model = model_of(text.replace("SHAPE", shape).replace("BETA", beta), opset=6, ir_version=8)
        result = bnfold.fold(model)
        assert affines(result.model) == (0 if folds else 1), (shape, beta)


def test_the_constant_of_an_add_does_not_grow_by_a_factor() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[3,2,1] w, float[5] c, BN3) => (float[N,3,5] y) {
            h = Conv (x, w)
            a = Add (h, c)
            y = BatchNormalization (a, scale, bias, mean, var)
        }
    """)
    kept = {entry.op_type: entry.reason for entry in bnfold.fold(model).kept}
    assert "would see its constant grow from 5 to 15 numbers" in kept["BatchNormalization"]


def test_an_infinite_weight_stays_what_it_is() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[3,2,3] w, BN3) => (float[N,3,3] y) {
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    weight = constant(model, "w").copy()
    weight[0, 0, 0] = np.inf
    set_constant(model, model.graph.initializers["w"], weight)
    folded = bnfold.fold(model).model
    assert np.isinf(constant(folded, "w")[0, 0, 0])
    assert np.isfinite(constant(folded, next(name for name in folded.graph.initializers if "bias" in name))).all()


def test_an_add_to_a_size_that_is_not_known_may_broadcast() -> None:
    model = model_of("""
        g (float[N,3,L] x, float[3,3,1] w, float[4] c, BN3) => (float[N,3,M] y) {
            h = Conv (x, w)
            a = Add (h, c)
            y = BatchNormalization (a, scale, bias, mean, var)
        }
    """)
    assert "or may do so" in bnfold.fold(model).kept[0].reason


def test_a_conv_transpose_with_negative_pads_has_cells_without_taps() -> None:
    model = model_of("""
        g (float[N,2,3] x, float[2,3,2] w, BN2) => (float[N,3,8] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = ConvTranspose <strides = [2], pads = [-1,-1]> (n, w)
        }
    """)
    assert "(negative pads)" in bnfold.fold(model).kept[0].reason


def test_no_bias_is_added_before_opset_7() -> None:
    text = """
        g (float[N,5] x, float[5,4] w, BN4) => (float[N,4] y) {
            h = MatMul (x, w)
            y = BatchNormalization <is_test = 1> (h, scale, bias, mean, var)
        }
    """
    assert "has no bias" in bnfold.fold(model_of(text, opset=6, ir_version=8)).kept[0].reason


def test_a_maximum_that_also_says_where_it_was() -> None:
    model = model_of("""
        g (float[N,2,6] x, float[3,2,1] w, float[3] positive_scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,3] y, int64[N,3,3] i) {
            h = Conv (x, w)
            p, i = MaxPool <kernel_shape = [2], strides = [2]> (h)
            y = BatchNormalization (p, positive_scale, bias, mean, var)
        }
    """)
    assert "also says where the largest was" in bnfold.fold(model).kept[0].reason


# where the last window may reach over the edge: (attributes, size)
OVER_THE_EDGE = {
    "it_does": ("kernel_shape = [2], strides = [2]", 7),
    "of_unknown_size": ("kernel_shape = [2], strides = [2]", "L"),
    "by_its_dilation": ("kernel_shape = [2], strides = [2], dilations = [2]", 6),
    "by_its_pads": ("kernel_shape = [2], strides = [2], pads = [1,0]", 6),
    "by_its_auto_pad": ('kernel_shape = [2], strides = [2], auto_pad = "SAME_UPPER"', 6),
}


def average_rounded_up(attributes: str, size: int | str):
    return model_of(f"""
        g (float[N,2,{size}] x, float[3,2,1] w, BN3) => (float[N,3,M] y) {{
            h = Conv (x, w)
            p = AveragePool <{attributes}, ceil_mode = 1> (h)
            y = BatchNormalization (p, scale, bias, mean, var)
        }}
    """)


@pytest.mark.parametrize("name", OVER_THE_EDGE)
def test_an_average_takes_no_shift_where_its_last_window_may_reach_over_the_edge(name) -> None:
    assert "(ceil_mode)" in bnfold.fold(average_rounded_up(*OVER_THE_EDGE[name])).kept[0].reason


@pytest.mark.parametrize("attributes", ["", ", pads = [1,1]"])
def test_an_average_takes_a_shift_where_no_window_is_added_by_rounding_up(attributes) -> None:
    assert_folds(average_rounded_up(f"kernel_shape = [2], strides = [2]{attributes}", 6))
