"""What ``fold`` promises beyond its rules: where things go, why they stay, and the traps that others fell into."""

from __future__ import annotations

import dataclasses

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.models import affines, constant, example, model_of, parse, serialised, set_constant

CONV = """
    g (float[N,2,6,6] x, float[3,2,3,3] w, float[3] b, float[3] scale, float[3] bias, float[3] mean, float[3] var)
            => (float[N,3,4,4] y) {
        h = Conv (x, w, b)
        y = BatchNormalization (h, scale, bias, mean, var)
    }
"""


def fold_exactly(model: ir.Model, **options: object) -> bnfold.FoldResult:
    result = bnfold.fold(model, **options)
    oracle.assert_equal(model, result.model)
    return result


def kept_reason(model: ir.Model) -> str:
    result = fold_exactly(model)
    assert serialised(result.model) == serialised(model)
    (kept,) = result.kept
    return kept.reason


# What the result says


def test_says_where_each_affine_went() -> None:
    (folded,) = fold_exactly(example(CONV)).folded
    assert (folded.node, folded.route) == ("y", "back")
    assert [(a.op_type, a.constants) for a in folded.into] == [("Conv", ("w", "b"))]


def test_result_is_frozen_and_holds_a_new_model() -> None:
    model = example(CONV)
    result = bnfold.fold(model)
    assert result.model is not model
    assert (affines(model), affines(result.model)) == (1, 0)
    assert (result.nodes_before, result.nodes_after) == (2, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.kept = ()


def test_takes_a_path(tmp_path) -> None:
    ir.save(example(CONV), tmp_path / "m.onnx")
    from_path, from_model = bnfold.fold(tmp_path / "m.onnx"), bnfold.fold(example(CONV))
    assert serialised(from_path.model) == serialised(from_model.model)


def test_says_which_routes_were_tried_and_who_blocked_them() -> None:
    model = example("""
        g (float[N,2,6] x, float[3,2,3] w, float[2] scale, float[2] bias, float[2] mean, float[2] var)
                => (float[N,3,6] y) {
            h = Tanh (x)
            n = BatchNormalization (h, scale, bias, mean, var)
            y = Conv <pads = [1,1]> (n, w)
        }
    """)
    (kept,) = fold_exactly(model).kept
    assert [(a.route, a.node, a.op_type) for a in kept.attempts] == [
        ("back", "h", "Tanh"),
        ("forward", "y", "Conv"),
        ("shift back, scale forward", "h", "Tanh"),
    ]
    assert "is not linear: carries neither scale nor shift" in kept.reason
    assert "pads with zeros (pads = [1, 1])" in kept.reason


def test_interface_metadata_and_untouched_nodes_stay() -> None:
    model = example(CONV)
    model.doc_string, model.producer_name, model.metadata_props["key"] = "a model", "someone", "value"
    model.graph.doc_string = "a graph"
    model.graph.outputs[0].doc_string = "an output"
    folded = ir.to_proto(bnfold.fold(model).model)
    proto = ir.to_proto(model)
    for field in ("ir_version", "producer_name", "doc_string", "opset_import", "metadata_props"):
        assert getattr(folded, field) == getattr(proto, field)
    for field in ("name", "doc_string", "input", "output"):
        assert getattr(folded.graph, field) == getattr(proto.graph, field)


def test_nothing_to_fold_is_not_an_error() -> None:
    model = parse("g (float[N,2] x) => (float[N,2] y) { y = Relu (x) }")
    result = bnfold.fold(model)
    assert (result.folded, result.kept) == ((), ())
    assert serialised(result.model) == serialised(model)


def test_drops_what_nothing_reads_any_more() -> None:
    assert sorted(bnfold.fold(example(CONV)).model.graph.initializers) == ["b", "w"]


# Keeping chosen nodes


def test_keep_leaves_a_batch_normalization_alone() -> None:
    (kept,) = fold_exactly(example(CONV), keep=["y"]).kept
    assert (kept.node, kept.reason) == ("y", "asked to stay")


def test_keep_leaves_a_node_alone_that_would_absorb() -> None:
    (kept,) = fold_exactly(example(CONV), keep=["h*"]).kept
    assert "Conv 'h' was asked to stay as it is" in kept.reason


def test_a_pattern_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(bnfold.BnfoldError, match="no node has such a name"):
        bnfold.fold(example(CONV), keep=["typo"])


def test_keep_is_a_list() -> None:
    with pytest.raises(TypeError, match="not a string"):
        bnfold.fold(example(CONV), keep="y")


# Several affines


def test_two_affines_around_one_conv_cost_one_rounding() -> None:
    text = """
        g (float[N,2,5] x, float[3,2,3] w, float[2] scale, float[2] bias, float[2] mean, float[2] var,
           float[3] scale2, float[3] bias2, float[3] mean2, float[3] var2) => (float[N,3,3] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            h = Conv (n, w)
            y = BatchNormalization (h, scale2, bias2, mean2, var2)
        }
    """
    narrow, wide = example(text, dtype="float16"), example(text)
    for name, value in narrow.graph.initializers.items():
        set_constant(wide, wide.graph.initializers[name], value.const_value.numpy().astype(np.float64))
    narrow, wide = bnfold.fold(narrow), bnfold.fold(wide)
    assert not narrow.kept
    np.testing.assert_array_equal(constant(narrow.model, "w"), constant(wide.model, "w").astype(np.float16))


def test_a_shared_conv_weight_whose_readers_need_different_folds() -> None:
    model = example("""
        g (float[N,2,5] x, float[3,2,3] w, float[3] scale, float[3] bias, float[3] mean, float[3] var,
           float[3] scale2, float[3] bias2, float[3] mean2, float[3] var2) => (float[N,3,3] y, float[N,3,3] z) {
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
            i = Conv (x, w)
            z = BatchNormalization (i, scale2, bias2, mean2, var2)
        }
    """)
    assert not fold_exactly(model).kept


def test_a_conv_with_two_readers_of_which_one_is_normalised_stays() -> None:
    reason = kept_reason(
        example("""
        g (float[N,2,5] x, float[3,2,3] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,3] y, float[N,3,3] z) {
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
            z = Tanh (h)
        }
    """)
    )
    assert "Tanh 'z'" in reason


def test_an_identity_vanishes_wherever_it_stands() -> None:
    model = example("""
        g (float[N,2,5] x, float[2] zero_bias, float[2] zero_mean) => (float[N,2,5] y) {
            one = Constant <value = double[2] {1.0, 1.0}> ()
            h = Tanh (x)
            n = BatchNormalization <epsilon = 0.0> (h, one, zero_bias, zero_mean, one)
            y = Tanh (n)
        }
    """)
    result = fold_exactly(model)
    assert [node.op_type for node in result.model.graph] == ["Tanh", "Tanh"]


def test_an_identity_between_a_graph_input_and_a_graph_output_becomes_one() -> None:
    model = example("""
        g (float[N,2,5] x, float[2] zero_bias, float[2] zero_mean) => (float[N,2,5] y) {
            one = Constant <value = double[2] {1.0, 1.0}> ()
            y = BatchNormalization <epsilon = 0.0> (x, one, zero_bias, zero_mean, one)
        }
    """)
    result = fold_exactly(model)
    assert [node.op_type for node in result.model.graph] == ["Identity"]


def test_a_batch_normalization_between_input_and_output_stays() -> None:
    model = example("""
        g (float[N,2,5] x, float[2] scale, float[2] bias, float[2] mean, float[2] var) => (float[N,2,5] y) {
            y = BatchNormalization (x, scale, bias, mean, var)
        }
    """)
    reason = kept_reason(model)
    assert "'x', which is a graph input" in reason
    assert "'y', which is a graph output" in reason


# New nodes


def test_a_matmul_on_two_axes_becomes_a_gemm() -> None:
    model = example("""
        g (float[N,5] x, float[5,4] w, float[4] scale, float[4] bias, float[4] mean, float[4] var) => (float[N,4] y) {
            h = MatMul (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    assert [node.op_type for node in fold_exactly(model).model.graph] == ["Gemm"]


def test_a_matmul_on_three_axes_gets_an_add_and_no_gemm() -> None:
    model = example("""
        g (float[N,7,5] x, float[5,4] w, float[4] scale, float[4] bias, float[4] mean, float[4] var)
                => (float[N,4,7] y) {
            h = MatMul (x, w)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
    """)
    result = fold_exactly(model)
    assert [node.op_type for node in result.model.graph] == ["MatMul", "Add", "Transpose"]
    assert constant(result.model, "h.bias").shape == (4,)


def test_a_graph_output_keeps_its_name_behind_a_new_add() -> None:
    model = example("""
        g (float[N,4,5] x, float[3,4] w, float[4] scale, float[4] bias, float[4] mean, float[4] var)
                => (float[N,3,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = MatMul (w, n)
        }
    """)
    result = fold_exactly(model)
    assert [node.op_type for node in result.model.graph] == ["MatMul", "Add"]
    assert result.model.graph.outputs[0].name == "y"


def test_one_batch_normalization_is_not_traded_for_two_new_nodes() -> None:
    model = example("""
        g (float[N,4,5] x, float[3,4] w, float[3,4] v, float[4] scale, float[4] bias, float[4] mean, float[4] var)
                => (float[N,3,5] y, float[N,3,5] z) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = MatMul (w, n)
            z = MatMul (v, n)
        }
    """)
    assert affines(fold_exactly(model).model) == 1


# Numbers


def test_epsilon_defaults_to_1e_5() -> None:
    model = example(CONV)
    set_constant(model, model.graph.initializers["var"], np.full(3, 1e-6))
    fold_exactly(model)


def test_epsilon_does_not_underflow_in_float16() -> None:
    model = example(CONV.replace("(h, scale", "<epsilon = 0.00000001> (h, scale"), dtype="float16")
    set_constant(model, model.graph.initializers["var"], np.zeros(3, np.float16))
    for name in ("scale", "w"):
        value = model.graph.initializers[name]
        set_constant(model, value, value.const_value.numpy() * np.float16(1e-2))
    weight = constant(bnfold.fold(model).model, "w")
    assert np.isfinite(weight.astype(np.float32)).all()


def test_refuses_a_weight_beyond_the_range_of_float16() -> None:
    model = example(CONV, dtype="float16")
    set_constant(model, model.graph.initializers["scale"], np.full(3, 60000, np.float16))
    (kept,) = bnfold.fold(model).kept
    assert "beyond the range of FLOAT16" in kept.reason


def test_flushes_subnormal_weights_and_counts_them() -> None:
    model = example(CONV, dtype="float")
    set_constant(model, model.graph.initializers["scale"], np.array([1e-40, 1, 1], np.float32))
    result = bnfold.fold(model)
    assert result.flushed_subnormals > 0
    weight = constant(result.model, "w")
    assert not weight[0].any()
    assert weight[1:].all()


def test_keeps_subnormal_float16_weights() -> None:
    model = example(CONV, dtype="float16")
    set_constant(model, model.graph.initializers["scale"], np.array([1e-5, 1, 1], np.float16))
    result = bnfold.fold(model)
    assert result.flushed_subnormals == 0
    assert constant(result.model, "w")[0].any()


@pytest.mark.parametrize(("name", "number"), [("var", -1.0), ("mean", np.nan), ("bias", np.inf)])
def test_keeps_what_has_no_finite_affine(name, number) -> None:
    model = example(CONV)
    array = model.graph.initializers[name].const_value.numpy().copy()
    array[1] = number
    set_constant(model, model.graph.initializers[name], array)
    (kept,) = bnfold.fold(model).kept
    assert ("var + epsilon is not positive" if name == "var" else f"its {name} is {number}") in kept.reason
    assert kept.warning


def test_float32_parameters_of_a_float16_tensor_give_float16_weights() -> None:
    model = example(CONV, dtype="float16")
    for name in ("scale", "bias", "mean", "var"):
        value = model.graph.initializers[name]
        set_constant(model, value, value.const_value.numpy().astype(np.float32))
    folded = bnfold.fold(model).model
    assert {constant(folded, name).dtype for name in ("w", "b")} == {np.dtype(np.float16)}


def test_bfloat16_is_rounded_once() -> None:
    from bnfold.folding.rounding import round_once

    above_the_tie = np.array([1 + 2**-8 + 2**-40, -(1 + 2**-8 + 2**-40), 1 + 2**-8, 1 + 3 * 2**-8, 3e38, 1e-40, 0.0])
    rounded, flushed = round_once(above_the_tie, ir.DataType.BFLOAT16)
    want = [1 + 2**-7, -(1 + 2**-7), 1.0, 1 + 2**-6, float(ml_dtypes.bfloat16(3e38)), 0.0, 0.0]
    assert rounded.astype(np.float64).tolist() == want
    assert flushed == 1


# Broken models


@pytest.mark.parametrize("name", ["scale", "bias", "mean", "var"])
def test_channels_that_do_not_fit_are_an_error(name) -> None:
    model = example(CONV)
    set_constant(model, model.graph.initializers[name], np.ones(4))
    with pytest.raises(bnfold.ModelError, match="BatchNormalization 'y': its channels do not fit"):
        bnfold.fold(model)


def test_all_channels_wrong_is_an_error_too() -> None:
    model = example(CONV)
    for name in ("scale", "bias", "mean", "var"):
        set_constant(model, model.graph.initializers[name], np.ones(4))
    with pytest.raises(bnfold.ModelError, match=r"scale \[4\].*second axis of its input \[3\]"):
        bnfold.fold(model)


def test_an_op_of_another_domain_is_not_ours() -> None:
    model = parse("""
        g (float[N,2,5] x) => (y) { y = other.BatchNormalization (x, x, x, x, x) }
        <domain: "other", opset_import: ["": 20]>
        BatchNormalization (a, b, c, d, e) => (f) { f = Relu (a) }
    """)
    result = bnfold.fold(model)
    assert (result.folded, result.kept) == ((), ())


def test_siblings_that_share_a_weight_go_on_sharing_it() -> None:
    """A siamese network: two Convs with one weight, each before the same BatchNormalization."""
    model = model_of("""
        g (float[N,2,5] x, float[3,2,3] w, BN3) => (float[N,3,3] y, float[N,3,3] z) {
            a = Conv (x, w)
            y = BatchNormalization (a, scale, bias, mean, var)
            t = Tanh (x)
            b = Conv (t, w)
            z = BatchNormalization (b, scale, bias, mean, var)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    first, second = (node for node in result.model.graph if node.op_type == "Conv")
    assert first.inputs[1] is second.inputs[1]
    assert len([value for value in result.model.graph.initializers.values() if value.shape.rank() == 3]) == 1


def test_siblings_that_share_a_weight_part_where_their_affines_differ() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[3,2,3] w, float[3] scale2, BN3) => (float[N,3,3] y, float[N,3,3] z) {
            a = Conv (x, w)
            y = BatchNormalization (a, scale, bias, mean, var)
            t = Tanh (x)
            b = Conv (t, w)
            z = BatchNormalization (b, scale2, bias, mean, var)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    first, second = (node for node in result.model.graph if node.op_type == "Conv")
    assert first.inputs[1] is not second.inputs[1]


def test_a_factor_that_is_1_once_it_is_rounded_goes() -> None:
    """3·(1/3) is 1.00000003 in float64, and 1 in float32."""
    model = parse("""
        g (float[N,3,6] x) => (float[N,3,6] y) <float[1] s = {3.0}, float[1] u = {0.33333334}> {
            h = Mul (x, s)
            r = Relu (h)
            k = Mul (r, u)
            y = Tanh (k)
        }
    """)
    result = bnfold.fold(model)
    assert [node.op_type for node in result.model.graph] == ["Relu", "Tanh"]


def test_a_vector_times_a_tensor_is_left_alone() -> None:
    model = example("""
        g (float[5,4] x, float[5] w, float[1] s) => (float[4] y) {
            h = Mul (x, s)
            m = MatMul (w, h)
            y = Relu (m)
        }
    """)
    assert "multiplies a tensor of 2 axes with a constant of 1" in bnfold.fold(model).kept[0].reason
