"""MatMul of two tensors that are both computed at run time."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.conditions import assert_kept
from tests.helpers.models import constant, model_of, serialised, set_constant

# name: (what makes the model, part of the reason)
BROKEN = {
    "of_different_ranks": (
        """
        g (float[3,4,5] x, float[5,4] w, BN4) => (float[3,4,4] y) {
            first = Constant <value_ints = [0]> ()
            a = MatMul (x, w)
            row = ReduceMean <keepdims = 0> (x, first)
            b = Transpose (row)
            r = Tanh (b)
            h = MatMul (x, r)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "multiplies tensors of 3 and 2 axes, known at run time",
    ),
    "of_a_constant_with_more_axes": (
        """
        g (float[4,5] x, float[3,5,4] w, BN4) => (float[3,4,4] y) {
            h = MatMul (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "multiplies a tensor of 2 axes with a constant of 3",
    ),
    "all_axes_of_large_tensors": (
        """
        g (float[1,90000] x, float[90000] scale, float[90000] zero_bias, float[90000] zero_mean, float[90000] var)
                => (float[1,300,300] y) {
            r = Tanh (x)
            n = BatchNormalization (r, scale, zero_bias, zero_mean, var)
            cut = Constant <value_ints = [1,300,300]> ()
            m = Reshape (n, cut)
            t = Transpose <perm = [0,2,1]> (m)
            y = MatMul (m, t)
        }
        """,
        "multiplies two tensors that both change along all of their axes",
    ),
    "a_shift_without_softmax": (
        """
        g (float[N,4,5] x, float[5,5] w, BN4) => (float[N,4,5] y) {
            a = MatMul (x, w)
            t = Tanh (x)
            k = Transpose <perm = [0,2,1]> (t)
            p = MatMul (a, k)
            h = BatchNormalization (p, scale, bias, mean, var)
            y = Tanh (h)
        }
        """,
        "multiplies two tensors that are both computed at run time, and 'p' has a shift",
    ),
    "a_scale_along_both_axes": (
        """
        g (float[1,4,5] x, float[5,5] w, float[20] scale, float[20] zero_bias, float[20] zero_mean, float[20] var)
                => (float[1,20] y) {
            a = MatMul (x, w)
            t = Tanh (x)
            k = Transpose <perm = [0,2,1]> (t)
            p = MatMul (k, a)
            q = MatMul (x, p)
            f = Flatten (q)
            y = BatchNormalization (f, scale, zero_bias, zero_mean, var)
        }
        """,
        "cannot scale 'q' alone",
    ),
    "a_shift_along_the_axis_that_is_summed_over": (
        """
        g (float[N,4,5] x, float[5,4] w, float[5,6] v, BN4) => (float[N,4,6] y) {
            scores = MatMul (x, w)
            p = Softmax (scores)
            a = MatMul (x, v)
            r = Tanh (a)
            n = BatchNormalization (r, scale, bias, mean, var)
            h = MatMul (p, n)
            y = Tanh (h)
        }
        """,
        "and 'n' has a shift",
    ),
    "softmax_along_another_axis": (
        """
        g (float[N,4,5] x, float[5,4] w, float[5,4] v, BN4) => (float[N,4,4] y) {
            scores = MatMul (x, w)
            p = Softmax <axis = 1> (scores)
            a = MatMul (x, v)
            h = MatMul (p, a)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
        "and 'h' has a shift",
    ),
    "softmax_that_is_changed_since": (
        """
        g (float[N,4,5] x, float[5,4] w, float[5,4] v, BN4) => (float[N,4,4] y) {
            scores = MatMul (x, w)
            p = Softmax (scores)
            q = Relu (p)
            a = MatMul (x, v)
            h = MatMul (q, a)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
        "and 'h' has a shift",
    ),
    "scales_that_do_not_cancel": (
        """
        g (float[N,4,5] x, float[4] scale, float[4] zero_bias, float[4] zero_mean, float[4] var) => (float[N,5,5] y) {
            r = Tanh (x)
            n = BatchNormalization (r, scale, zero_bias, zero_mean, var)
            t = Transpose <perm = [0,2,1]> (n)
            y = MatMul (t, n)
        }
        """,
        "whose scales do not cancel along the axis that is summed over",
    ),
    "two_that_change_otherwise_than_by_a_scale": (
        """
        g (float[N,4,5] x, BN4) => (float[N,4,4] y) {
            r = Tanh (x)
            n = BatchNormalization (r, scale, bias, mean, var)
            t = Transpose <perm = [0,2,1]> (n)
            y = MatMul (n, t)
        }
        """,
        "otherwise than by a scale",
    ),
    "a_tensor_that_nobody_knows_to_sum_to_one": (
        """
        g (float[N,4,4] x, float[4,4] v, BN4) => (float[N,4,4] y) {
            p = Identity (x)
            a = MatMul (x, v)
            h = MatMul (p, a)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
        "and 'h' has a shift",
    ),
    "a_batch_that_is_broadcast": (
        """
        g (float[1,2,3,3] x, float[2,2,1,1] w, float[2] scale, float[2] zero_bias, float[2] zero_mean, float[2] var)
                => (float[1,2,3,3] y) {
            r = Tanh (x)
            n = BatchNormalization (r, scale, zero_bias, zero_mean, var)
            axes = Constant <value_ints = [1]> ()
            m = ReduceMean (x, axes)
            h = MatMul (n, m)
            t = Transpose <perm = [0,1,3,2]> (n)
            k = MatMul (n, t)
            s = Add (h, k)
            y = Conv (s, w)
        }
        """,
        "broadcasts 'm' along the affine, or may do so",
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
    assert serialised(bnfold.fold(result.model).model) == serialised(result.model)
    return result


SCALE4 = "float[4] scale, float[4] zero_bias, float[4] zero_mean, float[4] var)"


def test_a_scale_behind_goes_along_the_columns_into_the_right_operand() -> None:
    fold_checked(f"""
        g (float[N,5,5] x, float[5,4] w, {SCALE4} => (float[N,4,5] y) {{
            a = MatMul (x, w)
            h = MatMul (x, a)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, zero_bias, zero_mean, var)
        }}
    """)


def test_a_scale_behind_goes_along_the_rows_into_the_left_operand() -> None:
    fold_checked(f"""
        g (float[N,5,5] x, float[4,5] w, {SCALE4} => (float[N,4,5] y) {{
            a = MatMul (w, x)
            h = MatMul (a, x)
            y = BatchNormalization (h, scale, zero_bias, zero_mean, var)
        }}
    """)


def test_one_number_goes_into_either_operand() -> None:
    """The left one cannot take it."""
    fold_checked("""
        g (float[N,1,5] x, float[5,5] w, float[1] scale, float[1] zero_bias, float[1] zero_mean, float[1] var)
                => (float[N,1,1] y) {
            a = MatMul (x, w)
            r = Tanh (x)
            t = Transpose <perm = [0,2,1]> (r)
            h = MatMul (a, t)
            y = BatchNormalization (h, scale, zero_bias, zero_mean, var)
        }
    """)


def test_a_scale_along_the_axis_that_is_summed_over_goes_into_the_other_operand() -> None:
    fold_checked(f"""
        g (float[N,5,4] x, float[4,4] w, {SCALE4} => (float[N,5,5] y) {{
            t = Transpose <perm = [0,2,1]> (x)
            r = Tanh (t)
            n = BatchNormalization (r, scale, zero_bias, zero_mean, var)
            a = MatMul (x, w)
            h = MatMul (a, n)
            y = Tanh (h)
        }}
    """)


def test_a_batch_that_the_right_operand_lacks_is_scaled_in_the_left_one() -> None:
    fold_checked("""
        g (float[1,2,3,4] x, float[2,2,1,1] w, float[2] scale, float[2] zero_bias, float[2] zero_mean, float[2] var)
                => (float[1,2,3,3] y) {
            axes = Constant <value_ints = [1]> ()
            m = ReduceMean (x, axes)
            t = Transpose <perm = [0,1,3,2]> (m)
            a = Conv (x, w)
            h = MatMul (a, t)
            y = BatchNormalization (h, scale, zero_bias, zero_mean, var)
        }
    """)


def test_scales_of_both_operands_meet_in_the_output() -> None:
    """Bilinear pooling: the rows and the columns of x·xᵀ."""
    fold_checked(f"""
        g (float[N,4,5] x, float[16,3] w, {SCALE4} => (float[N,3] y) {{
            r = Tanh (x)
            n = BatchNormalization (r, scale, zero_bias, zero_mean, var)
            t = Transpose <perm = [0,2,1]> (n)
            h = MatMul (n, t)
            f = Flatten (h)
            y = Gemm (f, w)
        }}
    """)


@pytest.mark.parametrize("on_left", [True, False])
def test_the_other_operand_makes_up_for_one_and_the_output(on_left) -> None:
    """Sum and product share the scale of n; a matrix between them is scaled along its rows and its columns."""
    data, product, turn = (
        ("n", "MatMul (m, n)", "Transpose <perm = [0,2,1]>") if on_left else ("t", "MatMul (t, m)", "Identity")
    )
    fold_checked(f"""
        g (float[1,4,5] x, float[5,16] w, float[4,3] v, {SCALE4} => (float[1,5,3] y) {{
            r = Tanh (x)
            n = BatchNormalization (r, scale, zero_bias, zero_mean, var)
            t = Transpose <perm = [0,2,1]> (n)
            axes = Constant <value_ints = [1]> ()
            g1 = ReduceMean <keepdims = 0> (r, axes)
            g2 = Gemm (g1, w)
            shape = Constant <value_ints = [1,4,4]> ()
            m = Reshape (g2, shape)
            h = {product}
            s = Add (h, {data})
            o = {turn} (s)
            y = MatMul (o, v)
        }}
    """)


@pytest.mark.parametrize(
    "between", ["q = Identity (p)", "q = Dropout (p)", "o = Transpose <perm = [0,2,1]> (p)\nq = Identity (o)"]
)
@pytest.mark.parametrize("axis", ["", "<axis = -1>", "<axis = 2>", "<axis = 1>"])
def test_a_shift_passes_beside_what_softmax_wrote(between, axis) -> None:
    """Where the rows sum to 1, and only there."""
    model = model_of(f"""
        g (float[N,4,5] x, float[5,4] w, float[5,4] v, float[4] b, BN4) => (float[N,4,4] y) {{
            scores = MatMul (x, w)
            p = Softmax {axis} (scores)
            {between}
            a = MatMul (x, v)
            c = Add (a, b)
            h = MatMul (q, c)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }}
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert (not result.kept) == (("Transpose" in between) == (axis == "<axis = 1>"))


@pytest.mark.parametrize(("axis", "folds"), [("", False), ("<axis = 2>", True), ("<axis = -1>", True)])
def test_softmax_of_one_axis_alone_before_opset_13(axis, folds) -> None:
    model = model_of(
        f"""
        g (float[N,4,5] x, float[5,4] w, float[5,4] v, float[4] b, BN4) => (float[N,4,4] y) {{
            scores = MatMul (x, w)
            p = Softmax {axis} (scores)
            a = MatMul (x, v)
            c = Add (a, b)
            h = MatMul (p, c)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }}
        """,
        opset=11,
        ir_version=6,
    )
    assert bool(bnfold.fold(model).kept) != folds


def test_a_shift_passes_forward_through_attention() -> None:
    fold_checked("""
        g (float[N,4,5] x, float[4,4] w, float[4,3] v, BN4) => (float[N,5,3] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            t = Transpose <perm = [0,2,1]> (n)
            u = Transpose <perm = [0,2,1]> (x)
            k = MatMul (u, x)
            p = Softmax (k)
            h = MatMul (p, t)
            y = MatMul (h, v)
        }
    """)


def test_a_channel_of_heads_is_scaled_in_the_values_of_each_head() -> None:
    """[N, 6, 4] is cut into two heads of 2 numbers: the affine varies along an axis of the batch as well."""
    fold_checked("""
        g (float[1,6,4] x, float[4,4] w, float[4,4] w2, float[4] b, BN4) => (float[1,4,6] y) {
            cut = Constant <value_ints = [1,6,2,2]> ()
            q1 = MatMul (x, w)
            q2 = Reshape (q1, cut)
            q = Transpose <perm = [0,2,1,3]> (q2)
            kt = Transpose <perm = [0,2,3,1]> (q2)
            scores = MatMul (q, kt)
            p = Softmax (scores)
            v1 = MatMul (x, w2)
            v2 = Add (v1, b)
            v3 = Reshape (v2, cut)
            v = Transpose <perm = [0,2,1,3]> (v3)
            h = MatMul (p, v)
            t = Transpose <perm = [0,2,1,3]> (h)
            joined = Constant <value_ints = [1,6,4]> ()
            r = Reshape (t, joined)
            c = Transpose <perm = [0,2,1]> (r)
            y = BatchNormalization (c, scale, bias, mean, var)
        }
    """)


def test_a_dead_channel_passes_in_the_values() -> None:
    text = f"""
        g (float[N,5,5] x, float[5,4] w, {SCALE4} => (float[N,4,5] y) {{
            a = MatMul (x, w)
            h = MatMul (x, a)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, zero_bias, zero_mean, var)
        }}
    """
    model = model_of(text)
    scale = constant(model, "scale").copy()
    scale[1] = 0
    set_constant(model, model.graph.initializers["scale"], scale)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept
    assert not np.abs(constant(result.model, "w")[:, 1]).any()


def test_a_channel_that_is_lost_in_both_operands_keeps_the_affine() -> None:
    model = model_of(f"""
        g (float[N,4,5] x, float[16,3] w, {SCALE4} => (float[N,3] y) {{
            r = Tanh (x)
            n = BatchNormalization (r, scale, zero_bias, zero_mean, var)
            t = Transpose <perm = [0,2,1]> (n)
            h = MatMul (n, t)
            f = Flatten (h)
            y = Gemm (f, w)
        }}
    """)
    set_constant(model, model.graph.initializers["scale"], np.array([0.0, 1.0, 2.0, 3.0]))
    assert "otherwise than by a scale" in bnfold.fold(model).kept[0].reason


def test_a_constant_that_is_wanted_beside_another_change_keeps_the_affine() -> None:
    model = model_of("""
        g (float[1,4,4] x, float[4,4,1] w, float[8] scale, float[8] zero_bias, float[8] zero_mean, float[8] var)
                => (float[1,8,4] y) {
            a = Conv (x, w)
            r = Tanh (x)
            h = MatMul (a, r)
            c = Concat <axis = 1> (a, h)
            y = BatchNormalization (c, scale, zero_bias, zero_mean, var)
        }
    """)
    set_constant(model, model.graph.initializers["scale"], np.array([0.0, 1, 2, 3, 4, 5, 6, 7]))
    assert "otherwise than by a scale" in bnfold.fold(model).kept[0].reason


def test_softmax_of_another_domain_need_not_sum_to_one() -> None:
    model = model_of("""
        g (float[N,4,5] x, float[5,4] w, float[5,4] v, BN4) => (float[N,4,4] y) {
            scores = MatMul (x, w)
            p = Softmax (scores)
            a = MatMul (x, v)
            h = MatMul (p, a)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
    """)
    softmax = model.graph.node(1)
    softmax.domain, model.opset_imports["custom"] = "custom", 1
    softmax.outputs[0].shape, model.graph.node(3).outputs[0].shape = ir.Shape(["N", 4, 4]), ir.Shape(["N", 4, 4])
    assert "and 'h' has a shift" in bnfold.fold(model).kept[0].reason


LEVIT = """
    levit (float[N,7,5] x, float[5,4] w, BN4) => (float[M,4] y) {
        m = MatMul (x, w)
        OTHER
        rows = Constant <value_ints = [-1, 4]> ()
        r = Reshape (m, rows)
        n = BatchNormalization (r, scale, bias, mean, var)
        y = Tanh (n)
    }
"""


def test_a_product_whose_rows_are_merged_becomes_a_gemm() -> None:
    """Graham et al. 2021, "LeViT": the bias of a Gemm costs no node, an Add behind the MatMul would."""
    model = model_of(LEVIT.replace("OTHER", ""))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert [node.op_type for node in result.model.graph] == ["Reshape", "Gemm", "Tanh"]
    assert serialised(bnfold.fold(result.model).model) == serialised(result.model)


def test_a_product_that_others_read_stays_one() -> None:
    model = model_of(LEVIT.replace("OTHER", "z = Shape (m)").replace("float[M,4] y", "float[M,4] y, int64[3] z"))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert [node.op_type for node in result.model.graph if node.op_type != "Constant"] == [
        "MatMul",
        "Add",
        "Shape",
        "Reshape",
        "Tanh",
    ]
