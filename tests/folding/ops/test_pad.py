"""Pad: modes, the constant that is padded with, padded channels, and the opsets that turned attributes into inputs."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.conditions import assert_folds, assert_kept
from tests.helpers.models import constant, model_of, set_constant, without_shift

HEAD = "g (float[N,2,5] x, float[3,2,1] w, BN3) => (float[N,3,7] y)"
TAIL = "y = BatchNormalization (p, scale, bias, mean, var)"
BEHIND = f"""
    {HEAD} {{
        h = Conv (x, w)
        pads = Constant <value_ints = [0, 0, 1, 0, 0, 1]> ()
        PAD
        {TAIL}
    }}
"""
SAME_ZERO = """
    g (float[N,2,5] x, float[3,2,1] w, float[3] scale, float[3] zero_bias, float[1] mean, float[3] var)
            => (float[N,3,7] y) {
        h = Conv (x, w)
        pads = Constant <value_ints = [0, 0, 1, 0, 0, 1]> ()
        v = Constant <value = double {1.5}> ()
        p = Pad (h, pads, v)
        three = Constant <value_ints = [3]> ()
        means = Expand (mean, three)
        y = BatchNormalization (p, scale, zero_bias, means, var)
    }
"""
BROKEN = {
    "zeros_with_a_shift": (
        BEHIND.replace("PAD", "p = Pad (h, pads)"),
        "pads with 0, which would have to be different numbers for different cells",
    ),
    "number_with_a_scale": (
        """
        g (float[N,2,5] x, float[3,2,1] w, float[3] scale, float[3] zero_bias, float[3] zero_mean, float[3] var)
                => (float[N,3,7] y) {
            h = Conv (x, w)
            pads = Constant <value_ints = [0, 0, 1, 0, 0, 1]> ()
            v = Constant <value = double {1.5}> ()
            p = Pad (h, pads, v)
            y = BatchNormalization (p, scale, zero_bias, zero_mean, var)
        }
        """,
        "pads with 1.5, which would have to be different numbers for different cells",
    ),
    "number_computed_at_run_time": (
        BEHIND.replace(
            "PAD",
            """all = Constant <value_ints = [0, 1, 2]> ()
        v = ReduceMax <keepdims = 0> (x, all)
        p = Pad (h, pads, v)""",
        ),
        "pads with a value that is computed at run time",
    ),
    "pads_computed_at_run_time": (
        BEHIND.replace(
            "PAD", "many = Shape (x)\n        twice = Concat <axis = 0> (many, many)\n        p = Pad (h, twice)"
        ).replace("float[N,3,7] y", "float[N,3,M] y"),
        "has pads that are computed at run time",
    ),
    "reflection_along_the_affine": (
        """
        g (float[N,3,5] x, float[3,3,1] w, BN5) => (float[N,5,5] y) {
            t = Conv (x, w)
            pads = Constant <value_ints = [0, 1, 0, 0, 1, 0]> ()
            p = Pad <mode = "reflect"> (t, pads)
            y = BatchNormalization (p, scale, bias, mean, var)
        }
        """,
        "cuts cells off, or repeats them, along the axes [1], along which the affine varies",
    ),
    "channels_cut_off": (
        """
        g (float[N,3,5] x, float[3,3,1] v, BN2) => (float[N,2,5] y) {
            t = Conv (x, v)
            pads = Constant <value_ints = [0, -1, 0, 0, 0, 0]> ()
            p = Pad (t, pads)
            y = BatchNormalization (p, scale, bias, mean, var)
        }
        """,
        "cuts cells off, or repeats them, along the axes [1], along which the affine varies",
    ),
    "padded_channels_with_a_shift": (
        """
        g (float[N,3,5] x, float[3,3,1] v, BN5) => (float[N,5,5] y) {
            t = Conv (x, v)
            pads = Constant <value_ints = [0, 1, 0, 0, 1, 0]> ()
            p = Pad (t, pads)
            y = BatchNormalization (p, scale, bias, mean, var)
        }
        """,
        "pads with 0, which would have to be different numbers for different cells",
    ),
    "pads_that_are_absent": (BEHIND.replace("PAD", "p = Pad (h)"), "does not have two pads for each axis"),
    "pads_that_are_too_few": (
        BEHIND.replace("0, 0, 1, 0, 0, 1", "0, 0, 1").replace("PAD", "p = Pad (h, pads)"),
        "two pads",
    ),
    "a_number_of_a_type_that_is_not_known": (
        """
        g (float[N,2,5] x, float[1,2,1] w, float[4,1,1] v, BN1) => (float[N,1,7] y) {
            u = other.op (x)
            h = Conv (u, w)
            pads = Constant <value_ints = [0, 0, 1, 0, 0, 1]> ()
            p = Pad (h, pads)
            c = Conv (p, v)
            n = BatchNormalization (p, scale, bias, mean, var)
            y = Tanh (n)
        }
        """,
        "pads with 0, and of which type another number would have to be is not known",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
@pytest.mark.parametrize("side", ["back", "forward"])
def test_cells_of_the_data_take_any_affine(mode, side) -> None:
    if side == "back":
        assert_folds(model_of(BEHIND.replace("PAD", f'p = Pad <mode = "{mode}"> (h, pads)')))
        return
    assert_folds(
        model_of(f"""
        g (float[N,3,5] x, float[2,3,2] w, BN3) => (float[N,2,6] y) {{
            n = BatchNormalization (x, scale, bias, mean, var)
            pads = Constant <value_ints = [1, 1]> ()
            axes = Constant <value_ints = [-1]> ()
            p = Pad <mode = "{mode}"> (n, pads, "", axes)
            y = Conv (p, w)
        }}
    """)
    )


def test_negative_pads_take_any_affine() -> None:
    assert_folds(model_of(BEHIND.replace("1, 0, 0, 1]", "-1, 0, 0, -2]").replace("PAD", "p = Pad (h, pads)")))


def shared_number(model) -> None:
    """Make v′ = (v − shift)/scale, with scale·mean = −shift, the same for all channels."""
    scale = constant(model, "scale") / np.sqrt(constant(model, "var") + np.float64(np.float32(1e-5)))
    bias = 0.25 - scale * 1.5  # so that 1.5 becomes 0.25
    for name, array in (("zero_bias", bias), ("mean", np.zeros(1))):
        set_constant(model, model.graph.initializers[name], array)


def test_a_number_that_stays_one_number_is_rewritten() -> None:
    model = model_of(SAME_ZERO)
    shared_number(model)
    result = assert_folds(model)
    (pad,) = (node for node in result.model.graph if node.op_type == "Pad")
    value = pad.inputs[2]
    stored = value.const_value if value.is_initializer() else value.producer().attributes["value"].as_tensor()
    assert stored.numpy().size == 1
    np.testing.assert_allclose(stored.numpy(), 0.25, rtol=1e-12)


def test_a_number_that_is_absent_gets_the_type_of_the_data() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[1,2,1] w, BN1) => (float[N,1,7] y) {
            h = Conv (x, w)
            pads = Constant <value_ints = [0, 0, 1, 0, 0, 1]> ()
            p = Pad (h, pads)
            y = BatchNormalization (p, scale, bias, mean, var)
        }
    """)
    result = assert_folds(model)
    (pad,) = (node for node in result.model.graph if node.op_type == "Pad")
    assert pad.inputs[2].const_value.numpy().dtype == np.float64


