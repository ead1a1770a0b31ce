"""Quantised weights: their scales take an affine in, and their integers stay as they are."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.conditions import assert_kept
from tests.helpers.models import affines, constant, model_of, serialised, set_constant

_POSITIVE = "float[C] positive_scale, float[C] bias, float[C] mean, float[C] var)"

# name: (what makes the model, part of the reason, opset)
BROKEN = {
    "activations": (  # condition 1
        """
        g (float[N,4,6] x, float[6,4,1] w, float[] positive_step, int8[] point, POSITIVE6) => (float[N,6,6] y) {
            h = Conv (x, w)
            q = QuantizeLinear (h, positive_step, point)
            d = DequantizeLinear (q, positive_step, point)
            y = BatchNormalization (d, positive_scale, bias, mean, var)
        }
        """,
        "DequantizeLinear 'd' quantises an activation: a fold across it would not be exact bit for bit",
        20,
    ),
    "activations_in_front": (  # condition 1
        """
        g (float[N,4,6] x, float[6,4,1] w, float[] positive_step, int8[] point, POSITIVE4) => (float[N,6,6] y) {
            n = BatchNormalization (x, positive_scale, bias, mean, var)
            q = QuantizeLinear (n, positive_step, point)
            d = DequantizeLinear (q, positive_step, point)
            y = Conv (d, w)
        }
        """,
        "QuantizeLinear 'q' quantises an activation",
        20,
    ),
    "negative": (  # condition 2
        """
        g (float[N,4,6] x, int8[6,4,1] q, float[] positive_step, int8[] point, BN6) => (float[N,6,6] y) {
            w = DequantizeLinear (q, positive_step, point)
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "would need a quantisation scale that is negative",
        20,
    ),
    "zero": (  # condition 2
        """
        g (float[N,4,6] x, int8[6,4,1] q, float[] positive_step, int8[] point, float[6] zero_scale, float[6] bias,
           float[6] mean, float[6] var) => (float[N,6,6] y) {
            w = DequantizeLinear (q, positive_step, point)
            h = Conv (x, w)
            y = BatchNormalization (h, zero_scale, bias, mean, var)
        }
        """,
        "would need a quantisation scale that is 0",
        20,
    ),
    "another_axis": (  # condition 3
        """
        g (float[N,4,6] x, int8[6,4,1] q, float[6] positive_step, int8[6] point, POSITIVE4) => (float[N,6,6] y) {
            n = BatchNormalization (x, positive_scale, bias, mean, var)
            w = DequantizeLinear <axis = -3> (q, positive_step, point)
            y = Conv (n, w)
        }
        """,
        "has one scale for each index of axis 0, but the affine varies along 1",
        20,
    ),
    "two_axes": (  # condition 3
        """
        g (float[N,4,6] x, int8[6,2,1] q, float[] positive_step, int8[] point, POSITIVE4) => (float[N,6,6] y) {
            n = BatchNormalization (x, positive_scale, bias, mean, var)
            w = DequantizeLinear (q, positive_step, point)
            y = Conv <group = 2> (n, w)
        }
        """,
        "has one scale for each index of one axis, at most, but the affine varies along 0, 1",
        20,
    ),
    "before_opset_13": (  # condition 3
        """
        g (float[N,4,6] x, int8[6,4,1] q, float[] positive_step, int8[] point, POSITIVE6) => (float[N,6,6] y) {
            w = DequantizeLinear (q, positive_step, point)
            h = Conv (x, w)
            y = BatchNormalization (h, positive_scale, bias, mean, var)
        }
        """,
        "is of opset 12, with one scale for the whole tensor",
        12,
    ),
    "within_a_block": (  # condition 3
        """
        g (float[N,4] x, int8[4,6] q, float[2,6] positive_step, POSITIVE4) => (float[N,6] y) {
            n = BatchNormalization (x, positive_scale, bias, mean, var)
            w = DequantizeLinear <axis = 0, block_size = 2> (q, positive_step)
            y = Gemm (n, w)
        }
        """,
        "has one scale for each block of 2, but the affine varies within a block",
        21,
    ),
    "a_shift_of_8_bits": (  # condition 4
        """
        g (float[N,4,6] x, float[6,4,1] w, int8[6] q, float[] positive_step, int8[] point, POSITIVE6)
                => (float[N,6,6] y) {
            b = DequantizeLinear (q, positive_step, point)
            h = Conv (x, w, b)
            y = BatchNormalization (h, positive_scale, bias, mean, var)
        }
        """,
        "DequantizeLinear 'b' has integers that a shift would change",
        20,
    ),
    "a_step_that_is_not_constant": (
        """
        g (float[6] x, float[1,4,6] u, int8[6,4,1] q, POSITIVE6) => (float[1,6,6] y) {
            w = DequantizeLinear <axis = 0> (q, x)
            h = Conv (u, w)
            y = BatchNormalization (h, positive_scale, bias, mean, var)
        }
        """,
        "has a scale that is not a floating-point constant",
        20,
    ),
}


