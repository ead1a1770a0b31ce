"""Where GitHub runs a command, its report is appended to the summary of the step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bnfold.cli import summary

DIGITS = Path(__file__).parents[2] / "models" / "digits_cnn" / "model.onnx"


@pytest.fixture
def step(tmp_path, monkeypatch, command) -> Path:
    """After ``command``, which forgets the summary of the step that runs these tests."""
    path = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    return path


@pytest.mark.parametrize("form", ["table", "json", "github"])
def test_is_appended_once_a_command_whatever_is_printed(step, command, form) -> None:
    step.write_text("from another step")
    for count in (1, 2):
        assert command("verify", DIGITS, DIGITS, "--format", form)[0] == 0
        text = step.read_text(encoding="utf-8")
        assert text.count("## ") == text.count("✅ Equivalent") == count
    assert text.startswith("from another step\n## ")


def test_a_fold_that_fails_is_in_it_too(step, command, tmp_path, monkeypatch) -> None:
    from bnfold import folding

    right = folding.fold(DIGITS)
    weight = right.model.graph.initializers["conv1.bias"]
    weight.const_value = type(weight.const_value)(weight.const_value.numpy() * 0, name=weight.name)
    monkeypatch.setattr(folding, "fold", lambda *_, **__: right)
    assert command("fold", DIGITS, "-o", tmp_path / "out.onnx")[0] == 1
    assert step.read_text(encoding="utf-8").count("❌ Not equivalent") == 1


@pytest.mark.parametrize("place", ["", "no/such/folder.md"])
def test_that_it_cannot_be_written_is_a_warning(step, command, tmp_path, monkeypatch, place) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / place))
    code, out, err = command("inspect", DIGITS, "--format", "json")
    assert code == 0
    assert json.loads(out)["kind"] == "inspection"
    assert err.startswith("bnfold: the step summary cannot be written: ")
    assert err.count("\n") == 1


def test_tables_stay_out_where_they_are_too_large(step, command, monkeypatch) -> None:
    command("inspect", DIGITS)
    most = len(step.read_bytes()) - 1
    step.unlink()
    monkeypatch.setattr(summary, "_MOST_BYTES", most)
    command("inspect", DIGITS)
    text = step.read_text(encoding="utf-8")
    assert "4 of 4 folded" in text
    assert "| bn1 |" not in text
    for _ in range(5):
        assert command("inspect", DIGITS)[0] == 0
    assert len(step.read_bytes()) <= most


def test_nothing_is_appended_elsewhere(command, tmp_path) -> None:
    command("inspect", DIGITS)
    assert list(tmp_path.iterdir()) == []


def test_a_file_whose_name_is_no_text_can_be_reported(command, tmp_path) -> None:
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    (folder / "m.onnx").write_bytes(DIGITS.read_bytes())
    for form in ("json", "junit", "markdown"):
        report = tmp_path / f"report.{form}"
        assert command("inspect", folder / "m.onnx", "--report", f"{form}={report}")[0] == 0
        assert report.read_text(encoding="utf-8")
