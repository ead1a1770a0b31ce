"""What is opened and saved is what it was, whatever is in it."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bnfold
from bnfold import modelfile
from bnfold.errors import ModelFileError
from bnfold.modelfile import limits
from bnfold.modelfile.graphs import all_graphs, places
from bnfold.modelfile.wire import Span, exchange
from bnfold.runtime import sessions
from bnfold.runtime.sessions import Level
from tests.helpers.models import constant, example, serialised
from tests.helpers.protos import Maker, differences, makers, recoded

TEXT = """
    g (float[N,2,6,6] x, float[8,2,6,6] w, float[8] scale, float[8] bias, float[8] mean, float[8] var)
            => (float[N,8,1,1] y) {
        h = Conv (x, w)
        y = BatchNormalization (h, scale, bias, mean, var)
    }
"""


@contextlib.contextmanager
def threshold(size: int):
    """Hypothesis takes no fixtures that are made once a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "THRESHOLD", size)
        yield


def plain(proto: onnx.ModelProto) -> onnx.ModelProto:
    """What onnx-ir makes of a model by itself; sparse initializers it drops, and warns of."""
    return ir.to_proto(ir.from_proto(proto))


def known(proto: onnx.ModelProto) -> onnx.ModelProto:
    for graph in (proto.graph, *(body for body in _bodies(proto.graph))):
        graph.ClearField("sparse_initializer")
    return proto


def _bodies(graph):
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield attribute.g
                yield from _bodies(attribute.g)


@settings(max_examples=80, deadline=None)
@given(maker=makers(external=False), size=st.sampled_from([1, 8, 1000]), shuffle=st.booleans())
def test_keeps_every_field(maker: Maker, size: int, shuffle: bool) -> None:
    proto = maker.model()
    content = recoded(proto, maker.rng) if shuffle else proto.SerializeToString()
    with tempfile.TemporaryDirectory() as folder, threshold(size):
        path, copied, again = (Path(folder, name) for name in ("model.onnx", "copy.onnx", "again.onnx"))
        path.write_bytes(content)
        saved = modelfile.save(modelfile.load(path), copied)
        assert saved == modelfile.Saved(copied)
        modelfile.save(modelfile.load(path), again)
        assert copied.read_bytes() == again.read_bytes()
        found = onnx.ModelProto.FromString(copied.read_bytes())
    proto = onnx.ModelProto.FromString(content)
    assert differences(proto, found) == []
    by_onnx_ir = plain(proto)
    assert differences(by_onnx_ir, found) == []
    gained = {line for line in differences(found, proto) if "value_info[s" not in line}  # of sparse ones as of others
    assert gained <= {*differences(by_onnx_ir, proto)}


@settings(max_examples=60, deadline=None)
@given(maker=makers(external=True), size=st.sampled_from([1, 8]))
def test_keeps_external_data(maker: Maker, size: int) -> None:
    proto = maker.model()
    with tempfile.TemporaryDirectory() as folder, threshold(size):
        path, copied = Path(folder, "model.onnx"), Path(folder, "copy.onnx")
        path.write_bytes(proto.SerializeToString())
        Path(folder, "data.bin").write_bytes(maker.data)
        model = modelfile.load(path)
        has_external = bool(modelfile.find_external_files(model))
        saved = modelfile.save(model, copied)
        assert saved.external == (Path(folder, "copy.onnx.data") if has_external else None)
        again = modelfile.load(copied)
        assert modelfile.find_external_files(again) <= {Path(folder, "copy.onnx.data").resolve()}
        for old, new in zip(_tensors(model), _tensors(again), strict=True):
            assert (old.dtype, old.shape, old.name) == (new.dtype, new.shape, new.name)
            np.testing.assert_array_equal(old.numpy(), new.numpy())


def _tensors(model: ir.Model) -> list[ir.TensorProtocol]:
    return [place.tensor for graph in all_graphs(model) for place in places(graph)]


@settings(max_examples=100, deadline=None)
@given(maker=makers(external=False), size=st.sampled_from([1, 8, 1000]))
def test_tensors_have_the_same_numbers_as_onnx_ir_reads(maker: Maker, size: int) -> None:
    proto = known(maker.model())
    with tempfile.TemporaryDirectory() as folder, threshold(size):
        path = Path(folder, "model.onnx")
        path.write_bytes(proto.SerializeToString())
        model = modelfile.load(path)
        for ours, theirs in zip(_tensors(model), _tensors(ir.from_proto(proto)), strict=True):
            assert (ours.dtype, ours.shape, ours.name) == (theirs.dtype, theirs.shape, theirs.name)
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
            assert ours.numpy().dtype == theirs.numpy().dtype
            if ours.dtype is not ir.DataType.STRING:
                assert ours.tobytes() == theirs.tobytes()


