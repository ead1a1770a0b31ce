"""``bnfold fold --in-place``: the input is replaced, or stays as it was."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bnfold import verifying
from bnfold.modelfile import limits, saving
from tests.helpers.models import affines, constant, example

DIGITS = Path(__file__).parents[2] / "models" / "digits_cnn" / "model.onnx"
TEXT = """
    g (float[N,8,6,6] x, float[64,8,3,3] w, float[64] scale, float[64] bias, float[64] mean, float[64] var)
            => (float[N,64,4,4] y) {
        h = Conv (x, w)
        y = BatchNormalization (h, scale, bias, mean, var)
    }
"""


@pytest.fixture
def model(tmp_path) -> Path:
    return Path(shutil.copy(DIGITS, tmp_path / "model.onnx"))


@pytest.fixture
def external(tmp_path) -> Path:
    (tmp_path / "sub").mkdir()
    ir.save(example(TEXT, dtype="float"), tmp_path / "model.onnx", external_data="sub/weights.bin")
    return tmp_path / "model.onnx"


def listing(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


def test_replaces_its_input_and_keeps_its_mode(model, command) -> None:
    model.chmod(0o640)
    code, out, err = command("fold", model, "--in-place")
    assert (code, err) == (0, "")
    assert "4 of 4 folded" in out
    assert "equivalent" in out
    assert affines(ir.load(model)) == 0
    assert stat.S_IMODE(model.stat().st_mode) == 0o640
    assert listing(model.parent) == ["model.onnx"]


def test_replaces_what_a_link_leads_to(model, tmp_path, command) -> None:
    link = tmp_path / "link.onnx"
    link.symlink_to(model)
    assert command("fold", link, "--in-place", "--no-verify")[0] == 0
    assert link.is_symlink()
    assert affines(ir.load(model)) == 0


def test_replaces_the_external_data_too(external, command) -> None:
    before = (external.parent / "sub" / "weights.bin").read_bytes()
    code, _, err = command("fold", external, "--in-place")
    assert (code, err) == (0, "")
    assert listing(external.parent) == ["model.onnx", "sub", "sub/weights.bin"]
    assert (external.parent / "sub" / "weights.bin").read_bytes() != before
    assert affines(ir.load(external)) == 0
    onnx.checker.check_model(external)


def test_says_which_data_files_are_no_longer_read(external, command) -> None:
    proto = onnx.load(external)
    onnx.save(proto, external, save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=128)
    shutil.rmtree(external.parent / "sub")
    want = constant(ir.load(external), "mean")
    code, _, err = command("fold", external, "--in-place", "--keep", "*")
    assert code == 0
    assert "model.onnx.data now, no more in" in err
    assert str(external.parent / "scale") in err
    assert (external.parent / "scale").exists()
    np.testing.assert_array_equal(constant(ir.load(external), "mean"), want)


def test_refuses_another_output(model, command) -> None:
    code, _, err = command("fold", model, "--in-place", "-o", "other.onnx")
    assert code == 2
    assert "give one of them" in err


def test_a_result_that_fails_leaves_the_input(external, command, monkeypatch) -> None:
    before = {name: (external.parent / name).read_bytes() for name in ("model.onnx", "sub/weights.bin")}
    verify = verifying.verify

    def fail(reference, candidate, **options):
        assert affines(ir.load(reference)) == 1  # it is compared with the old one
        wrong = ir.load(candidate)
        wrong.graph.initializers["w"].const_value = ir.tensor(np.zeros((64, 8, 3, 3), np.float32))
        return verify(reference, wrong, **options)

    monkeypatch.setattr(verifying, "verify", fail)
    assert command("fold", external, "--in-place")[0] == 1
    assert {name: (external.parent / name).read_bytes() for name in before} == before
    assert listing(external.parent) == ["model.onnx", "sub", "sub/weights.bin"]


@pytest.mark.parametrize("name", ["model.onnx", "sub/weights.bin"])
@pytest.mark.parametrize("options", [["--in-place"], []])
def test_an_input_that_changes_meanwhile_is_an_error(external, command, monkeypatch, name, options) -> None:
    verify = verifying.verify

    def replace(reference, candidate, **rest):
        comparison = verify(reference, candidate, **rest)
        other = external.parent / "other"
        other.write_bytes((external.parent / name).read_bytes())
        other.replace(external.parent / name)
        return comparison

    monkeypatch.setattr(verifying, "verify", replace)
    before = listing(external.parent)
    code, _, err = command("fold", external, *options)
    assert code == 2
    assert "changed while it was in use" in err
    assert listing(external.parent) == before
    assert affines(ir.load(external)) == 1


def test_never_takes_the_place_of_a_model_that_came_meanwhile(model, command, monkeypatch) -> None:
    write = saving.Output.write

    def replace(self, content) -> None:
        write(self, content)
        model.write_bytes(DIGITS.read_bytes())

    monkeypatch.setattr(saving.Output, "write", replace)
    assert command("fold", model, "--in-place", "--no-verify")[0] == 2
    assert affines(ir.load(model)) == 4


def test_says_when_the_weights_go_into_a_file_of_their_own(external, tmp_path, command, monkeypatch) -> None:
    inline = tmp_path / "inline.onnx"
    ir.save(example(TEXT, dtype="float"), inline)
    monkeypatch.setattr(limits, "LARGEST", 10_000)
    code, _, err = command("fold", inline)
    assert code == 0
    assert "inline.folded.onnx.data, since 0.0 GiB are more than protobuf can read from one file" in err
    assert len(err.splitlines()) == 1
    assert affines(ir.load(tmp_path / "inline.folded.onnx")) == 0
