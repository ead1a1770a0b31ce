"""Each condition of each rule, broken: the affine stays, the reason says so, and the result is still exact."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.models import affines, constant, example, parse, serialised, set_constant

# Parameters of a BatchNormalization of C channels, for the head of a graph.
BN = "float[{c}] scale, float[{c}] bias, float[{c}] mean, float[{c}] var"

# name: (what makes the model, part of the reason)
BROKEN = {
    "sum_with_a_branch_that_has_no_rule": (
        """
        g (float[N,2,5] x, float[2,2,1] w, BN2) => (float[N,2,5] y) {
            a = Conv (x, w)
            b = Tanh (x)
            s = Add (a, b)
            y = BatchNormalization (s, scale, bias, mean, var)
        }
        """,
        "Tanh 'b' is an op that bnfold knows no rule for",
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
    "conv_with_runtime_weights": (
        """
        g (float[4,3,3] x, float[4,3,3] u, BN4) => (float[4,4,1] y) {
            w = Tanh (x)
            h = Conv (u, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "has a weight that is not a floating-point constant",
    ),
    "conv_with_a_runtime_bias": (
        """
        g (float[3] x, float[1,2,5] u, float[3,2,3] w, BN3) => (float[1,3,3] y) {
            h = Conv (u, w, x)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "has a bias 'x' that is not a constant",
    ),
    "conv_in_front_with_a_runtime_bias": (
        """
        g (float[3] x, float[1,2,5] u, float[3,2,3] w, BN2) => (float[1,3,3] y) {
            t = Tanh (u)
            n = BatchNormalization (t, scale, bias, mean, var)
            y = Conv (n, w, x)
        }
        """,
        "has a bias 'x' that is not a constant",
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
        "Gemm 'y' reads 'n' as its input 2, where no fold can follow",
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
        "adds 'r', which is not a constant",
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
        "multiplies two tensors that are both computed at run time",
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
    "sum_that_reads_one_tensor_twice": (
        """
        g (float[N,2,5] x, float[3,2,1] w, BN3) => (float[N,3,5] y) {
            h = Conv (x, w)
            s = Add (h, h)
            y = BatchNormalization (s, scale, bias, mean, var)
        }
        """,
        "Add 's' reads one tensor twice",
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
        g (float[N,2,5] x, BN2) => (float[N,2,5] y) {
            t = Tanh (x)
            n = BatchNormalization (t, scale, bias, mean, var)
            y = Sigmoid (n)
        }
        """,
        "Sigmoid 'y' is an op that bnfold knows no rule for",
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


def model_of(text: str, **options):
    for c in range(1, 6):
        text = text.replace(f"BN{c})", BN.format(c=c) + ")")
    return example(text, **options)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    text, reason = BROKEN[name]
    model = model_of(text)
    result = bnfold.fold(model)
    assert affines(result.model) == affines(model)
    assert any(reason in kept.reason for kept in result.kept), [kept.reason for kept in result.kept]
    assert serialised(result.model) == serialised(model)


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


def relu_with_a_dead_channel(constant_value: float):
    model = model_of("""
        g (float[N,5] x, float[5,4] w, float[4] b, float[4] positive_scale, float[4] bias, float[4] zero_mean,
           float[4] var) => (float[N,4] y) {
            h = Gemm (x, w, b)
            r = Relu (h)
            y = BatchNormalization (r, positive_scale, bias, zero_mean, var)
        }
    """)
    set_constant(model, model.graph.initializers["positive_scale"], np.array([0.0, 1, 2, 3]))
    set_constant(model, model.graph.initializers["bias"], np.array([constant_value, 0, 0, 0]))
    return model


def test_a_dead_channel_behind_a_relu_may_be_a_positive_constant() -> None:
    model = relu_with_a_dead_channel(0.7)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept
    assert constant(result.model, "b")[0] == 0.7


def test_a_dead_channel_behind_a_relu_cannot_be_a_negative_constant() -> None:
    model = relu_with_a_dead_channel(-0.7)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    (kept,) = result.kept
    assert "never writes the negative constant" in kept.reason


def test_a_dead_channel_cannot_be_read_elsewhere() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[3,2,3] w, float[4,3,1] v, BN3) => (float[N,3,3] y, float[N,4,3] z) {
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
            z = Conv (h, v)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept  # the second Conv undoes the affine with its own weights
    set_constant(model, model.graph.initializers["scale"], np.array([1.0, 0, 2]))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    (kept,) = result.kept
    assert "of which the fold leaves only a constant where the scale is 0" in kept.reason


def test_a_plan_without_new_nodes_comes_first() -> None:
    """Back would turn the MatMul into a Gemm; forward, the bias behind the second one takes the shift in."""
    model = model_of("""
        g (float[N,5] x, float[5,4] w, float[4,3] v, float[3] b, BN4) => (float[N,3] y) {
            h = MatMul (x, w)
            n = BatchNormalization (h, scale, bias, mean, var)
            m = MatMul (n, v)
            y = Add (m, b)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert [node.op_type for node in result.model.graph] == ["MatMul", "MatMul", "Add"]


def test_the_rank_of_a_constant_is_kept() -> None:
    """A bias of one axis stays one: an Add of [1, 4] to a tensor that has no other axis would change its rank."""
    model = model_of("""
        g (float[N,5] x, float[5,4] w, float[4] b, BN4) => (float[N,4] y) {
            m = MatMul (x, w)
            h = Add (m, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    assert constant(bnfold.fold(model).model, "b").shape == (4,)


def test_a_linear_whose_length_equals_its_width_is_folded_along_the_right_axis() -> None:
    """BatchNorm1d on (N, L, C) normalises L; with L = C a fold along the last axis would fit, and be wrong."""
    model = model_of("""
        g (float[N,4,5] x, float[5,4] w, float[4] b, BN4) => (float[N,4,4] y) {
            m = MatMul (x, w)
            h = Add (m, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert affines(result.model) == 1


def test_an_attribute_that_the_caller_of_a_function_sets_blocks() -> None:
    model = parse("""
        g (float[N,2,5] x) => (y) { y = local.f <g = 1> (x) }
        <domain: "local", opset_import: ["": 20]>
        f <g> (x) => (y) {
            w = Constant <value = float[2,2,1] {1.0, 2.0, 3.0, 4.0}> ()
            p = Constant <value = float[2] {1.0, 2.0}> ()
            h = Conv <group: int = @g> (x, w)
            y = BatchNormalization (h, p, p, p, p)
        }
    """)
    (kept,) = bnfold.fold(model).kept
    assert "has an attribute group that the caller of the function sets" in kept.reason


def test_a_batch_normalization_whose_epsilon_the_caller_sets_stays() -> None:
    model = parse("""
        g (float[N,2,5] x) => (y) { y = local.f <e = 0.1> (x) }
        <domain: "local", opset_import: ["": 20]>
        f <e> (x) => (y) {
            p = Constant <value = float[2] {1.0, 2.0}> ()
            w = Constant <value = float[2,2,1] {1.0, 2.0, 3.0, 4.0}> ()
            h = Conv (x, w)
            y = BatchNormalization <epsilon: float = @e> (h, p, p, p, p)
        }
    """)
    (kept,) = bnfold.fold(model).kept
    assert "the caller of the function sets" in kept.reason


def test_a_tensor_of_unknown_rank_blocks() -> None:
    model = model_of("""
        g (float[N,5] x, BN3) => (float[2,3,4] y) {
            u = other.Op (x)
            to = Constant <value_ints = [2, 3, 4]> ()
            r = Reshape (u, to)
            y = BatchNormalization (r, scale, bias, mean, var)
        }
    """)
    model.opset_imports["other"] = 1
    (kept,) = bnfold.fold(model).kept
    assert "touches 'u', whose number of axes is not known" in kept.reason


def test_a_batch_normalization_of_unknown_rank_stays() -> None:
    model = model_of("""
        g (float[N,5] x, BN3) => (float y) {
            u = other.Op (x)
            n = BatchNormalization (u, scale, bias, mean, var)
            y = other.Op (n)
        }
    """)
    model.opset_imports["other"] = 1
    (kept,) = bnfold.fold(model).kept
    assert "the number of axes of its input 'u' is not known" in kept.reason


def test_a_batch_normalization_without_its_inputs_is_an_error() -> None:
    model = model_of("""
        g (float[N,3] x, float[3] scale, float[3] bias, float[3] mean) => (float[N,3] y) {
            y = BatchNormalization (x, scale, bias, mean)
        }
    """)
    with pytest.raises(bnfold.ModelError, match="does not have its five inputs"):
        bnfold.fold(model)


def test_the_search_is_bounded() -> None:
    identities = "\n".join(f"i{k + 1} = Identity (i{k})" for k in range(600))
    model = model_of(f"""
        g (float[N,2,5] x, float[3,2,3] w, BN3) => (float[N,3,3] y) {{
            i0 = Conv (x, w)
            {identities}
            y = BatchNormalization (i600, scale, bias, mean, var)
        }}
    """)
    (kept,) = bnfold.fold(model).kept
    assert "is reached after 512 tensors" in kept.reason


def test_shapes_behind_an_op_that_nobody_knows_are_read_off_the_weights() -> None:
    model = model_of("""
        g (float[N,5] x, float[3,2,3] w, float[3,4,2] v, BN3) => (float y) {
            u = other.Op (x)
            h = Conv (u, w)
            n = BatchNormalization (h, scale, bias, mean, var)
            r = Relu (n)
            m = BatchNormalization (r, scale, bias, mean, var)
            t = ConvTranspose (m, v)
            y = other.Op (t)
        }
    """)
    model.opset_imports["other"] = 1
    result = bnfold.fold(model)
    assert [entry.node for entry in result.folded] == ["n"]
    assert "Relu 'r' carries no shift" in result.kept[0].reason


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
    assert "reads 's' as its input 2, where no fold can follow" in kept.reason


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
    (kept,) = bnfold.fold(model).kept
    assert "would see its constant grow from 5 to 15 numbers" in kept.reason


def second_reader(dtype: str, scale: float):
    """A Conv read by a BatchNormalization and by another Conv, which would have to undo the affine."""
    model = example(
        """
        g (float[N,2,5] x, float[3,2,3] w, float[4,3,1] v, float[3] positive_scale, float[3] bias, float[3] mean,
           float[3] var) => (float[N,3,3] y, float[N,4,3] z) {
            h = Conv (x, w)
            y = BatchNormalization (h, positive_scale, bias, mean, var)
            z = Conv (h, v)
        }
        """,
        dtype=dtype,
    )
    value = model.graph.initializers["positive_scale"]
    set_constant(model, value, np.full(3, scale, value.const_value.numpy().dtype))
    return model


@pytest.mark.parametrize(
    ("dtype", "scale", "folds"),
    [
        ("float", 0.1, True),
        ("float", 1e-4, False),
        ("float16", 1.0, True),
        ("float16", 0.1, False),
        ("double", 1e-4, True),
    ],
)
def test_no_reader_takes_off_a_shift_that_costs_it_its_bits(dtype, scale, folds) -> None:
    result = bnfold.fold(second_reader(dtype, scale))
    if folds:
        assert not result.kept
    else:
        assert "would lose bits taking off a shift of" in result.kept[0].reason


def test_an_inverse_that_overflows_is_none() -> None:
    (kept,) = bnfold.fold(second_reader("double", 1e-320)).kept
    assert "of which the fold leaves only a constant" in kept.reason or "would lose bits" in kept.reason


def test_a_shape_that_the_caller_may_replace_is_not_trusted() -> None:
    model = model_of(
        """
        g (float[1,2,6] x, float[2,2,1] w, BN2) => (float[A,B,C] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            r = Reshape (n, to)
            y = Conv (r, w)
        }
    """.replace("float[2,2,1] w", "int64[3] to, float[2,2,1] w")
    )
    value = next(node for node in model.graph if node.op_type == "Reshape").inputs[1]
    set_constant(model, value, np.array([1, 2, 6]))
    assert not bnfold.fold(model).kept
    model.graph.inputs.append(value)
    assert bnfold.fold(model).kept


def test_one_unknown_size_follows_from_the_others() -> None:
    """What TorchScript makes of ``x.view(x.size(0), -1)``."""
    model = model_of("""
        g (float[N,3,2,2] x, float[12,4] w, BN3) => (float[N,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            size = Shape <start = 0, end = 1> (x)
            rest = Constant <value_ints = [-1]> ()
            to = Concat <axis = 0> (size, rest)
            f = Reshape (n, to)
            y = Gemm (f, w)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept


@pytest.mark.parametrize("shape", ["N,0,5", "N,3,0"])
def test_sizes_of_zero_are_no_bug(shape) -> None:
    size = int(shape.split(",")[1])
    model = model_of(f"""
        g (float[{shape}] x, float[{size * int(shape.split(",")[2])},4] w, float[{size}] scale, float[{size}] bias,
           float[{size}] mean, float[{size}] var) => (float[N,4] y) {{
            n = BatchNormalization (x, scale, bias, mean, var)
            f = Flatten (n)
            y = Gemm (f, w)
        }}
    """)
    bnfold.fold(model)


def test_a_malformed_node_is_an_error_that_names_it() -> None:
    model = model_of("""
        g (float[N,3,5] x, float[3,3,1] w, BN3) => (float[N,3,5] y) {
            h = Conv <group = 2> (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    with pytest.raises(bnfold.ModelError, match="Conv 'h' is malformed"):
        bnfold.fold(model)


def test_graphs_may_be_deeper_than_the_stack_of_python() -> None:
    adds = "\n".join(f"a{k + 1} = Add (a{k}, x)" for k in range(1500))
    model = model_of(f"""
        g (float[N,3,5] x, BN3) => (float[N,3,5] y) {{
            a0 = Identity (x)
            {adds}
            n = BatchNormalization (a1500, scale, bias, mean, var)
            y = Tanh (n)
        }}
    """)
    assert "would change 'x', which is a graph input" in bnfold.fold(model).kept[0].reason
    identities = "\n".join(f"w{k + 1} = Identity (w{k})" for k in range(1500))
    model = model_of(f"""
        g (float[N,2,5] x, float[3,2,3] w0, BN3) => (float[N,3,3] y) {{
            {identities}
            h = Conv (x, w1500)
            y = BatchNormalization (h, scale, bias, mean, var)
        }}
    """)
    assert [node.op_type for node in bnfold.fold(model).model.graph] == ["Conv"]


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


def test_a_node_is_reported_by_one_name_throughout() -> None:
    """Unnamed nodes go by what they write, which a fold may rename."""
    model = model_of("""
        g (float[N,2,5] x, float[3,2,3] w, BN3) => (float[N,3,3] y) {
            t = Conv (x, w)
            h = BatchNormalization (t, scale, bias, mean, var)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    result = bnfold.fold(model)
    assert [entry.node for entry in result.folded] == ["h", "y"]
    assert {absorption.node for entry in result.folded for absorption in entry.into} <= {"t", "y"}


def test_a_new_constant_in_a_body_before_ir_version_4() -> None:
    """Every initializer must be listed as an input there, and a body has no inputs of its own."""
    from tests.folding.ops.test_contract import in_a_branch

    model = model_of(
        """
        g (float[N,2,5] x, float[3,2,3] w, BN3) => (float[N,3,3] y, float[N,3,3] z) {
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
            z = Conv (x, w)
        }
        """,
        opset=9,
        ir_version=3,
    )
    folded = bnfold.fold(in_a_branch(model)).model
    assert affines(folded) == 0
    assert {name for graph in folded.graph.subgraphs() for name in graph.initializers} == set()


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


def test_a_dead_channel_goes_through_a_relu_forward_as_what_the_relu_makes_of_it() -> None:
    model = model_of("""
        g (float[N,4] x, float[4,3] w, float[4] positive_scale, float[4] bias, float[4] zero_mean, float[4] var)
                => (float[N,3] y) {
            n = BatchNormalization (x, positive_scale, bias, zero_mean, var)
            r = Relu (n)
            y = Gemm (r, w)
        }
    """)
    for constant_value in (-0.7, 0.7):
        set_constant(model, model.graph.initializers["positive_scale"], np.array([0.0, 1, 2, 3]))
        set_constant(model, model.graph.initializers["bias"], np.array([constant_value, 0, 0, 0]))
        result = bnfold.fold(model)
        oracle.assert_equal(model, result.model)
        assert not result.kept


def test_axes_of_unknown_size_are_not_taken_for_equal() -> None:
    from bnfold.folding.ops.reshape import _Group, _groups

    assert _groups((None, 6, None), (None, 3, None)) == [_Group((None, 6, None), (None, 3, None))]
    assert _groups(("N", 6, "L"), ("N", 2, 3, "L"))[1] == _Group((6,), (2, 3))


def test_who_reads_the_shape_of_a_constant_sees_no_other_shape() -> None:
    model = model_of("""
        g (float[N,5] x, float[5,4] w, float[1] c, BN4) => (float[N,4] y, int64[1] s) {
            h = Gemm (x, w, c)
            s = Shape (c)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept


def test_a_body_that_only_normalises_a_tensor_of_the_outer_graph() -> None:
    """The Conv outside takes it in; the output of the body must still be written inside it."""
    model = model_of("""
        g (float[N,2,5] x, float[3,2,3] w, BN3) => (float[N,3,3] y) {
            h = Conv (x, w)
            t = Identity (h)
            condition = Constant <value = bool {1}> ()
            y = If (condition) <
                then_branch = a () => (double[N,3,3] u) { u = BatchNormalization (t, scale, bias, mean, var) },
                else_branch = b () => (double[N,3,3] v) { v = BatchNormalization (t, scale, bias, mean, var) }
            >
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    model = model_of("""
        g (float[N,2,5] x, float[3,2,3] w, BN3) => (float[N,3,3] y) {
            h = Conv (x, w)
            condition = Constant <value = bool {1}> ()
            y = If (condition) <
                then_branch = a () => (double[N,3,3] u) { u = BatchNormalization (h, scale, bias, mean, var) },
                else_branch = b () => (double[N,3,3] v) { v = RandomNormal <shape = [1,3,3], dtype = 11> () }
            >
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert affines(result.model) == 0
    (body, _) = result.model.graph.subgraphs()
    assert [node.op_type for node in body] == ["Identity"]


def test_new_constants_in_a_body_of_a_function_are_nodes() -> None:
    model = parse("""
        g (double[N,2,5] x) => (double[N,2,5] y, double[N,2,5] z) { y, z = local.f (x) }
        <domain: "local", opset_import: ["": 20]>
        f (x) => (y, z) {
            w = Constant <value = double[2,2,1] {1.0, 2.0, 3.0, 4.0}> ()
            p = Constant <value = double[2] {1.0, 2.0}> ()
            condition = Constant <value = bool {1}> ()
            y = If (condition) <
                then_branch = a () => (u) { h = Conv (x, w)  u = BatchNormalization (h, p, p, p, p) },
                else_branch = b () => (v) { v = Identity (x) }
            >
            z = Conv (x, w)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert affines(result.model) == 0
    (function,) = result.model.functions.values()
    assert not any(graph.initializers for graph in function.subgraphs())


def test_a_default_that_only_lends_its_shape_stays_an_input() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[3] d, float[3,2,3] w, BN3) => (float[N,3,3] y) {
            k = Shape (d)
            zero = Constant <value = double {0.0}> ()
            b = Expand (zero, k)
            h = Conv (x, w, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    model.graph.inputs.append(model.graph.initializers["d"])
    result = bnfold.fold(model)
    assert not result.kept
    assert "d" in result.model.graph.initializers
    assert [value.name for value in result.model.graph.inputs] == ["x", "d"]


def test_a_constant_that_the_caller_of_a_function_sets_is_none() -> None:
    model = parse("""
        g (float[N,2,5] x) => (y) { y = local.f <v = [1.0, 2.0]> (x) }
        <domain: "local", opset_import: ["": 20]>
        f <v> (x) => (y) {
            p = Constant <value_floats: floats = @v> ()
            y = BatchNormalization (x, p, p, p, p)
        }
    """)
    assert "is computed at run time" in bnfold.fold(model).kept[0].reason


def test_no_crafted_expression_asks_for_all_the_memory() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[1] s, BN2) => (float[N,2,5] y) {
            huge = Constant <value_ints = [1000000000000]> ()
            e = Expand (s, huge)
            y = BatchNormalization (x, e, bias, mean, var)
        }
    """)
    assert "is computed at run time" in bnfold.fold(model).kept[0].reason


def test_a_vector_has_no_channel_axis() -> None:
    model = model_of("g (float[1] x, BN1) => (float[1] y) { y = BatchNormalization (x, scale, bias, mean, var) }")
    assert "is below 2" in bnfold.fold(model).kept[0].reason


def test_the_long_name_of_the_standard_domain_is_the_standard_domain() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[3,2,3] w, BN3) => (float[N,3,3] y) {
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    del model.opset_imports[""]
    model.opset_imports["ai.onnx"] = 20
    assert not bnfold.fold(model).kept


def test_re_expressions_agree_when_they_say_the_same() -> None:
    from bnfold.affine import Affine
    from bnfold.folding.reexpression import Reexpression

    one, two = (Affine.per_channel([scale, 1.0], [0.0, 1.0], rank=2) for scale in (1.0, 2.0))
    dead = Affine.per_channel([0.0, 1.0], [5.0, 1.0], rank=2)
    assert Reexpression.from_read(one).agrees(Reexpression.from_write(one.inverse()))
    assert not Reexpression.from_read(one).agrees(Reexpression.from_read(two))
    assert Reexpression.from_write(dead).agrees(Reexpression.from_write(dead))
    assert not Reexpression.from_write(dead).agrees(Reexpression.from_read(dead))


def test_a_sum_chooses_the_branch_that_nobody_else_reads() -> None:
    """The other branch has a second reader, which would have to undo the affine."""
    model = model_of("""
        g (float[N,2,5] x, float[3,2,1] w, float[3,2,1] v, BN3) => (float[N,3,5] y, float[N,3,5] z) {
            a = Conv (x, w)
            b = Conv (x, v)
            s = Add (a, b)
            y = BatchNormalization <epsilon = 0.0> (s, scale, bias, mean, var)
            z = Tanh (a)
        }
    """)
    for name in ("scale", "var"):
        set_constant(model, model.graph.initializers[name], np.ones(3))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    (entry,) = result.folded
    assert [absorption.node for absorption in entry.into] == ["b"]


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


def test_an_average_with_ceil_mode_takes_no_shift() -> None:
    model = model_of("""
        g (float[N,2,6] x, float[3,2,1] w, BN3) => (float[N,3,3] y) {
            h = Conv (x, w)
            p = AveragePool <kernel_shape = [2], strides = [2], ceil_mode = 1> (h)
            y = BatchNormalization (p, scale, bias, mean, var)
        }
    """)
    assert "(ceil_mode)" in bnfold.fold(model).kept[0].reason


def test_a_dead_channel_is_shared_by_no_branches() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[3,2,1] w, float[3,2,1] v, BN3) => (float[N,3,5] y) {
            a = Conv (x, w)
            b = Conv (x, v)
            s = Add (a, b)
            y = BatchNormalization (s, scale, bias, mean, var)
        }
    """)
    set_constant(model, model.graph.initializers["scale"], np.array([1.0, 0.0, 2.0]))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert "a scale of 0 cannot be undone" in result.kept[0].reason