@settings(max_examples=100, deadline=None)
@given(maker=makers(external=False), size=st.sampled_from([1, 5, 50]))
def test_exchanging_there_and_back_gives_the_same_bytes(maker: Maker, size: int) -> None:
    text = maker.model().SerializeToString()
    contents: list[bytes] = []

    def take(start: int, stop: int) -> tuple[bytes, int] | None:
        if stop - start < size:
            return None
        contents.append(text[start:stop])
        return b"<here>", 6

    def give(start: int, stop: int) -> tuple[bytes, int] | None:
        return (contents[0], len(contents.pop(0))) if short[start:stop] == b"<here>" else None

    def joined(data: bytes, pieces: list) -> bytes:
        return b"".join(data[slice(*piece)] if isinstance(piece, Span) else piece for piece in pieces)

    short = joined(text, exchange(text, lambda start, stop: stop - start >= size, take))
    onnx.ModelProto.FromString(short)
    assert joined(short, exchange(short, lambda start, stop: True, give)) == text
    assert contents == []


def outcome(path: Path, size: int) -> bytes | None:
    """What a file is read as, and written as; None when it is refused."""
    with threshold(size):
        try:
            modelfile.save(modelfile.load(path), path.with_name("copy.onnx"))
        except ModelFileError:
            return None
    return path.with_name("copy.onnx").read_bytes()


@pytest.mark.filterwarnings("ignore")  # numpy's, of the numbers that came about
@settings(max_examples=120, deadline=None)
@given(maker=makers(external=False), data=st.data())
def test_a_damaged_file_is_refused_or_read_as_onnx_ir_reads_it(maker: Maker, data: st.DataObject) -> None:
    content = bytearray(maker.model().SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        path.write_bytes(content)
        assert outcome(path, 1) == outcome(path, 10**9)


def test_every_truncation_is_refused_or_read_as_onnx_ir_reads_it(tmp_path) -> None:
    path = tmp_path / "model.onnx"
    content = Maker(3, external=False).model().SerializeToString()
    for length in range(1, len(content), 1 + len(content) // 400):
        path.write_bytes(content[:length])
        assert outcome(path, 1) == outcome(path, 10**9)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("external", [False, True])
def test_opens_in_onnx_onnxruntime_and_onnx_ir(tmp_path, external) -> None:
    ir.save(example(TEXT, dtype="float"), tmp_path / "model.onnx")
    modelfile.save(modelfile.load(tmp_path / "model.onnx"), tmp_path / "copy.onnx", external=external)
    onnx.checker.check_model(tmp_path / "copy.onnx", full_check=True)
    np.testing.assert_array_equal(
        constant(ir.load(tmp_path / "copy.onnx"), "w"), constant(ir.load(tmp_path / "model.onnx"), "w")
    )
    feeds = [{"x": np.ones((2, 2, 6, 6), np.float32)}]
    before, after = (
        sessions.run(tmp_path / name, Level.DISABLED, feeds)[0]["y"] for name in ("model.onnx", "copy.onnx")
    )
    np.testing.assert_array_equal(before, after)


@pytest.mark.usefixtures("tiny")
def test_tensors_go_where_those_of_onnx_ir_go(tmp_path) -> None:
    """Cloned, copied, pickled, and saved by onnx-ir."""
    model = example(TEXT, dtype="float")
    ir.save(model, tmp_path / "model.onnx")
    opened = modelfile.load(tmp_path / "model.onnx")
    want = serialised(model)
    assert serialised(opened) == want
    assert serialised(opened.clone()) == want
    assert serialised(opened.clone(deep_copy=True)) == want
    ir.save(opened, tmp_path / "other.onnx", external_data="other.data", size_threshold_bytes=1)
    np.testing.assert_array_equal(constant(ir.load(tmp_path / "other.onnx"), "w"), constant(model, "w"))
    tensor = opened.graph.initializers["w"].const_value
    for twin in (copy.copy(tensor), copy.deepcopy(tensor), pickle.loads(pickle.dumps(tensor))):  # noqa: S301
        assert twin.name == "w"
        np.testing.assert_array_equal(twin.numpy(), constant(model, "w"))
    np.testing.assert_array_equal(np.asarray(tensor), constant(model, "w"))


def test_a_file_is_closed_when_its_last_tensor_is_gone(tmp_path, tiny) -> None:
    del tiny
    ir.save(example(TEXT, dtype="float"), tmp_path / "model.onnx")
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("cannot tell which files are open")

    def opened() -> int:
        return sum(link.resolve() == (tmp_path / "model.onnx").resolve() for link in descriptors.iterdir())

    model = modelfile.load(tmp_path / "model.onnx")
    tensor = model.graph.initializers["w"].const_value
    del model
    gc.collect()
    assert opened() == 1
    tensor.numpy()
    del tensor
    assert opened() == 0


@pytest.mark.usefixtures("tiny")
def test_numbers_cannot_be_written_to(tmp_path) -> None:
    """They would be lost."""
    ir.save(example(TEXT, dtype="float"), tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="read-only"):
        constant(modelfile.load(tmp_path / "model.onnx"), "w")[:] = 0


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("data", [None, "weights.bin"])
def test_a_copy_of_the_numbers_can_be_written_to(tmp_path, data) -> None:
    ir.save(example(TEXT, dtype="float"), tmp_path / "model.onnx", external_data=data)
    tensor = modelfile.load(tmp_path / "model.onnx").graph.initializers["w"].const_value
    np.array(tensor, copy=True)[:] = 0
    np.testing.assert_array_equal(np.asarray(tensor), constant(example(TEXT, dtype="float"), "w"))


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("data", [None, "weights.bin"])
def test_a_folded_model_can_be_pickled(tmp_path, data) -> None:
    ir.save(example(TEXT, dtype="float"), tmp_path / "model.onnx", external_data=data)
    model = bnfold.fold(tmp_path / "model.onnx").model
    twin = pickle.loads(pickle.dumps(model))  # noqa: S301
    np.testing.assert_array_equal(constant(twin, "w"), constant(model, "w"))


def test_saves_any_tensor_and_asks_for_its_numbers_once(tmp_path) -> None:
    calls = []

    def compute() -> ir.Tensor:
        calls.append(1)
        return ir.Tensor(np.arange(5000, dtype=np.float32))

    model = example(TEXT, dtype="float")
    initializers = model.graph.initializers
    lazy = ir.LazyTensor(compute, ir.DataType.FLOAT, ir.Shape([5000]), name="x", doc_string="of x")
    initializers["mean"].const_value = lazy
    packed = ir.PackedTensor(np.zeros(5000, np.uint8), ir.DataType.INT4, shape=ir.Shape([100, 100]))
    initializers["var"].const_value = packed
    transposed = np.arange(6000, dtype=np.float32).reshape(60, 100).T
    initializers["bias"].const_value = ir.Tensor(transposed)
    modelfile.save(model, tmp_path / "model.onnx")
    assert calls == [1]
    assert initializers["mean"].const_value is lazy
    read = {tensor.name: tensor for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer}
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(read["mean"]), np.arange(5000))
    assert read["mean"].doc_string == "of x"
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(read["bias"]), transposed)
    assert onnx.numpy_helper.to_array(read["var"]).shape == (100, 100)


