"""The oracle's own convolutions and pools give what onnxruntime gives, and what the evaluator's own give."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from onnx import reference

from bnfold import modelfile
from bnfold.errors import ExecutionError
from bnfold.runtime import sessions
from bnfold.runtime.sessions import Level, Refusal
from bnfold.verifying import window_ops
from bnfold.verifying.oracle import evaluate
from tests.helpers.models import parse

OWN = [getattr(window_ops, name) for name in window_ops.__all__]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("ops") / "model.onnx"


def model_of(op_type, attributes, shapes, opset):
    names = "xwb"[: len(shapes)]
    inputs = ", ".join(f"float[{', '.join(map(str, shape))}] {name}" for name, shape in zip(names, shapes, strict=True))
    text = ", ".join(
        f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in attributes.items()
    )
    text = f"<{text}>" if text else ""
    rank = ", ".join("ABCDEF"[: len(shapes[0])])
    outputs = f"float[{rank}] y"
    return parse(f"g ({inputs}) => ({outputs}) {{ y = {op_type}{text}({', '.join(names)}) }}", opset=opset)


def check(path, op_type, attributes, shapes, seed, opset=13):
    """Whether onnxruntime takes the case; if so, the oracle agrees with it."""
    model = model_of(op_type, attributes, shapes, opset)
    modelfile.save(model, path)
    rng = np.random.default_rng(seed)
    feed = {name: rng.normal(size=shape).astype(np.float32) for name, shape in zip("xwb", shapes, strict=False)}
    try:
        (expected,) = sessions.run(path, Level.DISABLED, [feed])
    except ExecutionError as error:
        expected = Refusal(str(error))
    if isinstance(expected, Refusal) or not expected["y"].size:
        return False
    (got,) = evaluate(path, [feed])
    assert not isinstance(got, Refusal), got
    assert got["y"].dtype == np.float64
    assert got["y"].shape == expected["y"].shape
    np.testing.assert_allclose(got["y"], expected["y"], rtol=1e-4, atol=1e-4)
    return True


@st.composite
def convolutions(draw, *, transposed=False):
    axes = draw(st.integers(1, 3))
    group = draw(st.sampled_from([1, 1, 2, 3]))
    into, out = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel = draw(st.lists(st.integers(1, 3), min_size=axes, max_size=axes))
    x = [draw(st.integers(1, 2)), into * group, *draw(st.lists(st.integers(1, 7), min_size=axes, max_size=axes))]
    w = [into * group, out, *kernel] if transposed else [out * group, into, *kernel]
    attributes = {"group": group, **draw(places(axes, most=2))}
    if transposed and draw(st.booleans()):
        attributes["output_padding"] = draw(st.lists(st.integers(0, 1), min_size=axes, max_size=axes))
    shapes = [x, w]
    if draw(st.booleans()):
        shapes.append([out * group])
    return attributes, shapes, draw(st.integers(0, 9))


@st.composite
def places(draw, axes, most):
    def numbers(lowest, highest, size=axes):
        return draw(st.lists(st.integers(lowest, highest), min_size=size, max_size=size))

    attributes = {}
    if draw(st.booleans()):
        attributes["strides"] = numbers(1, 3)
    if draw(st.booleans()):
        attributes["dilations"] = numbers(1, 2)
    padding = draw(st.sampled_from(["none", "pads", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if padding == "pads":
        attributes["pads"] = numbers(0, most, 2 * axes)
    elif padding != "none":
        attributes["auto_pad"] = padding
    return attributes


@given(convolutions())
@settings(max_examples=150, deadline=None)
@example(({"group": 2, "pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2]}, [[2, 4, 7, 6], [6, 2, 3, 2]], 0))
def test_conv_is_what_onnxruntime_computes(path, case):
    assume(check(path, "Conv", *case))


@given(convolutions(transposed=True))
@settings(max_examples=150, deadline=None)
@example(
    ({"group": 2, "pads": [1, 0, 1, 1], "strides": [2, 3], "output_padding": [1, 2]}, [[2, 4, 5, 4], [4, 3, 3, 3]], 0)
)
@example(({"output_shape": [9, 8], "strides": [2, 2]}, [[1, 2, 4, 4], [2, 3, 3, 3]], 0))
def test_conv_transpose_is_what_onnxruntime_computes(path, case):
    attributes, shapes, _ = case
    # onnxruntime ignores dilations where it works out the padding itself, and takes no more of it than the kernel.
    assume("auto_pad" not in attributes or ("dilations" not in attributes and "output_padding" not in attributes))
    assume(attributes.get("auto_pad", "VALID") == "VALID" or min(shapes[1][2:]) >= max(attributes.get("strides", [1])))
    assume(check(path, "ConvTranspose", *case))


@st.composite
def pools(draw):
    axes = draw(st.integers(1, 3))
    kernel = draw(st.lists(st.integers(1, 4), min_size=axes, max_size=axes))
    x = [draw(st.integers(1, 2)), 2, *draw(st.lists(st.integers(1, 9), min_size=axes, max_size=axes))]
    attributes = {"kernel_shape": kernel, **draw(places(axes, most=min(kernel) - 1))}
    if draw(st.booleans()) and "auto_pad" not in attributes:
        attributes["ceil_mode"] = 1
    if attributes.get("auto_pad", "").startswith("SAME"):
        # Against the standard, onnxruntime leaves dilations out of the padding, and pads by less than nothing.
        attributes.pop("dilations", None)
        attributes["strides"] = [min(pair) for pair in zip(kernel, attributes.get("strides", kernel), strict=True)]
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, attributes.get("dilations", [1] * axes), strict=True)]
    assume(all(size >= least for size, least in zip(x[2:], reach, strict=True)))  # onnxruntime divides towards 0
    return attributes, [x], draw(st.integers(0, 9))


@given(pools())
@settings(max_examples=150, deadline=None)
@example(({"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]}, [[1, 2, 6, 7]], 0))
def test_max_pool_is_what_onnxruntime_computes(path, case):
    assume(check(path, "MaxPool", *case))


@given(pools(), st.booleans())
@settings(max_examples=150, deadline=None)
@example(({"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]}, [[1, 2, 6, 7]], 0), True)
def test_average_pool_is_what_onnxruntime_computes(path, case, count):
    attributes, shapes, seed = case
    attributes = {**attributes, "count_include_pad": int(count)}
    assume(check(path, "AveragePool", attributes, shapes, seed, opset=19))


@given(pools(), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
@example(({"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, [[1, 2, 6, 7]], 0), 2)
def test_lp_pool_is_what_onnxruntime_computes(path, case, power):
    attributes, shapes, seed = case
    assume(check(path, "LpPool", {**attributes, "p": power}, shapes, seed, opset=18))


@pytest.mark.parametrize("op_type", ["AveragePool", "LpPool", "MaxPool"])
@pytest.mark.parametrize("shape", [[2, 3, 2, 2], [2, 3, 5, 1]])
def test_a_kernel_far_larger_than_the_input_takes_no_room(path, monkeypatch, op_type, shape):
    """As torch writes AvgPool2d(1280, ceil_mode=True) over what is left of an image."""
    reached = []
    taps = window_ops.Windows.taps
    monkeypatch.setattr(
        window_ops.Windows, "taps", lambda self, padded: reached.append(padded.size) or taps(self, padded)
    )
    attributes = {"kernel_shape": [1280, 1280], "strides": [1280, 1280], "ceil_mode": 1}
    assert check(path, op_type, attributes, [shape], 0, opset=19)
    assert max(reached) == np.prod(shape)


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [[2, 3, 7], [2, 3, 5, 4], [2, 3, 4, 3, 2]])
def test_global_pools_take_any_number_of_axes(path, op_type, shape):
    assert check(path, op_type, {"p": 3} if op_type == "GlobalLpPool" else {}, [shape], 0)


def test_a_large_convolution_is_done_a_few_rows_at_a_time(path, monkeypatch):
    monkeypatch.setattr(window_ops, "_ELEMENTS", 200)
    assert check(path, "Conv", {"pads": [1, 1, 1, 1], "strides": [2, 1]}, [[2, 3, 11, 9], [4, 3, 3, 3], [4]], 0)


def test_max_pool_with_indices_or_nan_is_the_evaluators_own():
    text = """g (float[1, 1, 4, 4] x) => (float[A, B, C, D] y, int64[A, B, C, D] i) {
        y, i = MaxPool<kernel_shape = [2, 2]>(x) }"""
    x = np.random.default_rng(0).normal(size=(1, 1, 4, 4)).astype(np.float32)
    proto = ir.to_proto(parse(text))
    for mine, plain in zip(
        *(reference.ReferenceEvaluator(proto, new_ops=ops).run(None, {"x": x}) for ops in (OWN, [])), strict=True
    ):
        np.testing.assert_array_equal(mine, plain)
    x[0, 0, 1, 1] = np.nan
    proto = ir.to_proto(parse(text.replace(", int64[A, B, C, D] i", "").replace("y, i =", "y =")))
    mine, plain = (reference.ReferenceEvaluator(proto, new_ops=ops).run(None, {"x": x})[0] for ops in (OWN, []))
    np.testing.assert_array_equal(mine, plain)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_results_keep_the_type_of_the_input(dtype):
    x, w = np.ones((1, 2, 5, 5), dtype), np.ones((2, 2, 3, 3), dtype)
    name = {2: "float16", 4: "float", 8: "double"}[np.dtype(dtype).itemsize]
    for op_type in ("Conv", "ConvTranspose"):
        text = f"g ({name}[1,2,5,5] x, {name}[2,2,3,3] w) => ({name}[A,B,C,D] y) {{ y = {op_type}(x, w) }}"
        (y,) = reference.ReferenceEvaluator(ir.to_proto(parse(text)), new_ops=OWN).run(None, {"x": x, "w": w})
        assert y.dtype == dtype


def test_weights_that_do_not_fit_are_a_refusal(path):
    modelfile.save(
        parse("g (float[N, C, H, W] x, float[2, 3, 1, 1] w) => (float[A, B, C, D] y) { y = Conv(x, w) }"), path
    )
    feed = {"x": np.ones((1, 4, 2, 2), np.float32), "w": np.ones((2, 3, 1, 1), np.float32)}
    (refused,) = evaluate(path, [feed])
    assert isinstance(refused, Refusal)
    assert "do not fit" in refused.reason