@pytest.mark.parametrize("opset", [1, 2, 10])
@pytest.mark.parametrize("dtype", ["float", "double"])
def test_the_number_was_an_attribute_of_type_float(opset, dtype) -> None:
    name = "paddings" if opset == 1 else "pads"
    text = f"""
        g (float[3,2,5] x, float[1,2,1] w, BN1) => (float[3,1,7] y) {{
            h = Conv (x, w)
            p = Pad <{name} = [0, 0, 1, 0, 0, 1]> (h)
            y = BatchNormalization <is_test = 1> (p, scale, bias, mean, var)
        }}
    """
    if opset >= 7:
        text = text.replace(" <is_test = 1>", "")
    model = model_of(text, opset=opset, ir_version=8, dtype=dtype)
    result = bnfold.fold(model)
    if dtype == "double":
        assert "pads with a value of type float, which cannot be" in result.kept[0].reason
        return
    assert not result.kept
    (pad,) = (node for node in result.model.graph if node.op_type == "Pad")
    scale, bias, mean, var = (float(constant(model, n)[0]) for n in ("scale", "bias", "mean", "var"))
    np.testing.assert_allclose(pad.attributes["value"].value, bias - mean * scale / np.sqrt(var + 1e-5), rtol=1e-6)


def test_minus_infinity_stays_what_it_is() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[3,2,1] w, float[1] v, float[3] positive_scale, float[3] bias, float[3] mean,
           float[3] var) => (float[N,3,5] y) {
            h = Conv (x, w)
            pads = Constant <value_ints = [0, 0, 1, 0, 0, 1]> ()
            p = Pad (h, pads, v)
            m = MaxPool <kernel_shape = [3], strides = [1]> (p)
            y = BatchNormalization (m, positive_scale, bias, mean, var)
        }
    """)
    set_constant(model, model.graph.initializers["v"], np.array(-np.inf))
    assert_folds(model)


SHORTCUT = """
    g (float[N,2,4] x, float[3,2,1] w, float[5,2,1] v, float[5] scale, float[5] bias, float[5] mean, float[5] var)
            => (float[N,5,4] y) {
        h = Conv (x, w)
        pads = Constant <value_ints = [1, 1]> ()
        axes = Constant <value_ints = [1]> ()
        p = Pad (h, pads, "", axes)
        c = Conv (x, v)
        s = Add (p, c)
        y = BatchNormalization (s, scale, bias, mean, var)
    }