@pytest.mark.usefixtures("tiny")
def test_a_model_is_not_touched_while_it_is_saved(tmp_path) -> None:
    """Another thread may read it, or save it too."""
    made = Maker(1, external=False)
    proto = next(proto for proto in iter(made.model, None) if len(list(_bodies(proto.graph))) > 1)
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    model = modelfile.load(tmp_path / "model.onnx")
    seen: list = []

    def compute() -> ir.Tensor:
        seen.append(_tensors(model))
        return ir.Tensor(np.ones(5, np.float32))

    class Watched(ir.StringTensor):
        def string_data(self):
            seen.append(_tensors(model))
            return super().string_data()

    watched = Watched([b"a"], shape=ir.Shape([1]), name="watched")  # protobuf is given its content
    lazy = ir.LazyTensor(compute, ir.DataType.FLOAT, ir.Shape([5]), name="lazy")
    for tensor in (watched, lazy):
        model.graph.register_initializer(ir.Value(name=tensor.name, const_value=tensor))
    before = _tensors(model)
    want = serialised(model)
    seen.clear()
    modelfile.save(model, tmp_path / "copy.onnx")
    assert len(seen) >= 2
    for tensors in seen:
        assert [id(tensor) for tensor in tensors] == [id(tensor) for tensor in before]
    assert serialised(model) == want


def test_refuses_a_tensor_that_is_not_what_it_says(tmp_path) -> None:
    model = example(TEXT, dtype="float")
    wrong = ir.LazyTensor(lambda: ir.Tensor(np.zeros(10)), ir.DataType.FLOAT, ir.Shape([5000]), name="w")
    model.graph.initializers["w"].const_value = wrong
    with pytest.raises(ModelFileError, match="tensor 'w' has 80 bytes, and should have 20000"):
        modelfile.save(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_metadata_of_tensors_are_written_once(tmp_path) -> None:
    proto = ir.to_proto(example(TEXT, dtype="float"))
    for key in ("b", "a"):
        proto.graph.initializer[0].metadata_props.add(key=key, value="1")
        proto.graph.initializer[1].metadata_props.add(key=key, value="1")
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    model = modelfile.load(tmp_path / "model.onnx")
    model.graph.initializers["scale"].const_value.metadata_props["c"] = "2"
    modelfile.save(model, tmp_path / "copy.onnx")
    found = {t.name: t.metadata_props for t in onnx.load(tmp_path / "copy.onnx").graph.initializer}
    assert [entry.key for entry in found["w"]] == ["b", "a"]
    assert [entry.key for entry in found["scale"]] == ["a", "b", "c"]
