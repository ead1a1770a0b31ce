"""Files: what is refused, what is read, and that nothing half-written is ever left."""

from __future__ import annotations

import os

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import bnfold
from bnfold import modelfile
from bnfold.errors import ExecutionError, ModelFileError
from tests.helpers.models import constant, example, serialised

TEXT = """
    g (float[N,2,6,6] x, float[8,2,6,6] w, float[8] scale, float[8] bias, float[8] mean, float[8] var)
            => (float[N,8,1,1] y) {
        h = Conv (x, w)
        y = BatchNormalization (h, scale, bias, mean, var)
    }
"""


@pytest.fixture
def path(tmp_path):
    ir.save(example(TEXT, dtype="float"), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def external(tmp_path):
    """A model whose large weights lie in ``sub/weights.bin``."""
    (tmp_path / "sub").mkdir()
    ir.save(
        example(TEXT, dtype="float"),
        tmp_path / "model.onnx",
        external_data="sub/weights.bin",
        size_threshold_bytes=256,
    )
    return tmp_path / "model.onnx"


def redirect(path, location: str) -> None:
    """Let the model's external data lie elsewhere."""
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(proto.SerializeToString())


def listing(folder) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


def test_loads_what_onnx_ir_loads(path) -> None:
    assert serialised(modelfile.load(path)) == serialised(ir.load(path))


def test_saves_what_it_loaded(path, tmp_path) -> None:
    modelfile.save(modelfile.load(path), tmp_path / "copy.onnx")
    assert serialised(ir.load(tmp_path / "copy.onnx")) == serialised(ir.load(path))
    assert listing(tmp_path) == ["copy.onnx", "model.onnx"]


def test_refuses_a_missing_file(tmp_path) -> None:
    with pytest.raises(ModelFileError, match="no such file"):
        modelfile.load(tmp_path / "missing.onnx")


def test_refuses_a_folder(tmp_path) -> None:
    with pytest.raises(ModelFileError, match="is a folder"):
        modelfile.load(tmp_path)


def test_refuses_an_empty_file(path) -> None:
    path.write_bytes(b"")
    with pytest.raises(ModelFileError, match="is empty"):
        modelfile.load(path)


@pytest.mark.parametrize("content", [b"not a model\n", b"\x08\x0a", b"PK\x03\x04" * 50, b"{}"])
def test_refuses_what_is_no_onnx_model(path, content) -> None:
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="is not an ONNX model"):
        modelfile.load(path)


def test_refuses_every_truncation(path) -> None:
    """Wherever the file ends early; some ends leave a shorter, valid message, of which something is missing."""
    content = path.read_bytes()
    for length in [*range(1, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError):
            modelfile.load(path)


def test_reads_external_data_from_a_folder_below(external) -> None:
    want = constant(example(TEXT, dtype="float"), "w")
    np.testing.assert_array_equal(constant(modelfile.load(external), "w"), want)


def test_refuses_missing_external_data(external) -> None:
    (external.parent / "sub" / "weights.bin").unlink()
    with pytest.raises(ModelFileError, match=r"'w' at 'sub/weights.bin': no such file"):
        modelfile.load(external)


def test_refuses_truncated_external_data(external) -> None:
    data = external.parent / "sub" / "weights.bin"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ModelFileError, match="the file is truncated"):
        modelfile.load(external)


@pytest.mark.parametrize("location", ["../secret.bin", "sub/../../secret.bin", "..\\secret.bin", ""])
def test_refuses_external_data_outside_the_folder(external, location) -> None:
    (external.parent.parent / "secret.bin").write_bytes(b"\0" * 4096)
    redirect(external, location)
    with pytest.raises(ModelFileError, match=r"only files inside|no such file"):
        modelfile.load(external)


def test_refuses_an_absolute_location(external) -> None:
    redirect(external, os.fspath(external.parent / "sub" / "weights.bin"))
    with pytest.raises(ModelFileError, match="only files inside the model's folder"):
        modelfile.load(external)


def test_refuses_a_link_that_leads_out_of_the_folder(external, tmp_path_factory) -> None:
    data = external.parent / "sub" / "weights.bin"
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "weights.bin"
    data.rename(elsewhere)
    data.symlink_to(elsewhere)
    with pytest.raises(ModelFileError, match="leads out of the model's folder"):
        modelfile.load(external)


def test_external_weights_stay_external(external) -> None:
    target = external.with_name("folded.onnx")
    result = bnfold.fold(external)
    result.save(target)
    assert listing(external.parent) == ["folded.onnx", "folded.onnx.data", "model.onnx", "sub", "sub/weights.bin"]
    again = modelfile.load(target)
    for name, value in result.model.graph.initializers.items():
        np.testing.assert_array_equal(again.graph.initializers[name].const_value.numpy(), value.const_value.numpy())


def test_never_overwrites_the_external_data_that_it_reads(external) -> None:
    (external.parent / "sub" / "weights.bin").rename(external.parent / "folded.onnx.data")
    redirect(external, "folded.onnx.data")
    before = (external.parent / "folded.onnx.data").read_bytes()
    with pytest.raises(ModelFileError, match="would overwrite what the model was read from"):
        bnfold.fold(external).save(external.with_name("folded.onnx"))
    assert (external.parent / "folded.onnx.data").read_bytes() == before
    assert "folded.onnx" not in listing(external.parent)


