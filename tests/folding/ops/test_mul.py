"""Mul and Div of two tensors that are computed at run time."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.conditions import assert_kept
from tests.helpers.models import constant, model_of, set_constant

BROKEN = {
    "before_opset_7": (
        """
        g (float[N,3,5] x, float[3,3,1] w, float[3] scale, float[3] zero_bias, float[3] zero_mean, float[3] var)
                => (float[N,3,5] y) {
            a = Conv (x, w)
            b = Sigmoid (x)
            m = Mul (a, b)
            y = BatchNormalization <is_test = 1> (m, scale, zero_bias, zero_mean, var)
        }
        """,
        "Mul 'm' is of opset 6, whose broadcasting is another one",
        {"opset": 6, "ir_version": 8},
    ),
    "a_shift_behind": (
        """
        g (float[N,3,5] x, float[3,3,1] w, BN3) => (float[N,3,5] y) {
            a = Conv (x, w)
            b = Sigmoid (x)
            m = Mul (a, b)
            y = BatchNormalization (m, scale, bias, mean, var)
        }
        """,
        "Mul 'm' carries no shift",
        {},
    ),
    "a_shift_in_front": (
        """
        g (float[N,3,5] x, float[3,3,1] w, BN3) => (float[N,3,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            b = Sigmoid (x)
            m = Div (n, b)
            y = Conv (m, w)
        }
        """,
        "Div 'm' carries no shift",
        {},
    ),
    "a_factor_that_is_broadcast_along_the_channels": (
        """
        g (float[N,3,5] x, float[1,3,1] w, float[3] scale, float[3] zero_bias, float[3] zero_mean, float[3] var)
                => (float[N,3,5] y) {
            a = Conv (x, w)
            m = Mul (a, x)
            n = BatchNormalization (m, scale, zero_bias, zero_mean, var)
            y = Tanh (n)
        }
        """,
        "Mul 'm' broadcasts 'a' along the channels, or may do so",
        {},
    ),
    "a_factor_with_fewer_axes": (
        """
        g (float[1,3,5] x, float[5,5] w, float[3] scale, float[3] zero_bias, float[3] zero_mean, float[3] var)
                => (float[1,3,5] y) {
            axes = Constant <value_ints = [0, 1]> ()
            r = ReduceSum <keepdims = 0> (x, axes)
            first = Constant <value_ints = [0]> ()
            u = Unsqueeze (r, first)
            a = MatMul (u, w)
            s = Squeeze (a, first)
            m = Mul (s, x)
            n = BatchNormalization (m, scale, zero_bias, zero_mean, var)
            y = Tanh (n)
        }
        """,
        "Mul 'm' broadcasts 's' along the channels, or may do so",
        {},
    ),
    "factors_that_are_both_pinned": (
        """
        g (float[N,3,5] x, float[3] scale, float[3] zero_bias, float[3] zero_mean, float[3] var) => (float[N,3,5] y) {
            m = Mul (x, x)
            n = BatchNormalization (m, scale, zero_bias, zero_mean, var)
            y = Tanh (n)
        }
        """,
        "Mul 'm' has no tensor that could take the scale: 'x' is a graph input",
        {},
    ),
    "a_tensor_divided_by_itself": (
        """
        g (float[N,3,5] x, float[3,3,1] w, BN3) => (float[N,3,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            m = Div (n, n)
            y = Conv (m, w)
        }
        """,
        "Div 'm' divides a tensor by itself",
        {},
    ),
    "a_constant_divided_by_a_constant": (
        """
        g (float[3,3,5] x, float[1,3,1] a, float[1,3,1] b, BN3) => (float[1,3,1] y) {
            m = Mul (a, b)
            y = BatchNormalization (m, scale, bias, mean, var)
        }
        """,
        "would change 'a', which is a constant",
        {},
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    text, reason, options = BROKEN[name]
    assert_kept(text, reason, **options)


def no_shift(text: str, scale: object = None, **options: object):
    model = model_of(text.replace("BN3)", "float[3] scale, float[3] zero_bias, float[3] zero_mean, float[3] var)"))
    if scale is not None:
        set_constant(model, model.graph.initializers["scale"], np.array(scale, float))
    return model


def folded(model) -> bnfold.FoldResult:
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept
    return result


SQUEEZE_AND_EXCITATION = """
    g (float[N,3,4,4] x, float[3,3,1,1] w, float[3,2] v, float[2,3] u, float[4,3,1,1] z, BN3) => (float[N,4,4,4] y) {
        c = Conv (x, w)
        n = BatchNormalization (c, scale, zero_bias, zero_mean, var)
        p = GlobalAveragePool (n)
        f = Flatten (p)
        g = Gemm (f, v)
        r = Relu (g)
        h = Gemm (r, u)
        s = Sigmoid (h)
        axes = Constant <value_ints = [2, 3]> ()
        e = Unsqueeze (s, axes)
        m = Mul (e, n)
        y = Conv (m, z)
    }
"""


def test_a_gate_of_the_same_tensor_is_compensated() -> None:
    """Forward: the scale leaves through the product, and the gate's own Gemm takes it in."""
    model = no_shift(SQUEEZE_AND_EXCITATION.replace("c = Conv (x, w)", "d = Conv (x, w)\n c = Tanh (d)"), [0.5, -1, 3])
    result = folded(model)
    (entry,) = result.folded
    assert {absorption.op_type for absorption in entry.into} == {"Gemm", "Conv"}
    assert entry.route == "forward"


def test_behind_a_gate_the_tensor_takes_the_scale_and_the_gate_is_compensated() -> None:
    model = no_shift(
        """
        g (float[N,3,4,4] x, float[3,3,1,1] w, float[3,3,1,1] v, BN3) => (float[N,3,4,4] y) {
            c = Conv (x, w)
            p = GlobalAveragePool (c)
            h = Conv (p, v)
            s = HardSigmoid (h)
            m = Mul (c, s)
            n = BatchNormalization (m, scale, zero_bias, zero_mean, var)
            y = Tanh (n)
        }
        """,
        [0.5, -1, 3],
    )
    (entry,) = folded(model).folded
    assert [absorption.node for absorption in entry.into] == ["c", "h"]


def test_a_swish_that_is_written_out_blocks() -> None:
    model = no_shift("""
        g (float[N,3,5] x, float[4,3,1] v, BN3) => (float[N,4,5] y) {
            n = BatchNormalization (x, scale, zero_bias, zero_mean, var)
            s = Sigmoid (n)
            m = Mul (n, s)
            y = Conv (m, v)
        }
    """)
    (kept,) = bnfold.fold(model).kept
    assert "Sigmoid 's' is not linear" in kept.reason


@pytest.mark.parametrize(
    "product", ["Mul (n, b)", "Mul (b, n)", "Div (n, b)", "Div (b, n)", "Mul (n, n)", "Mul (n, r)", "Div (r, n)"]
)
def test_in_front_the_scale_leaves_through_the_output(product) -> None:
    model = no_shift(
        f"""
        g (float[N,3,5] x, float[4,3,1] v, BN3) => (float[N,4,5] y) {{
            t = Exp (x)
            b = Sigmoid (x)
            n = BatchNormalization (t, scale, zero_bias, zero_mean, var)
            r = Neg (n)
            m = {product}
            y = Conv (m, v)
        }}
        """,
        [0.5, -1, 3],
    )
    (entry,) = folded(model).folded
    if "r" not in product:
        assert [absorption.node for absorption in entry.into] == ["y"]


@pytest.mark.parametrize(
    ("product", "factor"), [("Mul (a, b)", 2.0), ("Mul (b, a)", 2.0), ("Div (a, b)", 2.0), ("Div (b, a)", 0.5)]
)
def test_behind_the_scale_goes_into_an_operand(product, factor) -> None:
    model = no_shift(
        f"""
        g (float[N,3,5] x, float[3,3,1] positive_w, BN3) => (float[N,3,5] y) {{
            b = Exp (x)
            s = Sigmoid (x)
            a = Conv (s, positive_w)
            m = {product}
            n = BatchNormalization <epsilon = 0.0> (m, scale, zero_bias, zero_mean, var)
            y = Tanh (n)
        }}
        """,
        [2.0, 2, 2],
    )
    set_constant(model, model.graph.initializers["var"], np.ones(3))
    before = constant(model, "positive_w").copy()
    np.testing.assert_allclose(constant(folded(model).model, "positive_w"), factor * before)


def test_behind_a_square_its_root_goes_in_front() -> None:
    text = """
        g (float[N,3,5] x, float[3,3,1] w, BN3) => (float[N,3,5] y) {
            a = Conv (x, w)
            m = Mul (a, a)
            n = BatchNormalization (m, scale, zero_bias, zero_mean, var)
            y = Tanh (n)
        }
    """
    folded(no_shift(text, [0.5, 1, 3]))
    folded(no_shift(text, [0.5, 0, 3]))
    (kept,) = bnfold.fold(no_shift(text, [0.5, -1, 3])).kept
    assert "has scales that no scale of 'a' could make up for" in kept.reason


def test_scales_that_cancel_leave_the_output_alone() -> None:
    model = no_shift(
        """
        g (float[N,3,5] x, BN3) => (float[N,3,5] y) {
            e = Exp (x)
            n = BatchNormalization (e, scale, zero_bias, zero_mean, var)
            r = Neg (n)
            m = Div (n, r)
            y = Tanh (m)
        }
        """,
        [0.5, -1, 3],
    )
    folded(model)


def test_scales_that_do_not_multiply_up_block() -> None:
    """The root of the scale would do; that is not looked for."""
    model = no_shift("""
        g (float[N,3,5] x, float[3,3,1] w, BN3) => (float[N,3,5] y) {
            a = Conv (x, w)
            r = Neg (a)
            m = Mul (a, r)
            n = BatchNormalization (m, scale, zero_bias, zero_mean, var)
            y = Tanh (n)
        }
    """)
    (kept,) = bnfold.fold(model).kept
    assert "Mul 'm' has scales that do not multiply up" in kept.reason


def test_operands_of_fewer_axes_carry_a_scale_along_their_own() -> None:
    text = """
        g (float[2,3,5] x, float[5,4] w, float[5,4] v, BN3) => (float[2,3,4] y) {
            a = MatMul (x, w)
            b = Exp (a)
            s = Sigmoid (x)
            axes = Constant <value_ints = [0]> ()
            r = ReduceMean <keepdims = 0> (s, axes)
            c = MatMul (r, v)
            m = Mul (c, b)
            t = Transpose <perm = [0,2,1]> (m)
            n = BatchNormalization (t, scale, zero_bias, zero_mean, var)
            u = Transpose <perm = [0,2,1]> (n)
            y = Tanh (u)
        }
    """
    result = folded(no_shift(text.replace("5,4", "5,3").replace("2,3,4", "2,3,3")))
    assert [absorption.node for absorption in result.folded[0].into] == ["c"]


@pytest.mark.parametrize(
    ("product", "folds"), [("Mul (n, b)", True), ("Mul (n, n)", True), ("Div (n, b)", True), ("Div (b, n)", False)]
)
def test_a_dead_channel_in_front(product, folds) -> None:
    text = f"""
        g (float[N,3,5] x, float[4,3,1] v, BN3) => (float[N,4,5] y) {{
            t = Exp (x)
            b = Sigmoid (x)
            n = BatchNormalization (t, scale, zero_bias, zero_mean, var)
            m = {product}
            y = Conv (m, v)
        }}
    """
    model = no_shift(text, [0.0, -1, 3])
    if folds:
        folded(model)
        set_constant(model, model.graph.initializers["zero_bias"], np.array([0.5, 0, 0]))
        assert "carries no shift" in bnfold.fold(model).kept[0].reason
    else:
        assert "has scales that no scale of 'm' could make up for" in bnfold.fold(model).kept[0].reason


@pytest.mark.parametrize(("product", "folds"), [("Mul (a, b)", True), ("Div (a, b)", True), ("Div (b, a)", False)])
def test_a_dead_channel_behind(product, folds) -> None:
    text = f"""
        g (float[N,3,5] x, float[3,3,1] w, BN3) => (float[N,3,5] y) {{
            a = Conv (x, w)
            b = Exp (x)
            m = {product}
            n = BatchNormalization (m, scale, zero_bias, zero_mean, var)
            y = Tanh (n)
        }}
    """
    model = no_shift(text, [0.0, -1, 3])
    if folds:
        assert not constant(folded(model).model, "w")[0].any()
        set_constant(model, model.graph.initializers["zero_bias"], np.array([0.5, 0, 0]))
        assert "carries no shift" in bnfold.fold(model).kept[0].reason
    else:
        result = bnfold.fold(model)
        assert result.kept


def test_a_dead_factor_that_is_also_read_by_a_product_blocks() -> None:
    model = no_shift(
        """
        g (float[N,3,5] x, float[3,3,1] w, float[4,3,1] v, BN3) => (float[N,3,5] y, float[N,4,5] z) {
            a = Conv (x, w)
            n = BatchNormalization (a, scale, zero_bias, zero_mean, var)
            y = Tanh (n)
            b = Sigmoid (x)
            m = Mul (a, b)
            z = Conv (m, v)
        }
        """,
        [0.0, -1, 3],
    )
    (kept,) = bnfold.fold(model).kept
    assert "Mul 'm' also reads 'a', of which the fold leaves only a constant" in kept.reason
