"""A shift that meets zero padding goes at a price, on demand: exact at the border, and only where it is wanted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.models import affines, model_of, serialised, set_constant


def op_types(model) -> Counter:
    return Counter(node.op_type for node in model.graph.all_nodes())


def fold_repaired(text: str, **options: object):
    model = model_of(text, **options)
    assert affines(bnfold.fold(model).model) == affines(model)
    result = bnfold.fold(model, repairs=True)
    oracle.assert_equal(model, result.model)
    assert serialised(bnfold.fold(result.model, repairs=True).model) == serialised(result.model)
    return result


STATIC = """
    g (float[N,2,5,6] x, float[4,1,3,3] w, float[4] c, BN2) => (float[N,4,P,Q] y) {
        n = BatchNormalization (x, scale, bias, mean, var)
        y = Conv <group = 2, ATTRIBUTES> (n, w, c)
    }
"""


@pytest.mark.parametrize(
    "attributes",
    [
        "pads = [1,1,1,1]",
        "pads = [0,2,1,0], strides = [2,1]",
        "pads = [2,2,2,2], dilations = [2,2]",
        'auto_pad = "SAME_UPPER"',
        'auto_pad = "SAME_LOWER", strides = [2,2]',
        'auto_pad = "SAME_UPPER", strides = [2,3]',
    ],
)
def test_a_constant_image_behind_makes_up_for_the_padding(attributes) -> None:
    result = fold_repaired(STATIC.replace("ATTRIBUTES", attributes))
    assert op_types(result.model) == {"Conv": 1, "Add": 1}


def test_an_affine_behind_goes_into_the_image_too() -> None:
    model = model_of(
        STATIC.replace("ATTRIBUTES", "pads = [1,1,1,1]")
        .replace("y = Conv", "h = Conv")
        .replace("w, c)", "w, c) k = BatchNormalization (h, scale2, bias2, mean2, var2) y = Tanh (k)")
        .replace("BN2", "float[4] scale2, float[4] bias2, float[4] mean2, float[4] var2, BN2")
    )
    result = bnfold.fold(model, repairs=True)
    oracle.assert_equal(model, result.model)
    assert op_types(result.model) == {"Conv": 1, "Add": 1, "Tanh": 1}


def test_one_number_for_all_channels_is_padded_with() -> None:
    """Sizes may be dynamic then."""
    text = STATIC.replace("ATTRIBUTES", "pads = [1,0,2,1]").replace("[N,2,5,6]", "[N,2,H,W]")
    text = text.replace("BN2", "float[2] scale, float[2] zero_bias, float[2] mean, float[2] var")
    model = model_of(text.replace("scale, bias", "scale, zero_bias"))
    set_constant(model, model.graph.initializers["mean"], np.full(2, 0.75))
    assert affines(bnfold.fold(model).model) == 1
    result = bnfold.fold(model, repairs=True)
    oracle.assert_equal(model, result.model)
    assert op_types(result.model) == {"Pad": 1, "Conv": 1}


ONES = """
    g (float[N,2,H,W] x, float[3,2,1,1] u, float[4,3,3,3] w, float[4] c, BN3) => (float[N,4,P,Q] y) {
        h = Conv (x, u)
        r = Relu (h)
        WAY
        n = BatchNormalization (p, scale, bias, mean, var)
        y = Conv <pads = [1,1,1,1]> (n, w, c)
    }