def quantised(text: str, **options: object) -> ir.Model:
    for channels in "456":
        text = text.replace(f"POSITIVE{channels})", _POSITIVE.replace("C", channels))
    return model_of(text, **options)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    text, reason, opset = BROKEN[name]
    for channels in "456":
        text = text.replace(f"POSITIVE{channels})", _POSITIVE.replace("C", channels))
    assert_kept(text, reason, opset=opset)


def fold_checked(model: ir.Model, **options: float) -> bnfold.FoldResult:
    before = serialised(model)
    result = bnfold.fold(model)
    assert serialised(model) == before
    assert not result.kept, result.kept
    oracle.assert_equal(model, result.model, **options)
    assert serialised(bnfold.fold(result.model).model) == serialised(result.model)
    return result


CONV = """
    g (float[N,4,6] x, TYPE[6,4,1] q, float[STEPS] positive_step, TYPE[STEPS] point, POSITIVE6) => (float[N,6,6] y) {
        w = DequantizeLinear <axis = 0> (q, positive_step, point)
        h = Conv (x, w)
        y = BatchNormalization (h, positive_scale, bias, mean, var)
    }
"""


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "int4", "uint4"])
@pytest.mark.parametrize("steps", ["", "1", "6"])
def test_the_integers_stay_and_the_scale_becomes_one_for_each_channel(kind, steps) -> None:
    model = quantised(CONV.replace("TYPE", "int8").replace("STEPS", steps), opset=21)
    dtype = ir.DataType[kind.upper()].numpy()
    for name in ("q", "point"):
        small = constant(model, name) % 8 if "4" in kind else constant(model, name) % 100
        set_constant(model, model.graph.initializers[name], small.astype(dtype))
    folded = fold_checked(model).model
    np.testing.assert_array_equal(constant(folded, "q"), constant(model, "q"))
    np.testing.assert_array_equal(constant(folded, "point"), np.broadcast_to(constant(model, "point"), 6))
    assert constant(folded, "point").dtype == constant(folded, "q").dtype == dtype
    assert constant(folded, "positive_step").shape == (6,)
    (dequantise,) = (node for node in folded.graph if node.op_type == "DequantizeLinear")
    assert dequantise.attributes["axis"].as_int() == 0


def test_a_tensor_without_an_axis_gets_one() -> None:
    model = quantised(CONV.replace("TYPE", "int8").replace("STEPS", "").replace("<axis = 0>", ""), opset=13)
    folded = fold_checked(
        model, tolerance=1e-7
    ).model  # before opset 19 what is dequantised is float32, and so is a bias
    (dequantise,) = (node for node in folded.graph if node.op_type == "DequantizeLinear")
    assert dequantise.attributes["axis"].as_int() == 0


def test_one_scale_for_the_whole_tensor_does_before_opset_13() -> None:
    text = CONV.replace("TYPE", "uint8").replace("STEPS", "").replace("<axis = 0>", "")
    model = quantised(text, opset=10, ir_version=5)
    for name in ("positive_scale", "var"):
        set_constant(model, model.graph.initializers[name], np.full(6, 0.7))
    folded = fold_checked(model, tolerance=1e-7).model
    assert constant(folded, "positive_step").shape == constant(folded, "point").shape == ()


def test_a_shared_tensor_of_integers_and_a_shared_scale_stay_for_their_other_reader() -> None:
    model = quantised("""
        g (float[N,4,6] x, int8[6,4,1] q, float[] positive_step, int8[] point, POSITIVE6)
                => (float[N,6,6] y, float[N,6,6] z) {
            w = DequantizeLinear (q, positive_step, point)
            h = Conv (x, w)
            y = BatchNormalization (h, positive_scale, bias, mean, var)
            v = DequantizeLinear (q, positive_step, point)
            z = Conv (x, v)
        }
    """)
    folded = fold_checked(model).model
    assert constant(folded, "positive_step").shape == constant(folded, "point").shape == ()
    np.testing.assert_array_equal(constant(folded, "q"), constant(model, "q"))


def test_a_dequantised_tensor_with_two_readers_is_made_up_for_behind_the_other() -> None:
    model = quantised("""
        g (float[N,4,6] x, int8[6,4,1] q, float[] positive_step, int8[] point, float[2,6,1] v, POSITIVE6)
                => (float[N,6,6] y, float[N,2,6] z) {
            w = DequantizeLinear (q, positive_step, point)
            h = Conv (x, w)
            y = BatchNormalization (h, positive_scale, bias, mean, var)
            r = Conv <pads = [1,1], strides = [2]> (x, w)
            s = Relu (r)
            z = Conv (s, v)
        }
    """)
    fold_checked(model)


