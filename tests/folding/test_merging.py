"""Branches of a sum that convolve the same tensor become one Conv, where nothing but that is true."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.models import affines, example, model_of, serialised, set_constant


def op_types(model) -> Counter:
    return Counter(node.op_type for node in model.graph.all_nodes())


def test_repvgg_in_training_form_is_one_conv() -> None:
    """Ding et al. 2021: Conv3×3 + BN, Conv1×1 + BN and a bare BN."""
    model = example("""
        repvgg (float[N,4,H,W] x, float[4,2,3,3] w, float[4,2,1,1] v,
                float[4] scale, float[4] bias, float[4] mean, float[4] var,
                float[4] scale1, float[4] bias1, float[4] mean1, float[4] var1,
                float[4] scale2, float[4] bias2, float[4] mean2, float[4] var2) => (float[N,4,H,W] y) {
            a = Conv <group = 2, pads = [1,1,1,1]> (x, w)
            an = BatchNormalization (a, scale, bias, mean, var)
            b = Conv <group = 2> (x, v)
            bn = BatchNormalization (b, scale1, bias1, mean1, var1)
            xn = BatchNormalization (x, scale2, bias2, mean2, var2)
            s = Add (an, bn)
            t = Add (s, xn)
            y = Relu (t)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert op_types(result.model) == {"Conv": 1, "Relu": 1}
    assert not result.kept
    assert {entry.node: entry.route for entry in result.folded}["xn"] == "into a sibling branch"
    assert result.merged[0].nodes == ("b",)


TEMPLATE = """
    g (float[N,4,9] x, float[4,4,3] w, float[4,4,1] v, float[4,4,3] u, float[4,2,1] grouped, float[4] c,
       float[4,4,5] wide, float[4,1] k) => (float[N,4,L] y) {
        BODY
    }
"""

# name: (body, the ops that are left)
MERGED = {
    "identity": ("a = Conv <pads = [1,1]> (x, w) y = Add (x, a)", {"Conv": 1}),
    "difference": ("a = Conv <pads = [1,1]> (x, w, c) b = Conv (x, v, c) y = Sub (a, b)", {"Conv": 1}),
    "difference_of_the_other": ("a = Conv <pads = [1,1]> (x, w) b = Conv (x, v, c) y = Sub (b, a)", {"Conv": 1}),
    "minus_identity": ("a = Conv <pads = [1,1]> (x, w) y = Sub (a, x)", {"Conv": 1}),
    "same_auto_pad": ('a = Conv <auto_pad = "SAME_UPPER"> (x, w) b = Conv (x, v) y = Add (a, b)', {"Conv": 1}),
    "valid_crops_nothing": (
        'a = Conv <auto_pad = "VALID"> (x, w) b = Conv <pads = [0,0]> (x, u) y = Add (a, b)',
        {"Conv": 1},
    ),
    "one_sided_pads": ("a = Conv <pads = [2,0]> (x, w) b = Conv (x, v) y = Add (a, b)", {"Conv": 1}),
    "dilated": ("a = Conv <pads = [2,2], dilations = [2]> (x, w) b = Conv (x, v) y = Add (a, b)", {"Conv": 1}),
    "strided": (
        "a = Conv <pads = [1,1], strides = [2]> (x, w) b = Conv <strides = [2]> (x, v) y = Add (a, b)",
        {"Conv": 1},
    ),
    "three_in_five": ("a = Conv <pads = [1,1]> (x, w) b = Conv <pads = [2,2]> (x, wide) y = Add (a, b)", {"Conv": 1}),
    "nested_with_a_stranger": (
        "a = Conv <pads = [1,1]> (x, w) z = Tanh (x) s = Add (z, a) b = Conv (x, v) y = Add (s, b)",
        {"Conv": 1, "Tanh": 1, "Add": 1},
    ),
    "sum_of_three": (
        "a = Conv <pads = [1,1]> (x, w) z = Tanh (x) b = Conv (x, v) y = Sum (b, z, a)",
        {"Conv": 1, "Tanh": 1, "Sum": 1},
    ),
    "an_affine_of_the_tensor": ("m = Mul (x, k) a = Conv <pads = [1,1]> (x, w) y = Add (m, a)", {"Conv": 1}),
}


@pytest.mark.parametrize("name", MERGED)
def test_merges(name) -> None:
    body, left = MERGED[name]
    model = example(TEMPLATE.replace("BODY", body))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert op_types(result.model) == left
    assert serialised(bnfold.fold(result.model).model) == serialised(result.model)


# Each differs from one that merges in one thing.
KEPT = {
    "another_tensor": "t = Tanh (x) a = Conv <pads = [1,1]> (x, w) b = Conv (t, v) y = Add (a, b)",
    "another_group": "a = Conv <pads = [1,1]> (x, w) b = Conv <group = 2> (x, grouped) y = Add (a, b)",
    "pads_beyond_the_kernel": "a = Conv <pads = [1,1]> (x, w) b = Conv <pads = [2,0]> (x, u) y = Add (a, b)",
    "another_dilation": (
        "a = Conv <pads = [2,2]> (x, wide) b = Conv <pads = [2,2], dilations = [2]> (x, w) y = Add (a, b)"
    ),
    "another_stride": (
        "a = Conv <pads = [2,2], strides = [2]> (x, wide) b = Conv <dilations = [2]> (x, w) y = Add (a, b)"
    ),
    "identity_of_a_strided_one": "a = Conv <pads = [5,5], strides = [2]> (x, w) y = Add (a, x)",
    "even_kernel_and_same": 'a = Conv <auto_pad = "SAME_UPPER"> (x, even) y = Add (a, x)',
    "even_kernels_padded_at_other_ends": (
        'a = Conv <auto_pad = "SAME_UPPER"> (x, even) b = Conv <auto_pad = "SAME_LOWER"> (x, even) y = Add (a, b)'
    ),
    "same_of_a_stride_that_needs_no_padding": (
        'a = Conv <auto_pad = "SAME_UPPER", strides = [5]> (x, w) '
        "b = Conv <pads = [1,1], strides = [5]> (x, u) y = Add (a, b)"
    ),
    "a_weight_computed_at_run_time": (
        "m = ReduceMax <keepdims = 0> (x) r = Mul (v, m) a = Conv <pads = [1,1]> (x, w) b = Conv (x, r) y = Add (a, b)"
    ),
    "a_bias_computed_at_run_time": (
        "m = ReduceMax <keepdims = 0> (x) r = Mul (c, m) a = Conv <pads = [1,1]> (x, w) b = Conv (x, v, r) "
        "y = Add (a, b)"
    ),
    "an_affine_of_another_tensor": (
        "t = Tanh (x) m = Mul (t, k) a = Conv <pads = [1,1]> (x, w) b = Conv <group = 2> (x, grouped) y = Sum (a, b, m)"
    ),
    "a_third_of_another_tensor": (
        "t = Tanh (x) a = Conv <pads = [1,1]> (x, w) b = Conv <group = 2> (x, grouped) d = Conv (t, v) "
        "y = Sum (a, b, d)"
    ),
    "an_affine_along_another_axis": "m = Mul (x, along) a = Conv <pads = [1,1]> (x, w) y = Add (m, a)",
    # Of these one is a single position, which the sum broadcasts.
    "one_position_of_another_stride": "a = Conv <strides = [2]> (x, eight) b = Conv (x, eight) y = Add (a, b)",
    "one_position_of_another_dilation": "a = Conv (x, even) b = Conv <dilations = [8]> (x, even) y = Add (a, b)",
    "one_position_between_the_taps": (
        "a = Conv <pads = [1,0], dilations = [8]> (x, even) b = Conv <dilations = [8]> (x, even) y = Add (a, b)"
    ),
    "one_position_without_the_pads_behind": "a = Conv <pads = [0,8]> (x, nine) b = Conv (x, nine) y = Add (a, b)",
    "a_tensor_of_which_all_channels_get_one": "a = Conv <pads = [1,1]> (x, single) y = Add (x, a)",
}
MORE = """
    float[4,1] k, float[4,4,2] even, float[4,4,8] eight, float[4,4,9] nine, float[1,4,3] single, float[9] along
"""


@pytest.mark.parametrize("name", KEPT)
def test_leaves_alone(name) -> None:
    model = example(TEMPLATE.replace("float[4,1] k", MORE.strip()).replace("BODY", KEPT[name]))
    oracle.run(model, oracle.feeds_for(model))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert serialised(result.model) == serialised(model)


def test_a_branch_that_someone_else_reads_stays() -> None:
    text = """
        g (float[N,4,9] x, float[4,4,3] w, float[4,4,1] v) => (float[N,4,9] y, float[N,4,9] z) {
            a = Conv <pads = [1,1]> (x, w)
            b = Conv (x, v)
            y = Add (a, b)
            z = Tanh (READ)
        }
    """
    for read in ("a", "b"):
        model = example(text.replace("READ", read))
        assert serialised(bnfold.fold(model).model) == serialised(model)


# What is also an output of the graph, or read twice: (name, the call that writes it)
SEEN = {"b": "Conv (x, v)", "m": "Mul (x, k)"}


@pytest.mark.parametrize("name", SEEN)
@pytest.mark.parametrize("by", ["an output", "a reader"])
def test_a_branch_that_is_seen_elsewhere_stays(name, by) -> None:
    body = f"a = Conv <pads = [1,1]> (x, w) {name} = {SEEN[name]} y = Add (a, {name})"
    seen = name if by == "an output" else "z"
    text = TEMPLATE.replace("[N,4,L] y", f"[N,4,L] y, float[N,4,L] {seen}")
    model = example(text.replace("BODY", body if by == "an output" else f"{body} z = Tanh ({name})"))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert serialised(result.model) == serialised(model)


def test_a_conv_of_another_domain_is_no_conv() -> None:
    body = "a = Conv <pads = [1,1]> (x, w) b = other.Conv (x, v) y = Add (a, b)"
    model = example(TEMPLATE.replace("BODY", body))
    assert serialised(bnfold.fold(model).model) == serialised(model)


@pytest.mark.parametrize("name", ["w", "v", "c"])
def test_a_branch_that_is_not_finite_stays(name) -> None:
    model = example(TEMPLATE.replace("BODY", "a = Conv <pads = [1,1]> (x, w) b = Conv (x, v, c) y = Add (a, b)"))
    value = model.graph.initializers[name]
    set_constant(model, value, np.full(value.shape.numpy(), np.inf))
    assert serialised(bnfold.fold(model).model) == serialised(model)


def test_a_sum_of_three_loses_an_operand_only_on_demand() -> None:
    """No node goes; only the identity does."""
    model = example("""
        g (float[N,4,9] x, float[4,4,3] w) => (float[N,4,9] y) {
            a = Conv <pads = [1,1]> (x, w)
            z = Tanh (x)
            y = Sum (x, z, a)
        }
    """)
    assert serialised(bnfold.fold(model).model) == serialised(model)
    result = bnfold.fold(model, merge_branches=True)
    oracle.assert_equal(model, result.model)
    assert len(list(result.model.graph)[-1].inputs) == 2


def test_never_merges_when_told_so() -> None:
    model = example(TEMPLATE.replace("BODY", MERGED["identity"][0]))
    assert serialised(bnfold.fold(model, merge_branches=False).model) == serialised(model)


def test_what_was_asked_to_stay_is_not_merged() -> None:
    model = example(TEMPLATE.replace("BODY", MERGED["difference"][0]))
    for name in ("a", "b", "y"):
        result = bnfold.fold(model, keep=[name])
        assert op_types(result.model) == {"Conv": 2, "Sub": 1}


def test_a_weight_out_of_the_range_of_float16_is_not_made() -> None:
    model = example(TEMPLATE.replace("BODY", MERGED["three_in_five"][0]), dtype="float16")
    for name in ("w", "wide"):
        value = model.graph.initializers[name]
        set_constant(model, value, np.full(value.shape.numpy(), 60000, np.float16))
    assert serialised(bnfold.fold(model).model) == serialised(model)


def test_a_batch_norm_that_blocks_alone_goes_with_its_sibling() -> None:
    """x is a graph input and y a graph output: only the sum can take it in."""
    text = """
        g (float[N,4,5,5] x, float[4,1,3,3] w, BN4) => (float[N,4,5,5] y) {
            a = Conv <group = 4, pads = [1,1,1,1]> (x, w)
            n = BatchNormalization (x, scale, bias, mean, var)
            s = Add (n, a)
            y = Tanh (s)
        }
    """
    model = model_of(text)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert affines(result.model) == 0
    assert affines(bnfold.fold(model, merge_branches=False).model) == 1


@pytest.mark.parametrize("sum_", ["Add (a, c)", "Sub (c, a)"])
def test_a_sum_that_is_an_affine_itself_keeps_its_operand(sum_) -> None:
    """A constant along another axis than the channels: the Add is a site, and waits."""
    model = example(f"""
        g (float[N,3,5,5] x, float[3,3,1,1] w, float[3,3,1,1] v, float[1,1,5,1] c) => (float[N,3,5,5] y) {{
            a = Conv (x, w)
            s = {sum_}
            b = Conv (x, v)
            z = Add (s, b)
            y = Sigmoid (z)
        }}
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert serialised(bnfold.fold(result.model).model) == serialised(result.model)
