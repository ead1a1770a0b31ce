"""How files are written: what is copied, where external data go, and what is left when something fails."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import bnfold
from bnfold import modelfile
from bnfold.errors import ModelFileError
from bnfold.modelfile import limits
from tests.helpers import memory
from tests.helpers.models import constant, example, serialised

TEXT = """
    g (float[N,8,6,6] x, float[64,8,3,3] w, float[64] bias) => (float[N,64,4,4] y) {
        y = Conv (x, w, bias)
    }
"""
WANT = constant(example(TEXT, dtype="float"), "w")


@pytest.fixture
def path(tmp_path) -> Path:
    ir.save(example(TEXT, dtype="float"), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def external(tmp_path) -> Path:
    ir.save(example(TEXT, dtype="float"), tmp_path / "model.onnx", external_data="weights.bin")
    return tmp_path / "model.onnx"


def listing(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def external_entries(path: Path) -> dict[str, dict[str, str]]:
    initializers = onnx.load(path, load_external_data=False).graph.initializer
    return {t.name: {e.key: e.value for e in t.external_data} for t in initializers if t.external_data}


# Copying


@pytest.mark.parametrize("code", [None, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_copies_through_the_process_where_the_kernel_cannot(path, tmp_path, monkeypatch, code) -> None:
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    if code is None:
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    else:
        monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    modelfile.save(modelfile.load(path), tmp_path / "copy.onnx")
    assert serialised(ir.load(tmp_path / "copy.onnx")) == serialised(ir.load(path))


@pytest.mark.skipif(not hasattr(os, "copy_file_range"), reason="a system call of Linux")
def test_unchanged_weights_do_not_pass_through_the_process(path, tmp_path, monkeypatch) -> None:
    copied, copy = [], os.copy_file_range

    def short(source, target, count, *offsets):
        copied.append(copy(source, target, min(count, 1000), *offsets))  # as the kernel may
        return copied[-1]

    monkeypatch.setattr(os, "copy_file_range", short)
    modelfile.save(modelfile.load(path), tmp_path / "copy.onnx")
    assert sum(copied) == WANT.nbytes
    assert serialised(ir.load(tmp_path / "copy.onnx")) == serialised(ir.load(path))


@pytest.mark.skipif(not hasattr(os, "copy_file_range"), reason="a system call of Linux")
def test_copies_through_the_process_what_the_kernel_says_is_nothing(path, tmp_path, monkeypatch) -> None:
    """As some file systems have it."""
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)
    modelfile.save(modelfile.load(path), tmp_path / "copy.onnx")
    assert serialised(ir.load(tmp_path / "copy.onnx")) == serialised(ir.load(path))


def test_writes_on_after_a_short_write(path, tmp_path, monkeypatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:100]))
    monkeypatch.delattr(os, "copy_file_range", raising=False)
    modelfile.save(modelfile.load(path), tmp_path / "copy.onnx")
    assert serialised(ir.load(tmp_path / "copy.onnx")) == serialised(ir.load(path))


@pytest.mark.parametrize("has_holes", [True, False])
def test_works_where_the_system_knows_no_holes(external, tmp_path, monkeypatch, has_holes) -> None:
    if has_holes:
        monkeypatch.setattr(os, "SEEK_DATA", 99, raising=False)  # which the file system refuses
    else:
        monkeypatch.delattr(os, "SEEK_DATA", raising=False)
    modelfile.save(modelfile.load(external), tmp_path / "copy.onnx")
    np.testing.assert_array_equal(constant(ir.load(tmp_path / "copy.onnx"), "w"), WANT)


def sparse_model(folder: Path, size: int, data: str = "weights.bin") -> Path:
    """A model with a table of some bytes, all of it a hole but the 1.0 at its end."""
    with (folder / data).open("wb") as stream:
        stream.truncate(size)
        stream.seek(size - 4)
        stream.write(np.float32(1).tobytes())
    shape = ir.Shape([size // 4096, 1024])
    model = example(
        """
        g (float[N,2,6,6] x, float[8,2,6,6] w, float[8] scale, float[8] bias, float[8] mean, float[8] var)
                => (float[N,8,1,1] y, float[1024] row) {
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
            index = Constant <value_int = -1> ()
            row = Gather (table, index)
        }
        """,
        dtype="float",
    )
    value = next(node.inputs[0] for node in model.graph if node.op_type == "Gather")
    value.const_value = ir.ExternalTensor(data, 0, size, ir.DataType.FLOAT, shape=shape, name="table")
    value.dtype, value.shape = ir.DataType.FLOAT, shape
    model.graph.register_initializer(value)
    (folder / "model.onnx").write_bytes(serialised(model))
    return folder / "model.onnx"


def test_holes_stay_holes(tmp_path) -> None:
    path = sparse_model(tmp_path, 1 << 26)
    if (tmp_path / "weights.bin").stat().st_blocks > 1000:
        pytest.skip("the file system has no holes")
    modelfile.save(modelfile.load(path), tmp_path / "copy.onnx")
    copy = (tmp_path / "copy.onnx.data").stat()
    assert copy.st_size == 1 << 26
    assert copy.st_blocks <= 1000
    tensor = modelfile.load(tmp_path / "copy.onnx").graph.initializers["table"].const_value
    assert tensor.numpy()[-1, [0, -1]].tolist() == [0, 1]


# External data


def test_external_data_are_aligned_and_shared(external, tmp_path) -> None:
    model = modelfile.load(external)
    twin = ir.Value(name="twin", const_value=model.graph.initializers["w"].const_value)
    model.graph.register_initializer(twin)
    other = ir.Value(name="other", const_value=ir.Tensor(np.ones(2000, np.float32), name="other"))
    model.graph.register_initializer(other)
    saved = modelfile.save(model, tmp_path / "copy.onnx")
    assert saved == modelfile.Saved(tmp_path / "copy.onnx", tmp_path / "copy.onnx.data")
    entries = external_entries(tmp_path / "copy.onnx")
    assert set(entries) == {"w", "twin", "other"}  # the bias is small, and inside
    assert entries["w"] == entries["twin"] == {"location": "copy.onnx.data", "offset": "0", "length": str(WANT.nbytes)}
    assert int(entries["other"]["offset"]) % 4096 == 0
    assert (tmp_path / "copy.onnx.data").stat().st_size == int(entries["other"]["offset"]) + 8000
    again = onnx.load(tmp_path / "copy.onnx")
    for tensor in again.graph.initializer:
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), constant(model, tensor.name))


def test_unchanged_external_weights_are_not_read(external, tmp_path, monkeypatch) -> None:
    model = modelfile.load(external)

    def refuse(*_):
        pytest.fail("they were read")

    monkeypatch.setattr(modelfile.opening.Source, "read", refuse)
    monkeypatch.setattr(modelfile.opening.Source, "read_into", refuse)
    modelfile.save(model, tmp_path / "copy.onnx")


def test_external_weights_of_constants_stay_external(external, tmp_path) -> None:
    proto = onnx.load(external, load_external_data=False)
    weight = next(tensor for tensor in proto.graph.initializer if tensor.name == "w")
    proto.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["w"]))
    proto.graph.node[0].attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(weight)
    proto.graph.initializer.remove(weight)
    external.write_bytes(proto.SerializeToString())
    (tmp_path / "elsewhere").mkdir()
    modelfile.save(modelfile.load(external), tmp_path / "elsewhere" / "copy.onnx")
    tensor = onnx.load(tmp_path / "elsewhere" / "copy.onnx").graph.node[0].attribute[0].t
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), WANT)


def test_keeps_the_checksum_of_weights_that_stay(external, tmp_path) -> None:
    proto = onnx.load(external, load_external_data=False)
    next(t for t in proto.graph.initializer if t.name == "w").external_data.add(key="checksum", value="abc")
    external.write_bytes(proto.SerializeToString())
    modelfile.save(modelfile.load(external), tmp_path / "copy.onnx")
    assert external_entries(tmp_path / "copy.onnx")["w"]["checksum"] == "abc"


def test_a_model_too_large_for_one_file_gets_external_data(path, tmp_path, monkeypatch) -> None:
    size = path.stat().st_size
    model = modelfile.load(path)
    monkeypatch.setattr(limits, "LARGEST", size + 100)
    assert modelfile.save(model, tmp_path / "fits.onnx").external is None
    monkeypatch.setattr(limits, "LARGEST", size - 100)
    saved = modelfile.save(model, tmp_path / "copy.onnx")
    assert saved.external == tmp_path / "copy.onnx.data"
    assert "more than protobuf can read" in saved.reason
    np.testing.assert_array_equal(constant(ir.load(tmp_path / "copy.onnx"), "w"), WANT)
    monkeypatch.setattr(limits, "LARGEST", 100)
    with pytest.raises(ModelFileError, match="too large for one file"):
        modelfile.save(model, tmp_path / "never.onnx")
    assert listing(tmp_path) == ["copy.onnx", "copy.onnx.data", "fits.onnx", "model.onnx"]


def test_refuses_a_data_file_with_several_hard_links(external, tmp_path) -> None:
    os.link(tmp_path / "weights.bin", tmp_path / "other.bin")
    with pytest.raises(ModelFileError, match="several hard links"):
        modelfile.load(external)


def test_external_data_of_a_link_lie_beside_what_it_leads_to(tmp_path) -> None:
    for name in ("real", "links"):
        (tmp_path / name).mkdir()
    source, link = tmp_path / "real" / "src.onnx", tmp_path / "links" / "l.onnx"
    ir.save(example(TEXT, dtype="float"), source, external_data="l.onnx.data")
    link.symlink_to(tmp_path / "real" / "r.onnx")
    before = (tmp_path / "real" / "l.onnx.data").read_bytes()
    model = modelfile.load(source)
    model.graph.initializers["w"].const_value = ir.Tensor(-WANT, name="w")
    saved = modelfile.save(model, link, external=True)
    assert saved == modelfile.Saved(link, tmp_path / "real" / "r.onnx.data")
    assert (tmp_path / "real" / "l.onnx.data").read_bytes() == before
    np.testing.assert_array_equal(constant(ir.load(tmp_path / "real" / "r.onnx"), "w"), -WANT)
    np.testing.assert_array_equal(constant(modelfile.load(link), "w"), -WANT)
    (tmp_path / "links" / "again.onnx").symlink_to(tmp_path / "real" / "l.onnx")
    with pytest.raises(ModelFileError, match="would overwrite what the model was read from"):
        modelfile.save(modelfile.load(source), tmp_path / "links" / "again.onnx")


@pytest.mark.parametrize("name", ["a\\b.onnx", "a\udcffb.onnx"])
def test_refuses_external_data_that_no_model_can_name(external, name) -> None:
    target = external.with_name(name)
    with pytest.raises(ModelFileError, match="cannot name such a file of external data; choose another name"):
        modelfile.save(modelfile.load(external), target)
    assert not target.exists()


def test_a_name_as_long_as_may_be_is_no_trouble(tmp_path) -> None:
    name = "n" * 250 + ".onnx"
    modelfile.save(example(TEXT, dtype="float"), tmp_path / name)
    assert listing(tmp_path) == [name]


def test_refuses_links_in_a_circle(path, tmp_path) -> None:
    link = tmp_path / "link.onnx"
    link.symlink_to(link)
    with pytest.raises(ModelFileError, match=r"link.onnx: "):
        modelfile.load(link)
    with pytest.raises(ModelFileError, match=r"link.onnx: no file can be there"):
        modelfile.save(modelfile.load(path), link)
    with pytest.raises(ModelFileError, match="no file can be there"), modelfile.staged(link):
        pytest.fail("the block was entered")


# In place


def test_replaces_a_model_and_its_data(external, tmp_path) -> None:
    (tmp_path / "weights.bin").chmod(0o600)
    model = modelfile.load(external)
    model.graph.initializers["w"].const_value = ir.Tensor(-WANT, name="w")
    with pytest.raises(ModelFileError, match="would overwrite"):
        modelfile.save(model, external, sources=[external.resolve(), tmp_path.resolve() / "weights.bin"])
    sources = [external.resolve(), tmp_path.resolve() / "weights.bin"]
    saved = modelfile.save(model, external, sources=sources, external=True, in_place=True)
    assert saved == modelfile.Saved(external, tmp_path / "weights.bin")
    assert listing(tmp_path) == ["model.onnx", "weights.bin"]
    assert stat.S_IMODE((tmp_path / "weights.bin").stat().st_mode) == 0o600
    np.testing.assert_array_equal(constant(ir.load(external), "w"), -WANT)


def test_an_untouched_model_can_be_saved_in_its_own_place(external, tmp_path) -> None:
    modelfile.save(modelfile.load(external), external, in_place=True)
    np.testing.assert_array_equal(constant(ir.load(external), "w"), WANT)
    assert listing(tmp_path) == ["model.onnx", "weights.bin"]


def test_the_data_are_there_before_the_model(external, monkeypatch) -> None:
    order, replace = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda file, place: (order.append(file.name), replace(file, place))[1])
    modelfile.save(modelfile.load(external), external, in_place=True)
    assert order == ["weights.bin", "model.onnx"]


def two_with_one_data_file(folder: Path, data: str) -> list[Path]:
    """Two models, which read different parts of one file."""
    paths = []
    for index, name in enumerate(("a.onnx", "b.onnx")):
        ir.save(example(TEXT, dtype="float"), folder / name, external_data=data)
        proto = onnx.load(folder / name, load_external_data=False)
        for tensor in proto.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "offset":
                    entry.value = str(int(entry.value) + index * (folder / data).stat().st_size)
        (folder / name).write_bytes(proto.SerializeToString())
        paths.append(folder / name)
    (folder / data).write_bytes((folder / data).read_bytes() * 2)
    return paths


def test_leaves_a_data_file_that_another_model_may_read(tmp_path) -> None:
    first, second = two_with_one_data_file(tmp_path, "w.bin")
    before = (tmp_path / "w.bin").read_bytes()
    model = modelfile.load(first)
    model.graph.initializers["w"].const_value = ir.Tensor(-WANT, name="w")
    saved = modelfile.save(model, first, external=True, in_place=True)
    assert saved == modelfile.Saved(first, tmp_path / "a.onnx.data", unread=(tmp_path / "w.bin",))
    assert (tmp_path / "w.bin").read_bytes() == before
    np.testing.assert_array_equal(constant(ir.load(first), "w"), -WANT)
    np.testing.assert_array_equal(constant(ir.load(second), "w"), WANT)


def test_refuses_to_replace_a_data_file_that_another_model_may_read(tmp_path) -> None:
    first, _ = two_with_one_data_file(tmp_path, "a.onnx.data")
    before = (tmp_path / "a.onnx.data").read_bytes()
    with pytest.raises(ModelFileError, match=r"a.onnx.data: would overwrite what the model was read from"):
        modelfile.save(modelfile.load(first), first, in_place=True)
    assert (tmp_path / "a.onnx.data").read_bytes() == before


@pytest.mark.parametrize(
    ("gap", "filling", "is_replaced"), [(65536, b"\0", False), (65535, b"\0", True), (1, b"x", False)]
)
@pytest.mark.parametrize("where", ["before", "after"])
def test_padding_of_a_data_file_is_nothing_to_keep(external, tmp_path, gap, filling, is_replaced, where) -> None:
    data = tmp_path / "weights.bin"
    content, padding = data.read_bytes(), filling * gap
    data.write_bytes(padding + content if where == "before" else content + padding)
    proto = onnx.load(external, load_external_data=False)
    for entry in (entry for tensor in proto.graph.initializer for entry in tensor.external_data):
        if entry.key == "offset" and where == "before":
            entry.value = str(int(entry.value) + gap)
    external.write_bytes(proto.SerializeToString())
    saved = modelfile.save(modelfile.load(external), external, in_place=True)
    assert saved.external == (data if is_replaced else tmp_path / "model.onnx.data")
    np.testing.assert_array_equal(constant(ir.load(external), "w"), WANT)


def test_in_place_replaces_nothing_of_another_model(external, tmp_path) -> None:
    saved = modelfile.save(modelfile.load(external), tmp_path / "other.onnx", in_place=True)
    assert saved.external == tmp_path / "other.onnx.data"
    with pytest.raises(ModelFileError, match="would overwrite"):
        modelfile.save(modelfile.load(external), tmp_path / "weights.bin", in_place=True)
    np.testing.assert_array_equal(constant(ir.load(external), "w"), WANT)


def test_never_overwrites_what_a_model_in_memory_came_from(path, tmp_path) -> None:
    """Neither by a fold of a fold, which knows the first model no more."""
    model = bnfold.fold(bnfold.fold(path).model)
    with pytest.raises(ModelFileError, match="would overwrite what the model was read from"):
        model.save(path)
    model.save(path, in_place=True)


# What is left


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o755])
def test_a_file_that_is_replaced_keeps_its_mode(path, tmp_path, mode) -> None:
    (tmp_path / "out.onnx").write_bytes(b"old")
    (tmp_path / "out.onnx").chmod(mode)
    modelfile.save(modelfile.load(path), tmp_path / "out.onnx")
    assert stat.S_IMODE((tmp_path / "out.onnx").stat().st_mode) == mode


def test_a_new_file_has_the_mode_of_any_new_file(path, tmp_path) -> None:
    (tmp_path / "any").write_bytes(b"")
    modelfile.save(modelfile.load(path), tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_only_what_replaces_a_file_is_synced_before(path, tmp_path, monkeypatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    modelfile.save(modelfile.load(path), tmp_path / "out.onnx", external=True)
    assert synced == []
    modelfile.save(modelfile.load(path), tmp_path / "out.onnx", external=True)
    assert len(synced) == 2


def test_the_same_model_gives_the_same_bytes(path, tmp_path) -> None:
    for name in ("a.onnx", "b.onnx"):
        modelfile.save(modelfile.load(path), tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("what", ["inline", "external"])
def test_a_limit_of_the_file_size_leaves_the_old_file(tmp_path, what) -> None:
    """As a disk that is full, which not every test can have."""
    data = None if what == "inline" else "weights.bin"
    ir.save(example(TEXT, dtype="float"), tmp_path / "model.onnx", external_data=data)
    (tmp_path / "out.onnx").write_bytes(b"old")
    before = listing(tmp_path)
    program = (
        "import resource, sys\n"
        "from bnfold import errors, modelfile\n"
        "model = modelfile.load(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
        "try:\n    modelfile.save(model, sys.argv[2])\n"
        "except errors.ModelFileError as error:\n    print(error)"
    )
    command = [sys.executable, "-c", program, tmp_path / "model.onnx", tmp_path / "out.onnx"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "out.onnx: cannot be written: File too large" in done.stdout, done.stderr
    assert listing(tmp_path) == before
    assert (tmp_path / "out.onnx").read_bytes() == b"old"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 KiB, where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16384", "none", folder],  # noqa: S607 - wherever it is
        capture_output=True,
        check=False,
    )
    if mount.returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)  # noqa: S607


def test_a_full_disk_leaves_the_old_file(path, small_disk) -> None:
    target = small_disk / "out.onnx"
    target.write_bytes(b"old")
    with pytest.raises(ModelFileError, match=r"out.onnx: cannot be written: No space left"):
        modelfile.save(modelfile.load(path), target)
    assert listing(small_disk) == ["out.onnx"]
    assert target.read_bytes() == b"old"


# How much memory it takes


def peak_memory(*arguments: object) -> int:
    """Of opening and saving, in bytes, beyond what importing bnfold takes."""
    program = (
        "import sys, onnx, onnx_ir\n"
        "from bnfold import modelfile\n"
        "before = peak()\n"
        "modelfile.save(modelfile.load(sys.argv[1]), sys.argv[2])\n"
        "print(peak() - before)"
    )
    return int(memory.run(program, *arguments))


def inline_model(folder: Path, count: int) -> Path:
    """A model with a weight of float32 inside, most of which is a hole."""
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["": 20]> g (float[1] x) => (float[N] y) <float[1] w = {1.0}> { y = Add(x, w) }'
    )
    proto = ir.to_proto(model)
    proto.graph.initializer[0].ClearField("float_data")
    proto.graph.initializer[0].dims[0] = count
    proto.graph.ClearField("value_info")
    proto.graph.initializer[0].raw_data = marker = b"here" * 4
    text = proto.SerializeToString()
    from bnfold.modelfile.wire import Span, exchange

    def enlarge(start: int, stop: int) -> tuple[int, int]:
        assert text[start:stop] == marker
        return 4 * count, 4 * count

    with (folder / "model.onnx").open("wb") as stream:
        for piece in exchange(text, lambda start, stop: True, enlarge):
            if isinstance(piece, int):
                stream.truncate(stream.seek(piece, os.SEEK_CUR))
            else:
                stream.write(text[slice(*piece)] if isinstance(piece, Span) else piece)
    return folder / "model.onnx"


@memory.needs_proc
def test_weights_do_not_go_through_memory(tmp_path) -> None:
    path = inline_model(tmp_path, 50_000_000)
    assert path.stat().st_size > 200_000_000
    assert peak_memory(path, tmp_path / "copy.onnx") < 30_000_000
    assert (tmp_path / "copy.onnx").stat().st_size > 200_000_000


@pytest.mark.slow
def test_an_inline_model_beyond_protobuf_becomes_external(tmp_path) -> None:
    """Protobuf writes none such; what wrote this one did not ask it."""
    path = inline_model(tmp_path, 600_000_000)
    model = modelfile.load(path)
    saved = modelfile.save(model, tmp_path / "copy.onnx")
    assert saved.external == tmp_path / "copy.onnx.data"
    assert saved.reason == "2.2 GiB are more than protobuf can read from one file"
    onnx.checker.check_model(tmp_path / "copy.onnx")
    assert (tmp_path / "copy.onnx.data").stat().st_size == 2_400_000_000


@pytest.mark.slow
@memory.needs_proc
def test_a_model_of_six_gigabytes_is_folded_in_little_memory(tmp_path) -> None:
    path = sparse_model(tmp_path, 6 << 30)
    if (tmp_path / "weights.bin").stat().st_blocks > 1000:
        pytest.skip("the file system has no holes")
    program = "import bnfold.cli\ntry:\n    bnfold.cli.main()\nfinally:\n    print(peak())"
    printed = memory.run(program, "fold", "--no-verify", path, "-o", tmp_path / "out.onnx")
    assert int(printed.split()[-1]) < 500 << 20
    assert "1 of 1 folded" in printed
    assert (tmp_path / "out.onnx.data").stat().st_size == 6 << 30