@pytest.mark.parametrize("opset", [13, 20, 21])
def test_a_scale_in_front_goes_along_the_inputs_and_a_shift_into_the_bias(opset) -> None:
    model = quantised(
        """
        g (float[N,4,6] x, uint8[6,4,3] q, float[] positive_step, uint8[] point, float[6] b, POSITIVE4)
                => (float[N,6,4] y) {
            n = BatchNormalization (x, positive_scale, bias, mean, var)
            w = DequantizeLinear (q, positive_step, point)
            y = Conv (n, w, b)
        }
        """,
        opset=opset,
    )
    folded = fold_checked(model).model
    np.testing.assert_array_equal(constant(folded, "q"), constant(model, "q"))
    assert constant(folded, "positive_step").shape == (4,)


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_weight_may_be_transposed_behind_its_dequantisation(transposed) -> None:
    shape = "4,6" if transposed else "6,4"
    model = quantised(f"""
        g (float[N,4] x, int8[{shape}] q, float[] positive_step, int8[] point, POSITIVE4) => (float[N,6] y) {{
            n = BatchNormalization (x, positive_scale, bias, mean, var)
            w = DequantizeLinear (q, positive_step, point)
            t = Transpose (w)
            i = Identity (t)
            y = Gemm <transB = {transposed}, alpha = 0.5> (n, i)
        }}
    """)
    folded = fold_checked(model).model
    np.testing.assert_array_equal(constant(folded, "q"), constant(model, "q"))


@pytest.mark.parametrize("behind", [True, False])
@pytest.mark.parametrize("on_left", [True, False])
def test_a_product_of_a_quantised_weight(behind, on_left) -> None:
    shape, product = ("6,4", "MatMul (w, DATA)") if on_left else ("4,6", "MatMul (DATA, w)")
    data, out = ("N,4,5", "N,6,5") if on_left else ("N,5,4", "N,5,6")
    turn = "" if on_left else "<perm = [0,2,1]>"
    if behind:
        body = f"h = {product.replace('DATA', 'x')}\n" + (
            "y = BatchNormalization (h, positive_scale, bias, mean, var)"
            if on_left
            else f"t = Transpose {turn} (h)\nn = BatchNormalization (t, positive_scale, bias, mean, var)\n"
            f"y = Transpose {turn} (n)"
        )
    else:
        body = (
            "n = BatchNormalization (x, positive_scale, bias, mean, var)\n"
            if on_left
            else f"t = Transpose {turn} (x)\nm = BatchNormalization (t, positive_scale, bias, mean, var)\n"
            f"n = Transpose {turn} (m)\n"
        ) + f"y = {product.replace('DATA', 'n')}"
    model = quantised(f"""
        g (float[{data}] x, int8[{shape}] q, float[] positive_step, int8[] point, POSITIVE{6 if behind else 4})
                => (float[{out}] y) {{
            w = DequantizeLinear (q, positive_step, point)
            {body}
        }}
    """)
    result = fold_checked(model)
    np.testing.assert_array_equal(constant(result.model, "q"), constant(model, "q"))
    assert not affines(result.model)


@pytest.mark.parametrize(("axis", "steps"), [(0, "2,6"), (1, "4,3"), (-1, "4,3")])
def test_blocks_take_a_scale_across_them(axis, steps) -> None:
    """The affine varies along axis 1; with blocks along it, it is the same within each."""
    model = quantised(
        f"""
        g (float[N,4] x, int8[4,6] q, float[{steps}] positive_step, int8[{steps}] point, POSITIVE6) => (float[N,6] y) {{
            w = DequantizeLinear <axis = {axis}, block_size = 2> (q, positive_step, point)
            h = Gemm (x, w)
            y = BatchNormalization (h, positive_scale, bias, mean, var)
        }}
        """,
        opset=21,
    )
    for name in ("positive_scale", "var"):
        paired = np.repeat(constant(model, name)[::2], 2)
        set_constant(model, model.graph.initializers[name], paired)
    folded = fold_checked(model).model
    assert constant(folded, "positive_step").shape == constant(model, "positive_step").shape
    np.testing.assert_array_equal(constant(folded, "q"), constant(model, "q"))


BIASED = """
    g (float[N,4,6] x, int8[6,4,1] q, float[6] positive_step, int32[6] codes, float[] positive_step2, POSITIVE6)
            => (float[N,6,6] y) {
        w = DequantizeLinear <axis = 0> (q, positive_step)
        b = DequantizeLinear (codes, positive_step2)
        h = Conv (x, w, b)
        y = BatchNormalization (h, positive_scale, bias, mean, var)
    }
"""


