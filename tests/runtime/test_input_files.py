"""Inputs out of files and arrays."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bnfold.errors import ModelError, ModelFileError
from bnfold.runtime.input_files import given_inputs
from tests.helpers.models import parse

HOLLOW = onnx.TensorProto(data_type=1, dims=[5]).SerializeToString()
X, K = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([1, 2], np.int64)


@pytest.fixture
def model():
    return parse("g (float[N, 3] x, int64[N] k) => (float[N, 3] y) { y = Identity(x) }")


def tensor(path, array, name):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(numpy_helper.from_array(array, name).SerializeToString())


def only(sets):
    (one,) = sets
    return one


def is_set(one, scale=1):
    np.testing.assert_array_equal(one.feeds["x"], X * scale)
    np.testing.assert_array_equal(one.feeds["k"], K)
    return one.seed is None


def test_an_archive_is_one_set_by_name(model, tmp_path):
    np.savez(tmp_path / "data.npz", k=K, x=X)
    assert is_set(only(given_inputs(tmp_path / "data.npz", model)))
    assert str(only(given_inputs(str(tmp_path / "data.npz"), model))).endswith("data.npz, 2, 2×3")


def test_names_of_nobody_are_matched_in_order(tmp_path):
    count = 11
    names = ", ".join(f"float[1] a{index}" for index in range(count))
    model = parse(f"g ({names}) => (float[1] y) {{ y = Identity(a0) }}")
    np.savez(tmp_path / "data.npz", *[np.full(1, index, np.float32) for index in range(count)])
    feeds = only(given_inputs(tmp_path / "data.npz", model)).feeds
    assert {name: float(array[0]) for name, array in feeds.items()} == {f"a{index}": index for index in range(count)}


def test_a_folder_of_archives_is_a_set_for_each(model, tmp_path):
    for number in (10, 9):
        np.savez(tmp_path / f"s{number}.npz", x=X * number, k=K)
    nine, ten = given_inputs(tmp_path, model)
    assert is_set(nine, 9)
    assert is_set(ten, 10)


def test_a_folder_of_arrays_is_one_set(model, tmp_path):
    np.save(tmp_path / "k.npy", K)
    np.save(tmp_path / "x.npy", X)
    assert is_set(only(given_inputs(tmp_path, model)))


def test_the_layout_of_the_tests_of_onnx(model, tmp_path):
    for number in range(2):
        folder = tmp_path / f"test_data_set_{number}"
        tensor(folder / "input_0.pb", X * (number + 1), "x")
        tensor(folder / "input_1.pb", K, "k")
        tensor(folder / "output_0.pb", X, "y")
    (tmp_path / "model.onnx").touch()
    first, second = given_inputs(tmp_path, model)
    assert is_set(first, 1)
    assert is_set(second, 2)
    assert is_set(only(given_inputs(tmp_path / "test_data_set_0", model)))


def test_tensors_without_names_are_matched_in_order(model, tmp_path):
    tensor(tmp_path / "input_0.pb", X, "")
    tensor(tmp_path / "input_1.pb", K, "")
    assert is_set(only(given_inputs(tmp_path, model)))


def test_arrays_and_several_sources(model, tmp_path):
    np.savez(tmp_path / "data.npz", x=X, k=K)
    first, second = given_inputs([{"x": X * 2, "k": K}, tmp_path / "data.npz"], model)
    assert is_set(first, 2)
    assert is_set(second)


def test_strings_and_booleans():
    model = parse("g (string[N] s, bool[N] b) => (bool[N] y) { y = Identity(b) }")
    for strings in (np.array(["a", "größer"]), np.array([b"a", "größer".encode()]), np.array(["a", "größer"], object)):
        feeds = only(given_inputs({"s": strings, "b": np.array([True, False])}, model)).feeds
        assert feeds["s"].dtype == object
        assert feeds["s"].tolist() == ["a", "größer"]
    with pytest.raises(ModelError, match=r"'s' is object \[1\], and the model takes STRING"):
        given_inputs({"s": np.array([1], object), "b": np.array([True])}, model)


def test_what_may_be_overridden_may_be_given():
    text = "g (float[N, 3] x, float[3] w) => (float[N, 3] y) <float[3] w = {2, 0, -1}> { y = Mul(x, w) }"
    model = parse(text, ir_version=8)
    assert set(only(given_inputs({"x": X}, model)).feeds) == {"x"}
    assert set(only(given_inputs({"x": X, "w": X[0]}, model)).feeds) == {"x", "w"}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": X}, "nothing for the input 'k'"),
        ({"x": X, "k": K, "z": K}, "there is no input 'z'; the model takes 'x', 'k'"),
        ({"x": X, "z": K}, "there is no input 'z'"),
        ({"a": X}, "there is no input 'a'"),
        ({}, "nothing for the input 'x', 'k'"),
        ({"x": X.astype(np.float64), "k": K}, r"'x' is float64 \[2, 3\], and the model takes FLOAT \[N, 3\]"),
        ({"x": X[:, :2], "k": K}, r"'x' is float32 \[2, 2\]"),
        ({"x": X[0], "k": K}, r"'x' is float32 \[3\]"),
        ({"x": X, "k": K.astype(np.int32)}, "'k' is int32"),
        ({"a": K, "b": X}, "'x' is int64"),
    ],
)
def test_what_does_not_fit_is_said(model, arrays, words):
    with pytest.raises(ModelError, match=f"^inputs 0: {words}"):
        given_inputs([arrays], model)


def broken(path):
    path.write_bytes(b"\x93NUMPY no array")


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("none.npz", lambda path: None, "no such file or folder"),
        ("data.txt", lambda path: path.touch(), "give a .npz, a .npy, a .pb or a folder"),
        ("empty", lambda path: path.mkdir(), "holds no .npz, .npy or .pb"),
        ("data.npy", broken, "data.npy: "),
        ("data.npz", broken, "data.npz: "),
        ("data.npz", lambda path: path.write_bytes(b"PK\x03\x04"), "cannot be read"),
        ("data.npy", lambda path: path.touch(), "data.npy: "),
        ("data.npy", lambda path: np.save(path, np.array([{}]), allow_pickle=True), "holds Python objects"),
        ("data.pb", lambda path: path.write_bytes(b"\xff\xff"), "is no TensorProto"),
        ("data.pb", lambda path: path.write_bytes(HOLLOW), "is no TensorProto that holds what it says"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read_are_said_in_one_line(model, tmp_path, name, write, words):
    write(tmp_path / name)
    with pytest.raises(ModelFileError, match=words) as caught:
        given_inputs(tmp_path / name, model)
    assert "\n" not in str(caught.value)


def test_a_tensor_never_reads_another_file(model, tmp_path):
    (tmp_path / "secret").write_bytes(X.tobytes())
    proto = onnx.TensorProto(name="x", data_type=1, dims=[2, 3], data_location=onnx.TensorProto.EXTERNAL)
    proto.external_data.add(key="location", value="secret")
    (tmp_path / "input_0.pb").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelFileError, match="its data is in another file"):
        given_inputs(tmp_path, model)


def test_no_source_is_no_inputs(model):
    with pytest.raises(ModelError, match="nothing was given"):
        given_inputs([], model)


def test_a_name_that_comes_twice_is_said(model, tmp_path):
    tensor(tmp_path / "input_0.pb", X, "x")
    tensor(tmp_path / "input_1.pb", X, "x")
    with pytest.raises(ModelFileError, match="there is a 'x' already"):
        given_inputs(tmp_path, model)
