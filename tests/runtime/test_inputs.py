"""Inputs that are made up for a model."""

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from bnfold.errors import ExecutionError, ModelError
from bnfold.runtime.inputs import Sizes, default_inputs, fallback_inputs, fed_inputs, make_inputs, only_tensors
from tests.helpers.models import parse, set_constant

IMAGES = "g (float[N, 3, H, W] x) => (float[N, 3, H, W] y) { y = Identity(x) }"


def model_of(inputs):
    return parse(f"g ({inputs}) => (float[1] y) {{ y = Constant<value_floats = [1.0]>() }}")


def feeds_of(inputs, kind="normal", sizes=Sizes(4, 7)):  # noqa: B008 - frozen
    return make_inputs(model_of(inputs), kind, 0, sizes).feeds


def test_all_kinds_of_contents_are_there():
    kinds = {one.name: one.feeds["x"] for one in default_inputs(parse(IMAGES))}
    assert set(kinds) == {"normal", "uniform", "large", "zeros", "constant"}
    assert 0.5 < kinds["normal"].std() < 2
    assert kinds["uniform"].min() >= 0
    assert kinds["large"].std() > 50
    assert not kinds["zeros"].any()
    assert len(np.unique(kinds["constant"])) == 1
    assert kinds["constant"].all()


def test_the_same_model_always_gets_the_same_inputs():
    for left, right in zip(default_inputs(parse(IMAGES)), default_inputs(parse(IMAGES)), strict=True):
        assert str(left) == str(right)
        np.testing.assert_array_equal(left.feeds["x"], right.feeds["x"])


def test_symbolic_dimensions_come_in_two_sizes():
    shapes = {one.feeds["x"].shape for one in default_inputs(parse(IMAGES)) if one.name != "constant"}
    assert len(shapes) == 2
    for sizes in zip(*shapes, strict=True):
        assert len(set(sizes)) == (1 if 3 in sizes else 2)
        assert min(sizes) > 1
    assert min(height for _, _, height, _ in shapes) >= 32


def test_a_batch_of_one_is_tried():
    assert [one.name for one in default_inputs(parse(IMAGES)) if one.feeds["x"].shape[0] == 1] == ["constant"]


def test_a_symbol_has_one_size_everywhere():
    feeds = feeds_of("float[N, 2] a, float[2, N] b, float[T, N] c, float[2, T, L] d")
    assert [array.shape for array in feeds.values()] == [(4, 2), (2, 4), (4, 4), (2, 4, 7)]


def test_unknown_dimensions_are_a_batch_in_front_and_a_length_behind():
    model = model_of("float[A, 2, B] x")
    model.graph.inputs[0].shape = ir.Shape([None, 2, None])
    assert make_inputs(model, "normal", 0, Sizes(4, 7)).feeds["x"].shape == (4, 2, 7)


def test_large_samples_come_in_small_batches():
    inputs = default_inputs(parse("g (float[N, 3, 224, 224] x) => (float[N] y) { y = Identity(x) }"))
    assert {one.feeds["x"].shape[0] for one in inputs} == {1, 2}


def test_a_model_of_one_fixed_sample_gets_more_seeds():
    fixed = default_inputs(parse("g (float[1, 10] x) => (float[1, 10] y) { y = Identity(x) }"))
    assert len(fixed) > len(default_inputs(parse(IMAGES)))
    assert len({one.seed for one in fixed}) == len(fixed)


def test_the_last_resort_is_a_single_photograph():
    assert {one.feeds["x"].shape for one in fallback_inputs(parse(IMAGES))} == {(1, 3, 224, 224)}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16), ("float", np.float32), ("double", np.float64)],
)
def test_every_float_gets_finite_numbers_of_its_own_type(name, dtype):
    for one in default_inputs(model_of(f"{name}[N, 4] x")):
        assert one.feeds["x"].dtype == dtype
        assert np.isfinite(one.feeds["x"]).all()


def test_integers_are_small_enough_to_be_indices_and_bytes_use_their_range():
    feeds = feeds_of("int64[N, 50] ids, uint8[N, 50] pixels, int8[N, 50] q, bool[N, 50] mask, int32 count")
    assert [array.dtype for array in feeds.values()] == [np.int64, np.uint8, np.int8, np.bool_, np.int32]
    assert feeds["ids"].min() == 0
    assert feeds["ids"].max() == 9
    assert feeds["pixels"].max() > 200
    assert feeds["q"].min() < -100
    assert len(np.unique(feeds["mask"])) == 2
    assert feeds["count"].shape == ()