def test_a_quantised_bias_is_rescaled_and_its_integers_are_rounded_once() -> None:
    model = quantised(BIASED)
    set_constant(model, model.graph.initializers["positive_step2"], np.array(2.0**-20))
    result = bnfold.fold(model)
    assert not result.kept
    oracle.assert_equal(model, result.model, tolerance=1e-6)
    parameters = {name: constant(model, name) for name in ("positive_scale", "bias", "mean", "var")}
    scale = parameters["positive_scale"] / np.sqrt(parameters["var"] + np.float32(1e-5))
    shift = parameters["bias"] - parameters["mean"] * scale
    exact = constant(model, "codes") + shift / (scale * 2.0**-20)
    np.testing.assert_array_equal(constant(result.model, "codes"), np.rint(exact).astype(np.int32))
    np.testing.assert_allclose(constant(result.model, "positive_step2"), scale * 2.0**-20, rtol=1e-15)
    assert constant(result.model, "codes").dtype == np.int32


def test_a_quantised_bias_is_rounded_once_however_many_affines_go_into_it() -> None:
    twice = BIASED.replace("h = Conv", "g1 = Conv").replace(
        "y = Batch", "h = BatchNormalization (g1, positive_scale, bias, mean, var)\n y = Batch"
    )
    model = quantised(twice)
    set_constant(model, model.graph.initializers["positive_step2"], np.array(1.0))  # coarse: two roundings would show
    scale = constant(model, "positive_scale") / np.sqrt(constant(model, "var") + np.float32(1e-5))
    shift = constant(model, "bias") - constant(model, "mean") * scale
    exact = constant(model, "codes") + (scale * shift + shift) / scale**2
    result = bnfold.fold(model)
    assert len(result.folded) == 2
    np.testing.assert_array_equal(constant(result.model, "codes"), np.rint(exact).astype(np.int32))


def test_a_quantised_bias_beyond_32_bits_keeps_the_affine() -> None:
    model = quantised(BIASED)
    set_constant(model, model.graph.initializers["positive_step2"], np.array(1e-11))
    assert "would need integers of more than 32 bits" in bnfold.fold(model).kept[0].reason


def test_a_scale_that_would_be_rounded_to_zero_keeps_the_affine() -> None:
    model = quantised(CONV.replace("TYPE", "int8").replace("STEPS", ""), dtype="float16")
    set_constant(model, model.graph.initializers["positive_step"], np.array(1e-7, np.float16))
    set_constant(model, model.graph.initializers["positive_scale"], np.full(6, 0.1, np.float16))
    assert "quantisation scale that is rounded to 0" in bnfold.fold(model).kept[0].reason


def test_weights_that_are_quantised_in_the_graph_keep_their_own_quantisation() -> None:
    """Quantisation-aware training writes float weights, QuantizeLinear, DequantizeLinear."""
    model = quantised("""
        g (float[N,4,6] x, float[6,4,1] w, float[6] positive_step, int8[6] point, POSITIVE6) => (float[N,6,6] y) {
            q = QuantizeLinear <axis = 0> (w, positive_step, point)
            d = DequantizeLinear <axis = 0> (q, positive_step, point)
            h = Conv (x, d)
            y = BatchNormalization (h, positive_scale, bias, mean, var)
        }
    """)
    folded = fold_checked(model).model
    np.testing.assert_array_equal(constant(folded, "positive_step"), constant(model, "positive_step"))
    np.testing.assert_array_equal(constant(folded, "w"), constant(model, "w"))


@pytest.mark.slow
def test_onnxruntime_runs_what_a_quantised_convolution_becomes() -> None:
    model = quantised(
        """
        g (float[1,4,6,6] x, float[] step_x, uint8[] point_x, int8[6,4,3,3] q, float[6] positive_step, int8[6] zero,
           int32[6] codes, float[6] positive_step_b, int32[6] zero_b, POSITIVE6) => (float[1,6,6,6] y) {
            qx = QuantizeLinear (x, step_x, point_x)
            dx = DequantizeLinear (qx, step_x, point_x)
            w = DequantizeLinear <axis = 0> (q, positive_step, zero)
            b = DequantizeLinear <axis = 0> (codes, positive_step_b, zero_b)
            h = Conv <pads = [1,1,1,1]> (dx, w, b)
            n = BatchNormalization (h, positive_scale, bias, mean, var)
            y = Relu (n)
        }
        """,
        dtype="float",
        opset=13,
        ir_version=8,
    )
    steps = constant(model, "positive_step") / 100
    for name, array in {
        "step_x": np.array(0.02, np.float32),
        "positive_step": steps,
        "positive_step_b": steps * np.float32(0.02),
    }.items():
        set_constant(model, model.graph.initializers[name], array.astype(np.float32))
    result = bnfold.fold(model)
    assert not result.kept
    assert bnfold.verify(model, result.model)
    np.testing.assert_array_equal(constant(result.model, "q"), constant(model, "q"))
    assert constant(result.model, "codes").dtype == np.int32