def test_a_failed_block_leaves_nothing(tmp_path) -> None:
    target = tmp_path / "out.onnx"
    target.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), modelfile.staged(target) as temporary:  # noqa: PT012 - it is the block
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert listing(tmp_path) == ["out.onnx"]
    assert target.read_bytes() == b"old"


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path) -> None:
    with pytest.raises(ModelFileError, match="No space left"), modelfile.staged(tmp_path / "out.onnx"):
        raise OSError(28, "No space left on device")
    assert listing(tmp_path) == []


@pytest.mark.parametrize("target", [".", "missing/out.onnx"])
def test_refuses_a_target_that_cannot_be_a_file(tmp_path, target) -> None:
    with pytest.raises(ModelFileError), modelfile.staged(tmp_path / target):
        pytest.fail("the block was entered")
    assert listing(tmp_path) == []


def test_a_file_that_is_not_accepted_is_not_there(path) -> None:
    def refuse(temporary) -> None:
        assert serialised(ir.load(temporary)) == serialised(ir.load(path))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        modelfile.save(modelfile.load(path), path.with_name("out.onnx"), accept=refuse)
    assert listing(path.parent) == ["model.onnx"]


# What is malformed


def broken(path, change) -> None:
    proto = onnx.load(path)
    change(proto.graph)
    path.write_bytes(proto.SerializeToString())


MALFORMED = {
    "undefined_input": (lambda graph: graph.node[0].input.__setitem__(0, "nothing"), "reads 'nothing', which nothing"),
    "cycle": (lambda graph: graph.node[0].input.__setitem__(0, "y"), "Conv reads 'y', which nothing before it writes"),
    "undefined_output": (lambda graph: setattr(graph.output[0], "name", "nothing"), "nothing writes the graph output"),
    "short_raw_data": (lambda graph: setattr(graph.initializer[0], "raw_data", b"1234"), "is truncated"),
    "no_data": (lambda graph: graph.initializer[0].ClearField("raw_data"), "is truncated"),
    "no_dtype": (lambda graph: setattr(graph.initializer[0], "data_type", 0), "is truncated|malformed"),
    "sparse": (lambda graph: graph.sparse_initializer.add(), "is a malformed ONNX model"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_refuses_a_malformed_model(path, name) -> None:
    change, complaint = MALFORMED[name]
    broken(path, change)
    with pytest.raises(ModelFileError, match=complaint):
        modelfile.load(path)


@pytest.mark.parametrize("location", ["a\0b", "x" * 5000])
def test_refuses_external_data_at_an_impossible_place(external, location) -> None:
    redirect(external, location)
    with pytest.raises(ModelFileError, match="external data of 'w'"):
        modelfile.load(external)


def test_values_of_an_outer_scope_are_known_in_a_body(tmp_path) -> None:
    from tests.folding.ops.test_contract import in_a_branch

    modelfile.save(in_a_branch(example(TEXT, dtype="float")), tmp_path / "m.onnx")
    modelfile.load(tmp_path / "m.onnx")


# What must never be overwritten


def test_never_overwrites_what_the_model_was_read_from(external) -> None:
    result = bnfold.fold(external)
    for target in (external, external.parent / "sub" / "weights.bin"):
        before = target.read_bytes()
        with pytest.raises(ModelFileError, match="would overwrite what the model was read from"):
            result.save(target)
        assert target.read_bytes() == before


def test_a_link_stays_and_what_it_leads_to_is_replaced(path, tmp_path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "out.onnx", tmp_path / "link.onnx"
    target.write_bytes(b"old")
    link.symlink_to(target)
    modelfile.save(modelfile.load(path), link)
    assert link.is_symlink()
    assert serialised(ir.load(target)) == serialised(ir.load(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_refuses_what_is_no_regular_file(path, tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelFileError, match="is not a regular file"):
        modelfile.load(tmp_path / "pipe")
    with pytest.raises(ModelFileError, match="is not a regular file"):
        modelfile.save(modelfile.load(path), tmp_path / "pipe")


def test_an_error_of_whoever_checks_the_file_is_not_one_of_writing_it(path, tmp_path) -> None:
    def fail(temporary) -> None:
        raise OSError(13, "no permission elsewhere")

    with pytest.raises(ExecutionError, match="could not be checked"):
        modelfile.save(modelfile.load(path), tmp_path / "out.onnx", accept=fail)


def test_says_what_is_wrong_with_an_offset(external) -> None:
    content = external.read_bytes()
    proto = onnx.ModelProto.FromString(content)
    for entry in (entry for tensor in proto.graph.initializer for entry in tensor.external_data):
        entry.value = "abc" if entry.key == "offset" else entry.value
    external.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelFileError, match=r"is a malformed ONNX model: .*abc"):
        modelfile.load(external)


def test_refuses_external_data_whose_name_is_no_text(external) -> None:
    external.write_bytes(external.read_bytes().replace(b"sub/weights.bin", b"sub/weights.b\xff\xfe"))
    with pytest.raises(ModelFileError, match=r"external data of 'w'.*the name is not UTF-8"):
        modelfile.load(external)


def test_says_that_a_link_leads_away_from_the_data(external, tmp_path) -> None:
    """As in a cache where model and data are links into another folder."""
    (tmp_path / "cache").mkdir()
    external.rename(tmp_path / "cache" / "model")
    external.symlink_to(tmp_path / "cache" / "model")
    with pytest.raises(ModelFileError, match="is a link, and its data are not beside what it leads to"):
        modelfile.load(external)