def table(nodes, rows=300):
    model = parse(f"g (int64[N, 50] ids, float[{rows}, 2] t) => (float[N, 50, 2] y) {{ {nodes} }}")
    set_constant(model, model.graph.inputs.pop(), np.ones((rows, 2), np.float32))
    return model


@pytest.mark.parametrize(
    "nodes",
    [
        "y = Gather(t, ids)",
        "s = Constant<value_ints = [-1]>() i = Cast<to = 6>(ids) r = Reshape(i, s) y = Gather<axis = -2>(t, r)",
    ],
)
def test_indices_go_over_the_whole_of_their_table(nodes):
    for one in default_inputs(table(nodes)):
        assert one.feeds["ids"].min() >= 0
        assert one.feeds["ids"].max() < 300
        if one.name in {"normal", "uniform", "large"}:
            assert one.feeds["ids"].max() > 200


def test_indices_of_a_table_of_one_row_are_all_0():
    assert not any(one.feeds["ids"].any() for one in default_inputs(table("y = Gather(t, ids)", rows=1)))


def test_the_smaller_of_two_tables_sets_the_range():
    model = table("a = Gather(t, ids) u = Constant<value_floats = [1.0, 2.0]>() b = Gather(u, ids) y = Identity(a)")
    assert max(one.feeds["ids"].max() for one in default_inputs(model)) == 1


def test_defaults_that_can_be_overridden_are_moved_a_little_in_one_set():
    text = "g (float[N, 3] x, float[3] w, int64 i) => (float[N, 3] y) <float[3] w = {2, 0, -1}, int64 i = {1}> "
    text += "{ y = Mul(x, w) }"
    *others, overridden = default_inputs(parse(text, ir_version=8))
    assert all(set(one.feeds) == {"x"} for one in others)
    assert set(overridden.feeds) == {"x", "w"}
    moved = overridden.feeds["w"]
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, [2, 0, -1], atol=0.07)
    assert (moved != [2, 0, -1]).all()
    assert moved[1] > 0
    assert all("w" not in one.feeds for one in default_inputs(parse(text, ir_version=3)))


@pytest.mark.parametrize("kind", ["normal", "uniform", "large", "zeros", "constant"])
def test_scalars_are_arrays(kind):
    assert all(type(array) is np.ndarray for array in feeds_of("float a, int64 b, bool c, uint8 d", kind).values())


def test_initializers_among_the_inputs_are_not_fed():
    model = parse("g (float[N] x, float[1] w) => (float[N] y) <float[1] w = {2}> { y = Mul(x, w) }", ir_version=3)
    assert [value.name for value in fed_inputs(model)] == ["x"]


@pytest.mark.parametrize(
    "inputs", ["seq(float[2]) x", "optional(float[2]) x", "complex64[2] x", "sparse_tensor(float[2]) x"]
)
def test_what_is_no_tensor_of_numbers_is_refused_by_name(inputs):
    with pytest.raises(ModelError, match=r"^m\.onnx: 'x' is .*; only tensors of numbers or strings can be compared$"):
        only_tensors(model_of(inputs), "m.onnx")


def test_an_input_of_unknown_rank_is_refused():
    model = model_of("float[N] x")
    model.graph.inputs[0].shape = None
    with pytest.raises(ModelError, match="'x' has no shape"):
        only_tensors(model, "m.onnx")
    only_tensors(model, "m.onnx", are_given=True)


def test_strings_are_a_few_words_and_the_empty_one():
    kinds = {one.name: one.feeds["s"] for one in default_inputs(model_of("string[N, 20] s"))}
    assert all(array.dtype == object for array in kinds.values())
    assert {"", "a", "cat"} <= set(kinds["normal"].flat)
    assert set(kinds["zeros"].flat) == {""}
    assert set(kinds["constant"].flat) == {"a"}
    assert all(isinstance(item, str) for item in kinds["normal"].flat)


def test_a_model_without_inputs_is_run_once():
    (only,) = default_inputs(parse("g () => (float[2] y) { y = Constant <value_floats = [1.0, 2.0]> () }"))
    assert (str(only), only.feeds) == ("no inputs", {})


def test_an_input_that_does_not_fit_into_memory_is_named():
    model = parse("g (float[10000000,10000000] x) => (float[10000000,10000000] y) { y = Relu (x) }")
    with pytest.raises(ExecutionError, match=r"not enough memory for an input 'x' of 10000000×10000000 numbers"):
        default_inputs(model)


def test_symbols_whose_sizes_are_known_get_them():
    feeds = feeds_of("float[N, L] x, int64[N, M] z", sizes=Sizes(4, 7, named=(("N", 3), ("M", 5))))
    assert [array.shape for array in feeds.values()] == [(3, 7), (3, 5)]