"""
POOL = "p = MaxPool <kernel_shape = [2,2], pads = [1,1,0,0]> (r)"


@pytest.mark.parametrize("way", [POOL, "p = Dropout (r)", "p = Identity (r)"])
def test_a_channel_of_ones_makes_up_for_padding_of_any_size(way) -> None:
    result = fold_repaired(ONES.replace("WAY", way))
    assert affines(result.model) == 0
    assert result.nodes_after == result.nodes_before - 1
    assert result.folded[0].route == "forward, with a channel of ones"
    graph = result.model.graph
    assert [tuple(node.inputs[1].const_value.shape.numpy())[:2] for node in graph if node.op_type == "Conv"] == [
        (4, 2),
        (4, 4),
    ]
    for node in graph:
        if node.op_type in ("Relu", "MaxPool") and node.outputs[0].shape is not None:
            assert node.outputs[0].shape[1] == 4


def test_a_clip_keeps_ones_where_its_limits_let_it() -> None:
    for high, stays in (("6.0", False), ("0.5", True)):
        text = ONES.replace(
            "WAY", "lo = Constant <value = double {0.0}> () hi = Constant <value = double {H}> () p = Clip (r, lo, hi)"
        )
        model = model_of(text.replace("{H}", f"{{{high}}}"))
        result = bnfold.fold(model, repairs=True)
        oracle.assert_equal(model, result.model)
        assert affines(result.model) == stays


# name: what stands in the way of a channel of ones
BARRED = {
    "another_reader": ("p = Identity (r) z = Tanh (r)", ", float[N,3,H,W] z"),
    "an_output": ("p = Identity (r)", ", float[N,3,H,W] p"),
    "an_op_that_changes_ones": ("p = Tanh (r)", ""),
    "an_average": ("p = AveragePool <kernel_shape = [2,2], pads = [1,1,0,0], count_include_pad = 1> (r)", ""),
    "a_second_reader_of_the_affine": ("p = Identity (r) z = Sigmoid (n)", ", float[N,3,H,W] z"),
    "a_second_reader_with_weights": ("p = Identity (r) z = ConvTranspose (n, t)", ", float[N,3,H,W] z"),
    "the_affine_is_an_output": ("p = Identity (r)", ", float[N,3,H,W] n"),
    "a_limit_computed_at_run_time": ('m = ReduceMean <keepdims = 0> (x) p = Clip (r, "", m)', ""),
}


@pytest.mark.parametrize("name", BARRED)
def test_no_channel_of_ones_where_others_would_see_it(name) -> None:
    way, outputs = BARRED[name]
    lines = way.split(" z = ")
    text = ONES.replace("WAY", lines[0]).replace("Q] y)", f"Q] y{outputs})")
    if len(lines) > 1:
        text = text.replace("(n, w, c)", f"(n, w, c)\n z = {lines[1]}")
    model = model_of(text.replace("BN3", "float[3,3,1,1] t, BN3"))
    result = bnfold.fold(model, repairs=True)
    oracle.assert_equal(model, result.model)
    assert serialised(result.model) == serialised(model)


# name: what is replaced in ONES, and by what
CHANGED = {
    "another_domain_on_the_way": {
        "WAY": "p = other.Identity (r)",
        "Q] y) {": "Q] y) <float[N,3,H,W] p> {",
    },
    "another_domain_behind": {"y = Conv <pads = [1,1,1,1]>": "y = other.Conv"},
    "a_weight_computed_at_run_time": {"y = Conv": "m = ReduceMax <keepdims = 0> (x) v = Mul (w, m) y = Conv"},
    "a_bias_computed_at_run_time": {"y = Conv": "m = ReduceMax <keepdims = 0> (x) b = Mul (c, m) y = Conv"},
}


@pytest.mark.parametrize("name", CHANGED)
def test_no_channel_of_ones_where_weights_are_not_known(name) -> None:
    text = ONES
    for old, new in CHANGED[name].items():
        text = text.replace(old, new)
    text = text.replace("WAY", "p = Identity (r)")
    text = text.replace("(n, w, c)", f"(n, {'v' if 'v =' in text else 'w'}, {'b' if 'b =' in text else 'c'})")
    model = model_of(text)
    assert serialised(bnfold.fold(model, repairs=True).model) == serialised(model)


@pytest.mark.parametrize("name", ["h", "r", "y"])
def test_no_channel_of_ones_where_a_node_was_asked_to_stay(name) -> None:
    model = model_of(ONES.replace("WAY", POOL))
    assert serialised(bnfold.fold(model, repairs=True, keep=[name]).model) == serialised(model)


def test_no_channel_of_ones_along_another_axis() -> None:
    text = ONES.replace("WAY", "p = Identity (r)").replace("[N,2,H,W] x", "[N,2,5,6] x").replace("BN3", "float[6] k")
    model = model_of(
        text.replace("BatchNormalization (p, scale, bias, mean, var)", "Add (p, k)").replace("k)", "k)", 1)
    )
    result = bnfold.fold(model, repairs=True)
    assert serialised(result.model) == serialised(model)


def test_no_channel_of_ones_where_places_are_counted() -> None:
    """The second output of MaxPool counts through all channels of all images."""
    text = ONES.replace("WAY", POOL.replace("p =", "p, i =")).replace("Q] y)", "Q] y, int64[N,3,H,W] i)")
    model = model_of(text)
    assert serialised(bnfold.fold(model, repairs=True).model) == serialised(model)


def test_no_channel_of_ones_out_of_the_range_of_float16() -> None:
    model = model_of(ONES.replace("WAY", POOL), dtype="float16")
    for name, number in (("w", 3000), ("bias", 60), ("scale", 1), ("mean", 0)):
        value = model.graph.initializers[name]
        set_constant(model, value, np.full(value.shape.numpy(), number, np.float16))
    assert serialised(bnfold.fold(model, repairs=True).model) == serialised(model)


def test_grouped_convs_get_no_channel_of_ones() -> None:
    text = ONES.replace("WAY", POOL).replace("float[4,3,3,3] w", "float[3,1,3,3] w").replace("float[4] c", "float[3] c")
    model = model_of(text.replace("y = Conv <", "y = Conv <group = 3, "))
    assert serialised(bnfold.fold(model, repairs=True).model) == serialised(model)


def test_an_image_that_is_too_large_is_not_made() -> None:
    text = STATIC.replace("ATTRIBUTES", "pads = [1,1,1,1]").replace("[N,2,5,6]", "[N,2,600,600]")
    kept = bnfold.fold(model_of(text), repairs=True).kept
    assert "1440000 numbers" in kept[0].reason


def test_repairs_work_in_float16_and_in_a_function() -> None:
    from tests.folding.ops.test_contract import in_a_function

    model = model_of(STATIC.replace("ATTRIBUTES", "pads = [1,1,1,1]"))
    inner = in_a_function(model)
    result = bnfold.fold(inner, repairs=True)
    oracle.assert_equal(inner, result.model)
    assert affines(result.model) == 0
    half = model_of(STATIC.replace("ATTRIBUTES", "pads = [1,1,1,1]"), dtype="float16")
    folded = bnfold.fold(half, repairs=True).model
    assert {value.dtype.name for value in folded.graph.initializers.values()} == {"FLOAT16"}
