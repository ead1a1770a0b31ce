"""``bnfold export``: exit codes, and what goes to stdout, stderr and files."""

import json
import subprocess
import sys
from pathlib import Path

import onnx_ir as ir
import pytest

from bnfold.exporting import pipeline

WEIGHTS = Path(__file__).parents[2] / "models" / "digits_cnn" / "weights.safetensors"


def test_prints_a_table_and_exits_0(command, tmp_path):
    code, out, err = command("export", "digits_cnn", "--weights", WEIGHTS, "-o", tmp_path / "model.onnx")

    assert (code, err) == (0, "")
    assert "4 BatchNormalization, 3 Conv" in out
    assert "onnxruntime agrees with PyTorch: " in out
    assert "BatchNormalizations kept: 4 of 4" in out
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_fresh_process_prints_json_alone_and_no_noise(tmp_path):
    command = [sys.executable, "-m", "bnfold", "export", "digits_cnn", "--format", "json"]

    end = subprocess.run(
        [*command, "--weights", WEIGHTS, "-o", tmp_path / "model.onnx"],
        check=True,
        capture_output=True,
        text=True,
    )

    report = json.loads(end.stdout)
    assert end.stderr == ""
    assert (report["kind"], report["batch_norms"], report["nodes"]["Conv"]) == ("export", 4, 3)
    assert {case["inputs"] for case in report["agreement"]} == {"random", "held-out"}


def test_reads_and_writes_in_models_by_default(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "models" / "digits_cnn"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(WEIGHTS.read_bytes())

    code, _, _ = command("export", "digits_cnn")

    assert code == 0
    assert (folder / "model.onnx").exists()


def test_exits_1_and_leaves_no_file_when_onnx_and_pytorch_disagree(command, tmp_path, monkeypatch):
    to_onnx = pipeline._to_onnx

    def wrong(module, network):
        model = to_onnx(module, network)
        weight = model.graph.initializers["conv3.weight"]
        array = weight.const_value.numpy().copy()
        array[0, 0, 0, 0] += 1e-3
        weight.const_value = ir.tensor(array, name="conv3.weight")
        return model

    monkeypatch.setattr(pipeline, "_to_onnx", wrong)

    code, out, err = command("export", "digits_cnn", "--weights", WEIGHTS, "-o", tmp_path / "model.onnx")

    assert (code, out) == (1, "")
    assert err.startswith("bnfold: onnxruntime and PyTorch disagree on ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_exits_2_and_lists_the_networks_when_the_source_is_unknown(command):
    code, out, err = command("export", "digits_cmm")

    assert (code, out) == (2, "")
    assert err == "bnfold: no network named 'digits_cmm' in the zoo; it has: digits_cnn\n"


def test_exits_2_and_names_the_command_that_makes_missing_weights(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    code, _, err = command("export", "digits_cnn", "-o", "model.onnx")

    assert code == 2
    assert err == (
        "bnfold: models/digits_cnn/weights.safetensors: no such file; "
        "run 'bnfold train digits_cnn', or give --weights FILE\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_exits_2_when_the_weights_are_corrupt(command, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"corrupt")

    code, _, err = command("export", "digits_cnn", "--weights", tmp_path / "weights.safetensors")

    assert code == 2
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


@pytest.mark.parametrize("target", ["", "none/model.onnx"], ids=["a folder", "in no folder"])
def test_exits_2_when_the_output_cannot_be_written(target, command, tmp_path):
    code, _, err = command("export", "digits_cnn", "--weights", WEIGHTS, "-o", tmp_path / target)

    assert code == 2
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("module", "extra"), [("torch", "torch"), ("onnxscript", "torch"), ("sklearn", "study")])
def test_exits_2_and_names_the_extra_that_is_missing(module, extra, tmp_path):
    program = f"import sys; sys.modules[{module!r}] = None; from bnfold.cli import main; main()"
    command = [sys.executable, "-c", program, "export", "digits_cnn", "--weights", WEIGHTS, "-o", tmp_path / "m.onnx"]

    end = subprocess.run(command, check=False, capture_output=True, text=True)

    assert (end.returncode, end.stdout) == (2, "")
    assert end.stderr.endswith(f"is not installed: pip install 'bnfold[{extra}]'\n")
    assert end.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_never_overwrites_the_weights_or_the_model(command, tmp_path):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(WEIGHTS.read_bytes())

    code, _, err = command("export", "digits_cnn", "--weights", weights, "-o", weights)
    assert (code, "would overwrite the weights" in err) == (2, True)
    for file in (weights, tmp_path / "model.onnx"):
        code, _, err = command("export", "digits_cnn", "--weights", weights, "--report", f"json={file}")
        assert (code, "would overwrite another file" in err) == (2, True)
    assert weights.read_bytes() == WEIGHTS.read_bytes()
