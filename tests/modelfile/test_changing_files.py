"""A file that changes while it is in use is an error: never a crash, never wrong numbers."""

from __future__ import annotations

import os
import pickle

import numpy as np
import onnx_ir as ir
import pytest

from bnfold import modelfile
from bnfold.errors import ModelFileError
from bnfold.modelfile import source
from tests.helpers.models import constant, example

TEXT = """
    g (float[N,8,6,6] x, float[64,8,3,3] w, float[64] bias) => (float[N,64,4,4] y) {
        y = Conv (x, w, bias)
    }
"""


@pytest.fixture(params=["inline", "external", "many"])
def opened(request, tmp_path, monkeypatch):
    """The file that holds the weights of a model, and the model."""
    data = None if request.param == "inline" else "weights.bin"
    if request.param == "many":
        monkeypatch.setattr("bnfold.modelfile.opening._MOST_HELD", 0)
    ir.save(example(TEXT, dtype="float"), tmp_path / "model.onnx", external_data=data)
    return tmp_path / (data or "model.onnx"), modelfile.load(tmp_path / "model.onnx")


def overwrite(file) -> None:
    """As a program does that writes into the file itself."""
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    before = file.stat()
    with file.open("r+b") as stream:
        stream.write(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def truncate(file) -> None:
    os.truncate(file, file.stat().st_size - 1000)


def grow(file) -> None:
    with file.open("ab") as stream:
        stream.write(b"more")


@pytest.mark.parametrize("change", [overwrite, truncate, grow])
def test_reading_says_so(opened, change) -> None:
    file, model = opened
    tensor = model.graph.initializers["w"].const_value
    tensor.numpy()
    change(file)
    for read in (tensor.numpy, tensor.tobytes):
        with pytest.raises(ModelFileError, match=f"{file.name}: changed while it was in use"):
            read()


@pytest.mark.parametrize("change", [overwrite, truncate, grow])
def test_saving_says_so_and_leaves_nothing(opened, change, tmp_path) -> None:
    file, model = opened
    change(file)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ModelFileError, match=f"{file.name}: changed while it was in use"):
        modelfile.save(model, tmp_path / "out.onnx")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("change", [overwrite, truncate])
@pytest.mark.parametrize("in_kernel", [True, False])
def test_a_change_in_the_midst_of_copying_is_noticed(opened, change, in_kernel, tmp_path, monkeypatch) -> None:
    file, model = opened
    pread = os.pread
    copy = getattr(os, "copy_file_range", None)

    def changed_copy(*arguments):
        change(file)
        return copy(*arguments)

    def changed_read(descriptor, length, offset):
        change(file)
        return pread(descriptor, length, offset)

    if in_kernel and copy is not None:
        monkeypatch.setattr(os, "copy_file_range", changed_copy)
    else:
        monkeypatch.delattr(os, "copy_file_range", raising=False)
        monkeypatch.setattr(os, "pread", changed_read)
    with pytest.raises(ModelFileError, match="changed while it was in use"):
        modelfile.save(model, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_a_file_that_is_replaced_is_read_on(opened, request, tmp_path) -> None:
    """Except where there are so many that they are not held open."""
    file, model = opened
    want = constant(example(TEXT, dtype="float"), "w")
    (tmp_path / "new").write_bytes(b"")
    (tmp_path / "new").replace(file)
    tensor = model.graph.initializers["w"].const_value
    if request.node.callspec.params["opened"] != "many":
        np.testing.assert_array_equal(tensor.numpy(), want)
    else:
        with pytest.raises(ModelFileError, match="changed while it was in use"):
            tensor.numpy()
    with pytest.raises(ModelFileError, match="changed while it was in use"):
        modelfile.check_unchanged(model)


def test_a_file_that_shrinks_while_it_is_opened_is_an_error(tmp_path, monkeypatch) -> None:
    ir.save(example(TEXT, dtype="float"), tmp_path / "model.onnx")
    pread = os.pread

    def shrinking(descriptor, length, offset):
        os.truncate(tmp_path / "model.onnx", 100)
        return pread(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", shrinking)
    with pytest.raises(ModelFileError, match="changed while it was in use"):
        modelfile.load(tmp_path / "model.onnx")


@pytest.mark.parametrize("chunk", [16, 1 << 22])
def test_a_system_that_cannot_read_into_a_buffer_reads_the_same(opened, chunk, monkeypatch) -> None:
    file, model = opened
    monkeypatch.delattr(os, "preadv", raising=False)
    monkeypatch.setattr(source, "_CHUNK", chunk)
    tensor = model.graph.initializers["w"].const_value
    np.testing.assert_array_equal(tensor.numpy(), constant(example(TEXT, dtype="float"), "w"))
    truncate(file)
    with pytest.raises(ModelFileError, match="changed while it was in use"):
        tensor.numpy()


def test_what_the_disk_cannot_read_is_an_error(opened, monkeypatch) -> None:
    _, model = opened

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv" if hasattr(os, "preadv") else "pread", fail)
    with pytest.raises(ModelFileError, match="cannot be read: Input/output error"):
        model.graph.initializers["w"].const_value.numpy()


def test_what_was_pickled_is_read_from_the_same_file_only(opened) -> None:
    """Of external data; inline numbers are pickled themselves."""
    file, model = opened
    pickled = pickle.dumps(model.graph.initializers["w"].const_value)
    pickle.loads(pickled)  # noqa: S301
    overwrite(file)
    if file.suffix == ".onnx":
        np.testing.assert_array_equal(pickle.loads(pickled).numpy(), constant(example(TEXT, dtype="float"), "w"))  # noqa: S301
        return
    with pytest.raises(ModelFileError, match="changed while it was in use"):
        pickle.loads(pickled)  # noqa: S301


def test_the_same_model_is_unchanged(opened) -> None:
    _, model = opened
    modelfile.check_unchanged(model)
    modelfile.check_unchanged(model.clone())
    modelfile.check_unchanged(example(TEXT))
