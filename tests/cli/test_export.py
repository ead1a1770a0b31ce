"""``bnfold export``: exit codes, and what goes to stdout, stderr and files."""

import json
import subprocess
import sys
from pathlib import Path

import onnx_ir as ir
import pytest

from bnfold.cli.export import _size
from bnfold.cli.options import parse_arguments
from bnfold.errors import BnfoldError
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
    assert [case["inputs"].partition(",")[0] for case in report["agreement"]] == ["random", "random", "held-out"]


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

    def wrong(*arguments):
        converted = to_onnx(*arguments)
        weight = converted.model.graph.initializers["conv3.weight"]
        array = weight.const_value.numpy().copy()
        array[0, 0, 0, 0] += 1e-3
        weight.const_value = ir.tensor(array, name="conv3.weight")
        return converted

    monkeypatch.setattr(pipeline, "_to_onnx", wrong)

    code, out, err = command("export", "digits_cnn", "--weights", WEIGHTS, "-o", tmp_path / "model.onnx")

    assert (code, out) == (1, "")
    assert err.startswith("bnfold: onnxruntime and PyTorch disagree: output 'logits': ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_exits_2_and_lists_the_networks_when_the_source_is_unknown(command):
    code, out, err = command("export", "digits_cmm")

    assert (code, out) == (2, "")
    assert err.startswith("bnfold: no network named 'digits_cmm' in the zoo; it has: ")
    assert "FILE.py:FACTORY" in err
    assert err.count("\n") == 1


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


NET = """
from torch import nn
def net(width, name="net"):
    print("building", name)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width))
"""


def test_exports_a_factory_of_a_file_and_folds_it(command, tmp_path):
    (tmp_path / "net.py").write_text(NET)
    source, shape = f"{tmp_path / 'net.py'}:net", "batchx3x8x8"

    code, out, err = command(
        *("export", source, "--arg", "width=4", "--arg", "name=other", "--input-shape", shape),
        *("--fold", "-o", tmp_path / "m.onnx", "--report", f"junit={tmp_path / 'r.xml'}"),
    )

    assert (code, err) == (0, "building other\n")
    assert out.startswith(f"{source} → ")
    assert "input float32 [batch, 3, 8, 8] → output float32 [batch, 4, 6, 6]" in out
    assert "1 of 1 folded, 2 nodes → 1" in out
    assert "verified: 2 of 2 rewritten weights are certified" in out
    assert "back into Conv 0" in (tmp_path / "r.xml").read_text()


def test_exits_2_in_one_line_where_the_shape_is_missing(command, tmp_path):
    (tmp_path / "net.py").write_text(NET)

    code, out, err = command("export", f"{tmp_path / 'net.py'}:net", "--arg", "width=4", "-o", tmp_path / "m.onnx")

    assert (code, out, err.count("\n")) == (2, "", 2)
    assert "--input-shape 1x3x224x224" in err


def test_exits_2_where_it_does_not_know_where_to_write(command):
    code, _, err = command("export", "net.py:net")

    assert (code, err) == (2, "bnfold: where to write it? Give -o FILE (in Python: output)\n")


def test_never_overwrites_the_code_of_the_network(command, tmp_path):
    (tmp_path / "net.py").write_text(NET)

    code, _, err = command(
        *("export", f"{tmp_path / 'net.py'}:net", "--arg", "width=4", "--input-shape", "1x3x8x8"),
        *("-o", tmp_path / "net.py"),
    )

    assert (code, "would overwrite the network itself" in err) == (2, True)
    assert (tmp_path / "net.py").read_text() == NET


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a=0.5", 0.5),
        ("a=(1, 2)", (1, 2)),
        ("a=None", None),
        ("a=same", "same"),
        ("a='1'", "1"),
        ("a=", ""),
        ("a=b=c", "b=c"),
    ],
)
def test_arguments_are_literals_or_text(text, value):
    assert parse_arguments([text]) == {"a": value}


@pytest.mark.parametrize("text", ["a", "=1", "1a=2", "a b=2"])
def test_what_is_no_argument_is_an_error(text):
    with pytest.raises(BnfoldError, match="give KEY=VALUE"):
        parse_arguments([text])


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("100", 100), ("100MB", 10**8), ("1.5 kB", 1500), ("1GiB", 1 << 30), ("2gb", 2 * 10**9)],
)
def test_sizes_have_units(text, size):
    assert _size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "1TB", "1 2"])
def test_what_is_no_size_is_an_error(text):
    with pytest.raises(BnfoldError, match="--external-data-above"):
        _size(text)


@pytest.mark.parametrize("name", ["export", "lint"])
def test_no_report_overwrites_the_code_of_the_network(name, command, tmp_path):
    net = tmp_path / "net.py"
    net.write_text(NET)

    code, _, err = command(name, f"{net}:net", "--arg", "width=4", "--report", f"json={net}")

    assert (code, "would overwrite another file" in err) == (2, True)
    assert net.read_text() == NET
