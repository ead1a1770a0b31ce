"""``bnfold fold`` on the trained network that ships, on bad input, and with a fold that is wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import bnfold
from bnfold import folding
from tests.helpers.models import affines, example, set_constant

DIGITS = Path(__file__).parents[2] / "models" / "digits_cnn" / "model.onnx"


@pytest.fixture
def model(tmp_path) -> Path:
    return Path(shutil.copy(DIGITS, tmp_path / "model.onnx"))


def listing(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_folds_the_network_that_ships(model, command) -> None:
    before = model.read_bytes()
    code, out, err = command("fold", model, "-o", model.with_name("folded.onnx"))
    assert (code, err) == (0, "")
    assert "4 of 4 folded" in out
    assert "equivalent" in out
    assert affines(ir.load(model.with_name("folded.onnx"))) == 0
    assert model.read_bytes() == before
    assert listing(model.parent) == ["folded.onnx", "model.onnx"]


def test_says_one_line_for_each_batch_normalization(model, command) -> None:
    _, out, _ = command("fold", model, "--no-verify")
    names = [node.name for node in ir.load(model).graph if node.op_type == "BatchNormalization"]
    for name in names:
        assert sum(line.startswith(f"{name} ") for line in out.splitlines()) == 1


def test_writes_beside_the_input_by_default(model, command) -> None:
    assert command("fold", model, "--no-verify")[0] == 0
    assert listing(model.parent) == ["model.folded.onnx", "model.onnx"]


def test_report_as_data(model, command) -> None:
    path = model.with_name("report.json")
    code, out, _ = command("fold", model, "--keep", "bn1", "--report", f"json={path}", "--format", "markdown")
    assert code == 0
    assert out.startswith("## ")
    report = json.loads(path.read_text())
    assert (report["schema_version"], report["kind"]) == (1, "fold")
    assert [entry["node"] for entry in report["kept"]] == ["bn1"]
    assert {entry["route"] for entry in report["folded"]} == {"back"}
    assert "model" not in report


def test_json_on_stdout_is_nothing_but_json(model, command) -> None:
    _, out, _ = command("fold", model, "--format", "json", "--no-verify")
    assert len(json.loads(out)["folded"]) == 4


def test_keep_leaves_chosen_nodes_alone(model, command) -> None:
    code, out, _ = command("fold", model, "--keep", "bn[12]")
    assert code == 0
    assert "2 of 4 folded" in out
    assert affines(ir.load(model.with_name("model.folded.onnx"))) == 2


def test_strict_says_no_when_one_was_kept(model, command) -> None:
    assert command("fold", model, "--keep", "bn1", "--strict", "--no-verify")[0] == 1
    assert command("fold", model, "--strict", "--no-verify")[0] == 0


def test_folding_twice_gives_the_same_bytes(model, command) -> None:
    once, twice = model.with_name("once.onnx"), model.with_name("twice.onnx")
    command("fold", model, "-o", once, "--no-verify")
    command("fold", once, "-o", twice, "--no-verify")
    assert once.read_bytes() == twice.read_bytes()


# A fold that is wrong


def drop_epsilon(result: bnfold.FoldResult, original: ir.Model) -> None:
    bn = original.graph.node("bn2")
    var = bn.inputs[4].const_value.numpy().astype(np.float64)
    factor = np.sqrt((var + bn.attributes["epsilon"].as_float()) / var)
    scale_constant(result, "conv2.weight", factor.reshape(-1, 1, 1, 1))


def swap_two_channels(result: bnfold.FoldResult, original: ir.Model) -> None:
    array = weight(result, "conv2.weight").copy()
    array[[0, 1]] = array[[1, 0]]
    set_constant(result.model, result.model.graph.initializers["conv2.weight"], array)


def lose_one_bias(result: bnfold.FoldResult, original: ir.Model) -> None:
    array = weight(result, "conv1.bias").copy()
    array[np.abs(array).argmax()] = 0
    set_constant(result.model, result.model.graph.initializers["conv1.bias"], array)


def move_one_weight(result: bnfold.FoldResult, original: ir.Model) -> None:
    array = weight(result, "conv1.weight").copy()
    array[0, 0, 1, 1] += 1e-3
    set_constant(result.model, result.model.graph.initializers["conv1.weight"], array)


def weight(result: bnfold.FoldResult, name: str) -> np.ndarray:
    return result.model.graph.initializers[name].const_value.numpy()


def scale_constant(result: bnfold.FoldResult, name: str, factor: np.ndarray) -> None:
    array = (weight(result, name) * factor).astype(np.float32)
    set_constant(result.model, result.model.graph.initializers[name], array)


@pytest.mark.parametrize("fault", [drop_epsilon, swap_two_channels, lose_one_bias, move_one_weight])
def test_a_wrong_fold_is_caught_and_not_kept(model, command, monkeypatch, fault) -> None:
    right = folding.fold

    def wrong(path, **options):
        result = right(path, **options)
        fault(result, ir.load(path))
        return result

    monkeypatch.setattr(folding, "fold", wrong)
    target = model.with_name("folded.onnx")
    target.write_bytes(b"what was there before")
    code, out, err = command("fold", model, "-o", target)
    assert code == 1
    assert "Not equivalent: " in out.splitlines()[-1]
    assert "not equivalent" in err
    assert target.read_bytes() == b"what was there before"
    assert listing(model.parent) == ["folded.onnx", "model.onnx"]


# Bad input: one line on stderr, exit 2, no output


def refused(command, path: Path, *options: object, code: int = 2) -> str:
    before = listing(path.parent) if path.parent.exists() else None
    got, out, err = command("fold", path, *options)
    assert (got, out) == (code, "")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert (listing(path.parent) if path.parent.exists() else None) == before
    return err


def test_refuses_a_missing_file(tmp_path, command) -> None:
    assert "no such file" in refused(command, tmp_path / "missing.onnx")
    assert "no such file" in refused(command, tmp_path / "no" / "missing.onnx")


def test_refuses_a_folder(tmp_path, command) -> None:
    (tmp_path / "folder").mkdir()
    assert "is a folder" in refused(command, tmp_path / "folder")


@pytest.mark.parametrize("length", [0, 1, 1000, -100, -1])
def test_refuses_a_truncated_file(model, command, length) -> None:
    content = model.read_bytes()
    model.write_bytes(content[:length])
    refused(command, model)


def test_refuses_what_is_no_model(model, command) -> None:
    model.write_text("not a model\n")
    assert "not an ONNX model" in refused(command, model)


def test_refuses_channels_that_do_not_fit(model, command) -> None:
    loaded = ir.load(model)
    bn = loaded.graph.node("bn1")
    set_constant(loaded, bn.inputs[1], np.ones(3, np.float32))
    ir.save(loaded, model)
    assert "BatchNormalization 'bn1': its channels do not fit" in refused(command, model)


def test_refuses_external_data_that_is_missing(model, command) -> None:
    ir.save(ir.load(model), model, external_data="weights.bin")
    (model.parent / "weights.bin").unlink()
    assert "no such file" in refused(command, model)


@pytest.mark.parametrize("place", ["..", "absolute", "link"])
def test_refuses_external_data_outside_the_folder(model, command, tmp_path_factory, place) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    ir.save(ir.load(model), model, external_data="weights.bin")
    shutil.move(model.parent / "weights.bin", elsewhere / "weights.bin")
    location = {"..": f"../{elsewhere.name}/weights.bin", "absolute": str(elsewhere / "weights.bin")}.get(place)
    if location is None:
        (model.parent / "weights.bin").symlink_to(elsewhere / "weights.bin")
    else:
        proto = onnx.load(model, load_external_data=False)
        for entry in (entry for tensor in proto.graph.initializer for entry in tensor.external_data):
            entry.value = location if entry.key == "location" else entry.value
        model.write_bytes(proto.SerializeToString())
    assert "model's folder" in refused(command, model)


def test_refuses_to_overwrite_its_input(model, command) -> None:
    assert "overwrite the input" in refused(command, model, "-o", model)
    link = model.with_name("link.onnx")
    link.symlink_to(model)
    assert "overwrite the input" in refused(command, model, "-o", link)


def test_refuses_an_output_that_cannot_be_written(model, command) -> None:
    assert "does not exist" in refused(command, model, "-o", model.parent / "no" / "out.onnx")
    assert "is a folder" in refused(command, model, "-o", model.parent)


@pytest.mark.parametrize("report", ["json", "yaml=x", "json=", "json=missing/folder.json"])
def test_refuses_a_report_that_cannot_be_written(model, command, report) -> None:
    assert f"--report {report}" in refused(command, model, "--report", report)


def test_refuses_a_pattern_that_matches_nothing(model, command) -> None:
    assert "no node has such a name" in refused(command, model, "--keep", "typo*")


def test_a_model_that_the_runtime_refuses_is_exit_3(tmp_path, command) -> None:
    """The fold could not be checked: nothing is kept, and it is no answer either way."""
    broken = example(
        """
        g (float[N,2,5] x, float[3,2,3] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,3] y) {
            h = Conv (x, w)
            n = BatchNormalization (h, scale, bias, mean, var)
            y = unknown.Op (n)
        }
    """,
        dtype="float",
    )
    broken.opset_imports["unknown"] = 1
    ir.save(broken, tmp_path / "model.onnx")
    refused(command, tmp_path / "model.onnx", code=3)


def test_a_missing_runtime_is_said_before_any_work(model, command, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None)
    err = refused(command, model)
    assert "onnxruntime is not installed" in err
    assert "--no-verify" in err


def test_a_bug_is_exit_70_and_says_so(model, command, monkeypatch) -> None:
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(folding, "fold", crash)
    code, _, err = command("fold", model, "--no-verify")
    assert code == 70
    assert "this is a bug in bnfold" in err
    assert listing(model.parent) == ["model.onnx"]


def test_ctrl_c_is_exit_130_and_leaves_nothing(model, command, monkeypatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bnfold.FoldResult, "save", interrupt)
    code, _, err = command("fold", model, "--no-verify")
    assert code == 130
    assert "Traceback" not in err
    assert listing(model.parent) == ["model.onnx"]


def test_a_result_counts_what_it_lists(model) -> None:
    result = bnfold.fold(model)
    assert len(result.folded) == 4
    assert dataclasses.is_dataclass(result)


def test_refuses_a_report_in_the_place_of_another_file(model, command) -> None:
    before = model.read_bytes()
    target = model.with_name("out.onnx")
    for place in (model, target, model.with_name("out.onnx.data")):
        assert "would overwrite another file" in refused(command, model, "-o", target, "--report", f"json={place}")
    same = model.with_name("report")
    reports = ("--report", f"json={same}", "--report", f"markdown={same}")
    assert "would overwrite another file" in refused(command, model, *reports)
    assert model.read_bytes() == before


def test_refuses_to_write_over_the_weights_of_its_input(model, command) -> None:
    ir.save(ir.load(model), model, external_data="weights.bin")
    before = (model.parent / "weights.bin").read_bytes()
    assert "would overwrite" in refused(command, model, "-o", model.parent / "weights.bin", "--no-verify")
    assert "would overwrite" in refused(command, model, "--report", f"json={model.parent / 'weights.bin'}")
    assert (model.parent / "weights.bin").read_bytes() == before


@pytest.mark.parametrize("name", [".", "/", "x" * 245 + ".onnx"])
def test_an_odd_name_is_no_bug(command, name, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = command("fold", name)
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_an_output_name_that_is_too_long_is_no_bug(model, command) -> None:
    refused(command, model, "-o", model.with_name("x" * 300))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_stdout_is_no_bug(model) -> None:
    arguments = [sys.executable, "-m", "bnfold", "inspect", model]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="pipes break in another way there")
@pytest.mark.parametrize(("command", "code"), [("inspect", 0), ("lint", 1)])
def test_a_reader_that_has_gone_changes_no_answer(model, command, code) -> None:
    end, start = os.pipe()
    os.close(end)
    arguments = [sys.executable, "-m", "bnfold", command, model]
    done = subprocess.run(arguments, stdout=start, stderr=subprocess.PIPE, text=True, check=False)
    os.close(start)
    assert (done.returncode, done.stderr) == (code, "")


def test_a_console_without_arrows_is_no_bug(model) -> None:
    arguments = [sys.executable, "-m", "bnfold", "inspect", model]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(arguments, env=environment, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"4 of 4 folded" in done.stdout


def test_names_cannot_command_the_terminal(model, command) -> None:
    loaded = ir.load(model)
    loaded.graph.node("bn1").name = "bn\n\x1b]0;title\x07"
    ir.save(loaded, model)
    _, out, _ = command("inspect", model)
    assert "bn\\x0a\\x1b]0;title\\x07 " in out
    assert "\x1b" not in out


def test_sigterm_leaves_no_temporary_file(model) -> None:
    program = (
        "import os, signal, bnfold.cli, bnfold.verifying as v\n"
        "v.verify = lambda *_, **options: os.kill(os.getpid(), signal.SIGTERM)\n"
        "bnfold.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", program, "fold", model], capture_output=True, check=False)
    assert done.returncode == 143
    assert listing(model.parent) == ["model.onnx"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_report_that_cannot_be_written_leaves_no_output(model, command) -> None:
    refused(command, model, "--report", "json=/dev/full")


def test_a_report_that_fails_in_the_end_leaves_no_output(model, command, monkeypatch) -> None:
    from bnfold.reporting import Report

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Report, "render", full)
    refused(command, model, "--no-verify", "--report", f"json={model.with_name('report.json')}")


def test_says_when_only_a_tolerance_could_decide(tmp_path, command) -> None:
    """Nobody computes an op of another domain in float64."""
    custom = example(
        """
        g (float[N,2,5] x, float[3,2,3] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,3] y) {
            h = Conv (x, w)
            n = BatchNormalization (h, scale, bias, mean, var)
            y = com.microsoft.Gelu (n)
        }
        """,
        dtype="float",
    )
    custom.opset_imports["com.microsoft"] = 1
    ir.save(custom, tmp_path / "model.onnx")
    code, out, _ = command("fold", tmp_path / "model.onnx")
    assert code == 0
    assert "by a tolerance only" in out


def test_a_result_that_cannot_be_checked_names_the_way_around(tmp_path, command) -> None:
    """onnxruntime's CPU provider has no Conv in float64."""
    double = example("""
        g (float[N,2,5] x, float[3,2,3] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,3] y) {
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    ir.save(double, tmp_path / "model.onnx")
    assert "--no-verify writes the result unchecked" in refused(command, tmp_path / "model.onnx", code=3)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
def test_what_nohup_ignores_stays_ignored(model) -> None:
    program = (
        "import os, signal, bnfold, bnfold.cli\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "save = bnfold.FoldResult.save\n"
        "bnfold.FoldResult.save = lambda *a, **k: (os.kill(os.getpid(), signal.SIGHUP), save(*a, **k))[1]\n"
        "bnfold.cli.main()"
    )
    arguments = [sys.executable, "-c", program, "fold", model, "--no-verify"]
    assert subprocess.run(arguments, capture_output=True, check=False).returncode == 0
    assert listing(model.parent) == ["model.folded.onnx", "model.onnx"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_folds_a_file_whose_name_is_not_utf8(model, command) -> None:
    strange = model.rename(model.with_name("m\udcff.onnx"))
    code, _, err = command("fold", strange)
    assert code == 0, err
    assert listing(model.parent) == ["m\udcff.folded.onnx", "m\udcff.onnx"]


def test_a_report_never_takes_the_place_of_data_behind_a_link(model, tmp_path, command) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.onnx").symlink_to(tmp_path / "real" / "r.onnx")
    place = tmp_path / "real" / "r.onnx.data"
    options = ("-o", tmp_path / "link.onnx", "--report", f"json={place}")
    assert "would overwrite another file" in refused(command, model, *options)


def test_refuses_links_in_a_circle(model, tmp_path, command) -> None:
    link = tmp_path / "link.onnx"
    link.symlink_to(link)
    report = ("--report", f"json={tmp_path / 'r.json'}")
    assert "link.onnx" in refused(command, link, *report)
    assert "link.onnx" in refused(command, model, "-o", link, *report)
    assert "link.onnx" in refused(command, model, "-o", link, "--no-verify")


def test_a_provider_that_did_not_run_the_result_leaves_no_output(model, command) -> None:
    code, _, err = command("fold", model, "--provider", "azure")
    assert code == 3
    assert "azure did not run it" in err
    assert err.strip().endswith("--no-verify writes the result unchecked")
    assert listing(model.parent) == ["model.onnx"]
    assert command("fold", model, "--provider", "cuda:")[0] == 2
    code, _, err = command("fold", model, "--no-verify", "--level", "all")
    assert code == 2
    assert "say where the result is verified" in err
    assert command("fold", model, "--level", "all")[0] == 0
