"""The float64 oracle computes the model's function, and nothing in it is left in a smaller type."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bnfold import modelfile
from bnfold.runtime import sessions
from bnfold.runtime.sessions import Refusal
from bnfold.verifying import verify
from bnfold.verifying.oracle import evaluate, to_float64
from tests.helpers.models import example, parse

BATCH_NORM = """g (float[N, 2, 3] x, float[2] scale, float[2] bias, float[2] mean, float[2] var) => (float[N, 2, 3] y) {
    y = BatchNormalization(x, scale, bias, mean, var) }"""


@pytest.fixture
def evaluated(tmp_path):
    def run(model, **kwargs):
        modelfile.save(model, tmp_path / "model.onnx")
        (outputs,) = evaluate(tmp_path / "model.onnx", [kwargs.pop("feed")], **kwargs)
        return outputs

    return run


def normalised(model, x):
    scale, bias, mean, var = (
        model.graph.initializers[name].const_value.numpy().astype(np.float64)[:, None]
        for name in ("scale", "bias", "mean", "var")
    )
    return scale * (x.astype(np.float64) - mean) / np.sqrt(var + np.float64(np.float32(1e-5))) + bias


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
@pytest.mark.parametrize("dtype", ["float", "float16", "bfloat16", "double"])
def test_batch_normalization_of_every_opset_and_type_is_inference(evaluated, opset, dtype):
    model = example(BATCH_NORM, dtype=dtype, opset=opset, ir_version=8)
    x = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(model.graph.inputs[0].dtype.numpy())
    outputs = evaluated(model, feed={"x": x})
    assert outputs["y"].dtype == np.float64
    np.testing.assert_allclose(outputs["y"], normalised(model, x), rtol=1e-13)


def test_statistics_of_every_position_are_understood(evaluated):
    text = BATCH_NORM.replace("float[2]", "float[2, 3]").replace("Normalization(", "Normalization<spatial = 0>(")
    model = example(text, dtype="float", opset=7, ir_version=8)
    x = np.zeros((1, 2, 3), np.float32)
    scale, bias, mean, var = (
        model.graph.initializers[name].const_value.numpy().astype(np.float64)
        for name in ("scale", "bias", "mean", "var")
    )
    outputs = evaluated(model, feed={"x": x})
    np.testing.assert_allclose(outputs["y"][0], bias - scale * mean / np.sqrt(var + 1e-5), rtol=1e-6)


def test_batch_normalization_in_training_has_no_oracle(evaluated):
    text = BATCH_NORM.replace("y =", "y, m, v =").replace("Normalization(", "Normalization<training_mode = 1>(")
    refusal = evaluated(example(text, dtype="float"), feed={"x": np.zeros((1, 2, 3), np.float32)})
    assert refusal == Refusal("BatchNormalization in training mode")


TENTH = float(np.float32(0.1))
BRANCHES = """b = Constant<value_int = 1>() t = Cast<to = 9>(b) y = If(t)<
    then_branch = p () => (float[N, 2] p) { c = Constant<value_float = 0.1>() p = Mul(x, c) },
    else_branch = q () => (float[N, 2] q) { q = Identity(x) }>"""
FUNCTION = """<domain: "local", opset_import: ["": 20]> shrink (a) => (b) {
    t = Constant<value_float = 0.1>() b = Mul(a, t) }"""


@pytest.mark.parametrize(
    ("nodes", "factor", "summand"),
    [
        ("c = Constant<value_float = 0.1>() y = Mul(x, c)", TENTH, 0),
        ("c = Constant<value_floats = [0.1, 0.1]>() y = Mul(x, c)", TENTH, 0),
        ("c = Constant<value = float[2] {0.1, 0.1}>() y = Mul(x, c)", TENTH, 0),
        ("h = Cast<to = 10>(x) y = Cast<to = 1>(h)", 1, 0),
        ("h = Cast<to = 10>(x) y = CastLike(h, x)", 1, 0),
        ("s = Shape(x) z = ConstantOfShape(s) y = Add(x, z)", 1, 0),
        ("s = Shape(x) z = ConstantOfShape<value = float[1] {0.1}>(s) y = Add(x, z)", 1, TENTH),
        ("y = local.shrink(x)", TENTH, 0),
        (BRANCHES, TENTH, 0),
    ],
)
def test_no_rounding_to_a_smaller_type_is_left(evaluated, nodes, factor, summand):
    model = parse(f"g (float[N, 2] x) => (float[N, 2] y) {{ {nodes} }}" + ("\n" + FUNCTION if "local" in nodes else ""))
    x = np.array([[1 / 3, 2 / 3]]).astype(np.float32)
    outputs = evaluated(model, feed={"x": x})
    assert outputs["y"].dtype == np.float64
    np.testing.assert_array_equal(outputs["y"], x.astype(np.float64) * factor + summand)


def test_integers_stay_integers():
    model = parse("g (int64[N] x) => (int64[N] y) { c = Constant<value_int = 3>() y = Add(x, c) }")
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    to_float64(model)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_a_batch_normalization_inside_a_function_is_inference_too(evaluated):
    text = BATCH_NORM.replace("y = BatchNormalization(", "y = local.norm(")
    model = example(
        text + '\n<domain: "local", opset_import: ["": 9]> norm (x, s, b, m, v) => (y) '
        "{ y = BatchNormalization(x, s, b, m, v) }",
        dtype="float",
        opset=9,
        ir_version=8,
    )
    x = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    np.testing.assert_allclose(evaluated(model, feed={"x": x})["y"], normalised(model, x), rtol=1e-13)


@pytest.mark.parametrize(
    ("node", "opset"),
    [
        ("MeanVarianceNormalization(x)", 13),
        ("MeanVarianceNormalization<axes = [1, 3]>(x)", 9),
        ('Upsample<mode = "linear">(x, s)', 9),
        ('Upsample<mode = "nearest">(x, s)', 9),
        ('Upsample<mode = "nearest", scales = [1.0, 1.0, 2.0, 3.0]>(x)', 7),
    ],
)
def test_operators_that_the_evaluator_lacks_are_those_of_onnxruntime(evaluated, tmp_path, node, opset):
    text = f"g (float[2, 3, 4, 5] x) => (float[A, B, C, D] y) <float[4] s = {{1, 1, 2.5, 2}}> {{ y = {node} }}"
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    got = evaluated(parse(text, opset=opset, ir_version=8), feed={"x": x})["y"]
    (expected,) = sessions.run(tmp_path / "model.onnx", sessions.Level.DISABLED, [{"x": x}])
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected["y"], rtol=1e-5, atol=1e-6)


def test_an_operator_that_the_evaluator_lacks_is_a_refusal_with_its_reason(evaluated):
    model = parse("g (float[N, 2] x) => (float[N, 2] y) { y = Unheard(x) }")
    assert isinstance(evaluated(model, feed={"x": np.zeros((1, 2), np.float32)}), Refusal)


def test_in_its_own_types_the_model_is_not_widened(evaluated):
    model = parse("g (float[N, 2] x) => (float[N, 2] y) { y = Relu(x) }")
    assert evaluated(model, feed={"x": np.ones((1, 2), np.float32)}, widen=False)["y"].dtype == np.float32


@pytest.mark.parametrize("opset", [10, 13, 19, 21, 23])
@pytest.mark.parametrize("form", ["tensor", "axis", "blocks"])
def test_numbers_of_8_bits_are_widened_exactly_in_every_opset(evaluated, opset, form):
    rng = np.random.default_rng(0)
    if (form == "axis" and opset < 13) or (form == "blocks" and opset < 21):
        return
    shape, spread = {"tensor": ((), np.asarray), "axis": ((3,), lambda s: s[:, None]), "blocks": ((3, 2), None)}[form]
    spread = spread or (lambda s: np.repeat(s, 2, axis=1))
    axis = {"tensor": "", "axis": "<axis = 0>", "blocks": "<axis = 1, block_size = 2>"}[form]
    dims = ",".join(map(str, shape))
    model = example(
        f"g (float[N,4] x, int8[3,4] q, float[{dims}] positive, int8[{dims}] offset) => (float[N,3] y)"
        f"{{ d = DequantizeLinear {axis} (q, positive, offset) t = Transpose (d) y = MatMul (x, t) }}",
        dtype="float",
        opset=opset,
    )
    q, scale, zero = (
        model.graph.initializers[name].const_value.numpy().astype(np.float64) for name in ("q", "positive", "offset")
    )
    x = rng.normal(size=(2, 4)).astype(np.float32)
    outputs = evaluated(model, feed={"x": x})
    want = x.astype(np.float64) @ ((q - spread(zero)) * spread(scale)).T
    np.testing.assert_allclose(outputs["y"], want, rtol=1e-14)


def test_strings_that_the_evaluator_makes_otherwise_are_no_reason_to_crash():
    """onnx's evaluator gives another shape than onnxruntime for this model of its own tests."""
    data = Path(onnx.__file__).parent / "backend" / "test" / "data" / "simple"
    model = data / "test_strnorm_model_nostopwords_nochangecase" / "model.onnx"
    assert verify(model, model)