"""


def test_padded_channels_of_a_shortcut_take_any_scale() -> None:
    """The shift goes into the other branch."""
    assert_folds(model_of(SHORTCUT))


def test_dead_padded_channels_are_exact() -> None:
    model = model_of(SHORTCUT)
    scale = constant(model, "scale").copy()
    scale[[0, 2]] = 0
    set_constant(model, model.graph.initializers["scale"], scale)
    oracle.assert_equal(model, bnfold.fold(model).model)


def test_forward_the_padded_channels_stay_as_they_are() -> None:
    assert_folds(
        model_of("""
        g (float[N,3,4] x, float[2,5,1] w, BN3) => (float[N,2,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            pads = Constant <value_ints = [0, 1, 0, 0, 1, 0]> ()
            v = Constant <value = double {0.5}> ()
            p = Pad (n, pads, v)
            y = Conv (p, w)
        }
    """)
    )


def test_forward_a_padded_shortcut_shares_its_scale_with_the_other_branch() -> None:
    assert_folds(
        model_of("""
        g (float[N,3,4] x, float[5,3,1] w, float[2,5,1] v, BN3) => (float[N,2,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            pads = Constant <value_ints = [0, 1, 0, 0, 1, 0]> ()
            p = Pad (n, pads)
            c = Conv (x, w)
            s = Add (p, c)
            y = Conv (s, v)
        }
    """)
    )


def test_the_readers_of_padded_channels_decide_what_they_become() -> None:
    """Tile scales all six channels, and so the sum wants all six of the padded branch scaled."""
    assert_folds(
        model_of(
            without_shift("""
        g (float[N,3,4] x, float[2,6,1] v, BN3) => (float[N,2,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            pads = Constant <value_ints = [0, 0, 0, 0, 3, 0]> ()
            p = Pad (n, pads)
            repeats = Constant <value_ints = [1, 2, 1]> ()
            t = Tile (n, repeats)
            s = Add (p, t)
            y = Conv (s, v)
        }
    """)
        )
    )


def test_a_dead_channel_forward_must_be_what_is_padded_with() -> None:
    model = model_of("""
        g (float[N,3,4] x, float[2,3,1] w, float[3] scale, float[3] zero_bias, float[3] zero_mean, float[3] var)
                => (float[N,2,6] y) {
            n = BatchNormalization (x, scale, zero_bias, zero_mean, var)
            pads = Constant <value_ints = [0, 0, 1, 0, 0, 1]> ()
            p = Pad (n, pads)
            y = Conv (p, w)
        }
    """)
    scale = constant(model, "scale").copy()
    scale[0] = 0
    set_constant(model, model.graph.initializers["scale"], scale)
    assert_folds(model)
    bias = np.array([0.5, 0, 0])
    set_constant(model, model.graph.initializers["zero_bias"], bias)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert "pads with 0 channels that are another constant" in result.kept[0].reason
