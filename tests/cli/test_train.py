"""``bnfold train``: exit codes, and what goes to stdout, stderr and files."""

import json
import subprocess
import sys

import pytest


def test_prints_a_table_and_exits_0(command, tmp_path):
    code, out, err = command("train", "digits_cnn", "-o", tmp_path, "--epochs", 2, "--target", 0.5)

    assert (code, err) == (0, "")
    assert "digits_cnn: " in out
    assert "23178 parameters, 4 BatchNorms, 1 epoch in" in out
    assert "the target of 50.00% is reached" in out


def test_exits_1_when_the_target_is_missed(command, tmp_path):
    code, out, _ = command("train", "digits_cnn", "-o", tmp_path, "--epochs", 1, "--target", 1)

    assert code == 1
    assert "the target of 100.00% is missed" in out


def test_json_holds_every_epoch(command, tmp_path):
    code, out, _ = command("train", "digits_cnn", "-o", tmp_path, "--epochs", 2, "--format", "json")
    report = json.loads(out)

    assert code == 0
    assert (report["kind"], report["network"], report["reached"]) == ("training", "digits_cnn", True)
    assert [epoch["number"] for epoch in report["epochs"]] == [1, 2]


def test_the_command_in_the_metrics_rebuilds_the_same_bytes(command, tmp_path):
    options = ("--epochs", 2, "--seed", 3, "--lr", 0.02, "--batch-size", 50)
    command("train", "digits_cnn", "-o", tmp_path / "first", *options)
    recorded = json.loads((tmp_path / "first" / "metrics.json").read_text())["command"]

    code, _, _ = command(*recorded.split()[1:], "-o", tmp_path / "second")

    assert code == 0
    first, second = (tmp_path / name / "weights.safetensors" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_exits_2_and_lists_the_networks_when_the_name_is_unknown(command, tmp_path):
    code, out, err = command("train", "digits_cmm", "-o", tmp_path)

    assert (code, out) == (2, "")
    assert err.startswith(
        "bnfold: no network named 'digits_cmm' in the zoo; it has: crnn, decoder, densenet, digits_cnn, "
    )
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_exits_2_and_keeps_the_weights_that_are_there(command, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"hours of work")

    code, _, err = command("train", "digits_cnn", "-o", tmp_path)

    assert code == 2
    assert err.count("\n") == 1
    assert "--overwrite replaces them" in err
    assert (tmp_path / "weights.safetensors").read_bytes() == b"hours of work"


def test_exits_2_before_training_when_a_report_cannot_be_written(command, tmp_path):
    code, _, err = command("train", "digits_cnn", "-o", tmp_path, "--report", f"json={tmp_path}/none/out.json")

    assert code == 2
    assert "cannot write a file there" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("module", "extra"), [("torch", "torch"), ("sklearn", "study")])
def test_exits_2_and_names_the_extra_that_is_missing(module, extra, tmp_path):
    program = f"import sys; sys.modules[{module!r}] = None; from bnfold.cli import main; main()"
    command = [sys.executable, "-c", program, "train", "digits_cnn", "-o", tmp_path / "new"]

    end = subprocess.run(command, check=False, capture_output=True, text=True)

    assert (end.returncode, end.stdout) == (2, "")
    assert end.stderr.endswith(f"is not installed: pip install 'bnfold[{extra}]'\n")
    assert end.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_takes_other_data_and_another_placement(command, tmp_path):
    code, out, err = command(
        "train", "mlp", "-o", tmp_path, "--data", "wine", "--placement", "input", "--batch-size", 32
    )

    assert (code, err) == (0, "")
    assert "9693 parameters, 3 BatchNorms, 20 epochs in" in out


def test_exits_2_and_names_both_when_data_do_not_fit(command, tmp_path):
    code, out, err = command("train", "digits_cnn", "-o", tmp_path / "new", "--data", "wine")

    assert (code, out) == (2, "")
    assert err == (
        "bnfold: digits_cnn takes inputs of 1×8×8 and tells 10 classes apart; wine has inputs of 13 and 3 classes\n"
    )
    assert not (tmp_path / "new").exists()


def test_goes_on_with_what_was_interrupted_and_begins_where_nothing_was(command, tmp_path):
    code, out, _ = command("train", "mlp", "-o", tmp_path, "--epochs", 1, "--resume", "--format", "json")
    assert (code, json.loads(out)["resumed_after"]) == (0, 0)
    (tmp_path / "checkpoint.pt").write_bytes(b"")

    code, _, err = command("train", "mlp", "-o", tmp_path, "--epochs", 1, "--resume")

    assert (code, "no checkpoint that can be read; --overwrite starts anew" in err) == (2, True)


def test_other_processes_than_the_first_print_nothing(command, tmp_path, monkeypatch):
    from bnfold import training
    from bnfold.training import processes

    result = training.train("mlp", output=tmp_path, epochs=1)
    monkeypatch.setattr(training, "train", lambda *_, **__: result)
    monkeypatch.setattr(processes, "is_first", lambda: False)

    assert command("train", "mlp", "-o", tmp_path) == (0, "", "")


def test_a_report_never_takes_the_place_of_what_was_trained(command, tmp_path):
    report = f"json={tmp_path / 'weights.safetensors'}"
    code, _, err = command("train", "digits_cnn", "-o", tmp_path, "--epochs", 1, "--report", report)

    assert (code, "would overwrite another file" in err) == (2, True)
    assert list(tmp_path.iterdir()) == []
