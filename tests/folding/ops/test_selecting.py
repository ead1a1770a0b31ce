"""Slice and Gather: what they demand of one tensor is united, and each condition counts."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.conditions import assert_folds, assert_kept
from tests.helpers.models import affines, constant, model_of, set_constant

SLICE_9 = """
    g (float[N,6,5] x, float[6,6,1] w, BN6) => (float[N,6,5] y) {
        h = Conv (x, w)
        s = Slice <BOUNDS> (h)
        y = BatchNormalization (s, scale, bias, mean, var)
    }
"""
BROKEN = {
    "slice_by_bounds_computed_at_run_time": (
        """
        g (float[N,6,5] x, float[2,3,1] w, BN6) => (float[N,2,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            start = Constant <value_ints = [0]> ()
            sizes = Shape <start = 2, end = 3> (x)
            end = ReduceMax <keepdims = 1> (sizes)
            axes = Constant <value_ints = [1]> ()
            s = Slice (n, start, end, axes)
            y = Identity (s)
        }
        """,
        "has ends that are computed at run time",
    ),
    "slice_of_a_size_that_is_not_known": (
        """
        g (float[N,K,5] x, float[2,5,1] w, BN2) => (float[N,2,5] y) {
            t = Relu (x)
            start = Constant <value_ints = [0]> ()
            end = Constant <value_ints = [2]> ()
            axes = Constant <value_ints = [1]> ()
            s = Slice (t, start, end, axes)
            y = BatchNormalization (s, scale, bias, mean, var)
        }
        """,
        "selects from 't', whose size along axis 1 is not known",
    ),
    "slices_of_one_part_in_two_forms": (
        """
        g (float[N,2,5] x, float[6,2,1] w, BN4) => (float[N,4,5] y) {
            h = Conv (x, w)
            axes = Constant <value_ints = [1]> ()
            one = Constant <value_ints = [1]> ()
            two = Constant <value_ints = [2]> ()
            three = Constant <value_ints = [3]> ()
            four = Constant <value_ints = [4]> ()
            a = Slice (h, one, three, axes)
            b = Slice (h, two, four, axes)
            c = Concat <axis = 1> (a, b)
            y = BatchNormalization (c, scale, bias, mean, var)
        }
        """,
        "selects a part of 'h' that would be needed in two forms",
    ),
    "gather_of_a_channel_twice": (
        """
        g (float[N,2,5] x, float[4,2,1] w, BN3) => (float[N,3,5] y) {
            h = Conv (x, w)
            indices = Constant <value_ints = [1, 2, 1]> ()
            a = Gather <axis = 1> (h, indices)
            y = BatchNormalization (a, scale, bias, mean, var)
        }
        """,
        "selects a part of 'h' that would be needed in two forms",
    ),
    "gather_by_indices_computed_at_run_time": (
        """
        g (int64[2] x, float[3,2,5] u, float[4,2,1] w, BN2) => (float[3,2,5] y) {
            h = Conv (u, w)
            r = Relu (h)
            a = Gather <axis = 1> (h, x)
            y = BatchNormalization (a, scale, bias, mean, var)
        }
        """,
        "selects by indices that are computed at run time",
    ),
    "table_with_an_affine_along_the_indices": (
        """
        g (int64[N,3] x, float[9,4] w, BN3) => (float[N,3,4] y) {
            e = Gather (w, x)
            y = BatchNormalization (e, scale, bias, mean, var)
        }
        """,
        "gathers along the axes [1], along which the affine varies",
    ),
    "table_gathered_along_its_second_axis": (
        """
        g (int64[N] x, float[3,9,2] w, BN9) => (float[3,N,2] y) {
            e = Gather <axis = 1> (w, x)
            y = BatchNormalization (e, scale, bias, mean, var)
        }
        """,
        "gathers along the axes [1], along which the affine varies",
    ),
    "gather_by_a_table_of_indices_computed_at_run_time": (
        """
        g (int64[2,2] x, float[3,2,5] u, float[4,2,1] w, BN2) => (float[3,2,2,5] y) {
            h = Conv (u, w)
            a = Gather <axis = 1> (h, x)
            y = BatchNormalization (a, scale, bias, mean, var)
        }
        """,
        "selects by indices that are computed at run time",
    ),
    "slice_of_nothing": (
        """
        g (float[N,6,5] x, float[2,6,1] w, BN2) => (float[N,2,5] y) {
            h = Conv (x, w)
            two = Constant <value_ints = [2]> ()
            axes = Constant <value_ints = [1]> ()
            s = Slice (h, two, two, axes)
            c = Concat <axis = 1> (s, h)
            y = BatchNormalization (c, scale, bias, mean, var)
        }
        """,
        "Slice 's' selects nothing",
    ),
    "slice_without_starts": (SLICE_9.replace("BOUNDS", "ends = [6]"), "lacks its starts or its ends", {"opset": 9}),
    "slice_without_ends": (SLICE_9.replace("BOUNDS", "starts = [0]"), "lacks its starts or its ends", {"opset": 9}),
}

HALVES = """
    g (float[N,2,5] x, float[6,2,1] w, float[3] scale, float[3] bias, float[3] mean, float[3] var,
       float[3] scale2, float[3] bias2, float[3] mean2, float[3] var2) => (float[N,3,5] y, float[N,3,5] z) {
        h = Conv (x, w)
        zero = Constant <value_ints = [0]> ()
        three = Constant <value_ints = [3]> ()
        end = Constant <value_ints = [2147483647]> ()
        one = Constant <value_ints = [1]> ()
        low = Constant <value_ints = [0, 1, 2]> ()
        a = LOW
        b = Slice (h, three, end, one)
        REST
    }
"""
LOWS = ["Slice (h, zero, three, one)", "Gather <axis = 1> (h, low)"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    text, reason, *options = BROKEN[name]
    assert_kept(text, reason, **(options[0] if options else {}))


@pytest.mark.parametrize("low", LOWS)
def test_two_parts_of_one_conv_each_take_their_own_affine_back(low) -> None:
    rest = """
        y = BatchNormalization (a, scale, bias, mean, var)
        z = BatchNormalization (b, scale2, bias2, mean2, var2)
    """
    result = assert_folds(model_of(HALVES.replace("LOW", low).replace("REST", rest)))
    assert [entry.route for entry in result.folded] == ["back", "back"]
    assert [node.op_type for node in result.model.graph if node.op_type != "Constant"] == [
        "Conv",
        *low.split()[:1],
        "Slice",
    ]


@pytest.mark.parametrize("low", LOWS)
def test_the_part_that_has_no_affine_stays_as_it_is(low) -> None:
    rest = """
        y = BatchNormalization (a, scale, bias, mean, var)
        z = Tanh (b)
    """
    assert_folds(model_of(HALVES.replace("LOW", low).replace("REST", rest)))


@pytest.mark.parametrize("low", LOWS)
def test_demands_that_come_in_one_plan_are_united(low) -> None:
    text = HALVES.replace("LOW", low).replace("float[N,3,5] y, float[N,3,5] z", "float[N,6,5] y").replace("[3]", "[6]")
    rest = """
        c = Concat <axis = 1> (b, a)
        y = BatchNormalization (c, scale, bias, mean, var)
    """
    result = assert_folds(model_of(text.replace("REST", rest).replace("value_ints = [6]", "value_ints = [3]")))
    assert [entry.route for entry in result.folded] == ["back"]


def test_single_channels_each_take_their_own_affine_back() -> None:
    """One number says nothing about which axis it belongs to."""
    assert_folds(
        model_of("""
        g (float[N,3,5] x, float[2,3,1] w, float[1] scale, float[1] bias, float[1] mean, float[1] var,
           float[1] scale2, float[1] bias2, float[1] mean2, float[1] var2) => (float[N,1,5] y, float[N,1,5] z) {
            h = Conv (x, w)
            zero = Constant <value_ints = [0]> ()
            one = Constant <value_ints = [1]> ()
            a = Slice (h, zero, one, one)
            y = BatchNormalization (a, scale, bias, mean, var)
            u = Gather <axis = 1> (h, one)
            z = BatchNormalization (u, scale2, bias2, mean2, var2)
        }
    """)
    )


def test_a_slice_to_the_end_of_an_unknown_size_is_no_cut_there() -> None:
    """Each channel could not keep the other as it is if the slices were thought to crop as well."""
    assert_folds(
        model_of("""
        g (float[N,3,L] x, float[2,3,1] w, float[1] scale, float[1] bias, float[1] mean, float[1] var,
           float[1] scale2, float[1] bias2, float[1] mean2, float[1] var2) => (float[N,1,L] y, float[N,1,L] z) {
            h = Conv (x, w)
            zeros = Constant <value_ints = [0, 0]> ()
            one = Constant <value_ints = [1, 0]> ()
            axes = Constant <value_ints = [1, 2]> ()
            middle = Constant <value_ints = [1, 2147483647]> ()
            ends = Constant <value_ints = [2147483647, 2147483647]> ()
            a = Slice (h, zeros, middle, axes)
            b = Slice (h, one, ends, axes)
            n = BatchNormalization (a, scale, bias, mean, var)
            m = BatchNormalization (b, scale2, bias2, mean2, var2)
            y = Tanh (n)
            z = Tanh (m)
        }
    """)
    )


def test_one_channel_of_an_image_that_is_cropped() -> None:
    assert_folds(
        model_of("""
        g (float[N,3,5] x, float[1,3,1] w, BN1) => (float[N,1,3] y) {
            h = Conv (x, w)
            start = Constant <value_ints = [1]> ()
            end = Constant <value_ints = [-1]> ()
            axes = Constant <value_ints = [2]> ()
            a = Slice (h, start, end, axes)
            y = BatchNormalization (a, scale, bias, mean, var)
        }
    """)
    )


def test_a_crop_re_expresses_the_image_alike_even_of_unknown_size() -> None:
    assert_folds(
        model_of("""
        g (float[N,3,L] x, float[4,3,1] w, BN4) => (float[N,4,M] y) {
            h = Conv (x, w)
            start = Constant <value_ints = [1]> ()
            end = Constant <value_ints = [-1]> ()
            axes = Constant <value_ints = [2]> ()
            a = Slice (h, start, end, axes)
            y = BatchNormalization (a, scale, bias, mean, var)
        }
    """)
    )


def test_the_focus_of_a_detector_carries_forward() -> None:
    slices = "".join(
        f"""
            r{i} = Slice (n, o{i % 2}, end, rows, two)
            s{i} = Slice (r{i}, o{i // 2}, end, columns, two)"""
        for i in range(4)
    )
    assert_folds(
        model_of(f"""
        g (float[N,3,4,4] x, float[2,12,1,1] w, BN3) => (float[N,2,2,2] y) {{
            n = BatchNormalization (x, scale, bias, mean, var)
            o0 = Constant <value_ints = [0]> ()
            o1 = Constant <value_ints = [1]> ()
            two = Constant <value_ints = [2]> ()
            rows = Constant <value_ints = [2]> ()
            columns = Constant <value_ints = [3]> ()
            end = Constant <value_ints = [9223372036854775807]> ()
            {slices}
            c = Concat <axis = 1> (s0, s1, s2, s3)
            y = Conv (c, w)
        }}
    """)
    )


@pytest.mark.parametrize("bounds", [(-4, -1), (0, 3), (-100, 3), (1, 2**31 - 1), (0, 2**63 - 1)])
@pytest.mark.parametrize("side", ["back", "forward"])
def test_bounds_before_opset_10_are_attributes(bounds, side) -> None:
    size = len(range(4)[slice(*bounds)])
    start, end = bounds
    cut = f"Slice <axes = [1], starts = [{start}], ends = [{end}]>"
    back = f"""
        g (float[N,2,5] x, float[4,2,1] w, BN{size}) => (float[N,{size},5] y) {{
            h = Conv (x, w)
            a = {cut} (h)
            y = BatchNormalization (a, scale, bias, mean, var)
        }}
    """
    forward = f"""
        g (float[N,4,5] x, float[3,{size},1] w, BN4) => (float[N,3,5] y) {{
            h = BatchNormalization (x, scale, bias, mean, var)
            a = {cut} (h)
            y = Conv (a, w)
        }}
    """
    assert_folds(model_of(back if side == "back" else forward, opset=9, ir_version=8))


def test_a_slice_without_axes_cuts_the_first_ones() -> None:
    assert_folds(
        model_of("""
        g (float[2,2,5] x, float[4,2,1] w, BN2) => (float[1,2,5] y) {
            h = Conv (x, w)
            starts = Constant <value_ints = [1, 1]> ()
            ends = Constant <value_ints = [2, 3]> ()
            a = Slice (h, starts, ends)
            y = BatchNormalization (a, scale, bias, mean, var)
        }
    """)
    )


@pytest.mark.parametrize("shape", [(2, 2), (1, 4), (2, 1, 2)])
def test_the_indices_may_have_several_axes(shape) -> None:
    sizes = ",".join(map(str, shape))
    assert_folds(
        model_of(f"""
        g (float[N,6,5] x, float[4,7] w, float[7] c, BN6) => (float[N,5,7] y) {{
            n = BatchNormalization (x, scale, bias, mean, var)
            t = Transpose <perm = [0,2,1]> (n)
            picks = Constant <value = int64[{sizes}] {{5, -6, 2, 2}}> ()
            g = Gather <axis = -1> (t, picks)
            sizes = Constant <value_ints = [0, 5, 4]> ()
            r = Reshape (g, sizes)
            h = MatMul (r, w)
            y = Add (h, c)
        }}
    """)
    )


def test_indices_of_several_axes_scatter_back() -> None:
    assert_folds(
        model_of("""
        g (float[N,2,5] x, float[6,2,1] w, BN4) => (float[N,4,5] y) {
            h = Conv (x, w)
            picks = Constant <value = int64[2,2] {5, -6, 2, 1}> ()
            g = Gather <axis = 1> (h, picks)
            sizes = Constant <value_ints = [0, 4, 5]> ()
            r = Reshape (g, sizes)
            y = BatchNormalization (r, scale, bias, mean, var)
        }
    """)
    )


def test_a_channel_gathered_twice_may_be_wanted_twice_in_one_form() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[4,2,1] w, BN3) => (float[N,3,5] y) {
            h = Conv (x, w)
            indices = Constant <value_ints = [1, 2, 1]> ()
            a = Gather <axis = 1> (h, indices)
            y = BatchNormalization (a, scale, bias, mean, var)
        }
    """)
    for name in ("scale", "bias", "mean", "var"):
        value = constant(model, name).copy()
        value[2] = value[0]
        set_constant(model, model.graph.initializers[name], value)
    assert_folds(model)


def test_indices_known_at_run_time_only_pass_along_another_axis() -> None:
    assert_folds(
        model_of("""
        g (int64[2,2] x, float[3,2,5] u, float[4,2,1] w, BN4) => (float[3,4,2,2] y) {
            h = Conv (u, w)
            a = Gather <axis = 2> (h, x)
            y = BatchNormalization (a, scale, bias, mean, var)
        }
    """)
    )


def test_a_table_that_others_read_stays_as_it_is() -> None:
    model = model_of("""
        g (int64[N,3] x, float[9,4] w, float[5,9] v, BN4) => (float[N,4,3] y, float[5,4] z) {
            e = Gather (w, x)
            t = Transpose <perm = [0,2,1]> (e)
            y = BatchNormalization (t, scale, bias, mean, var)
            z = MatMul (v, w)
        }
    """)
    result = assert_folds(model)
    np.testing.assert_array_equal(constant(result.model, "w"), constant(model, "w"))


def test_a_dead_channel_of_a_part_goes_into_the_conv() -> None:
    rest = """
        y = BatchNormalization (a, scale, bias, mean, var)
        z = BatchNormalization (b, scale2, bias2, mean2, var2)
    """
    for low in LOWS:
        model = model_of(HALVES.replace("LOW", low).replace("REST", rest))
        scale = constant(model, "scale").copy()
        scale[1] = 0
        set_constant(model, model.graph.initializers["scale"], scale)
        result = bnfold.fold(model)
        oracle.assert_equal(model, result.model)
        assert affines(result.model) == 0
