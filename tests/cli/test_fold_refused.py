"""``bnfold fold`` when the verification says no: every report says so, and no folded file is left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from bnfold import folding
from tests.helpers.models import constant, set_constant

DIGITS = Path(__file__).parents[2] / "models" / "digits_cnn" / "model.onnx"


@pytest.fixture
def model(tmp_path, monkeypatch) -> Path:
    """The network that ships, in a session where every fold swaps two channels."""
    right = folding.fold

    def wrong(path, **options):
        result = right(path, **options)
        array = constant(result.model, "conv2.weight").copy()
        array[[0, 1]] = array[[1, 0]]
        set_constant(result.model, result.model.graph.initializers["conv2.weight"], np.asarray(array))
        return result

    monkeypatch.setattr(folding, "fold", wrong)
    return Path(shutil.copy(DIGITS, tmp_path / "model.onnx"))


def test_shows_the_checks_and_the_verdict(model, command) -> None:
    code, out, err = command("fold", model)
    assert code == 1
    assert "output 'logits'" in out
    assert out.splitlines()[-1].startswith("Not equivalent: ")
    assert err.count("\n") == 1
    assert "not written" in err
    assert sorted(file.name for file in model.parent.iterdir()) == ["model.onnx"]


def test_writes_every_report(model, command) -> None:
    files = {form: model.with_name(f"report.{form}") for form in ("json", "markdown", "junit", "github", "table")}
    code, _, _ = command(
        "fold", model, *(part for form, path in files.items() for part in ("--report", f"{form}={path}"))
    )
    assert code == 1
    report = json.loads(files["json"].read_text())
    assert report["kind"] == "fold"
    assert report["verification"]["equivalent"] is False
    assert report["verification"]["candidate"] == str(model.with_name("model.folded.onnx"))
    assert len(report["folded"]) == 4
    failures = ET.parse(files["junit"]).findall(".//failure")
    assert [failure.get("message") for failure in failures]
    assert "❌ Not equivalent" in files["markdown"].read_text()
    assert files["github"].read_text().startswith("::error title=bnfold verify")
    assert "Not equivalent" in files["table"].read_text()
    assert not model.with_name("model.folded.onnx").exists()


def test_in_place_leaves_the_model_as_it_was(model, command) -> None:
    before = model.read_bytes()
    assert command("fold", model, "--in-place")[0] == 1
    assert model.read_bytes() == before


def test_the_verdict_is_shown_before_a_report_fails(model, command, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    code, out, err = command("fold", model, "--report", f"json={model.with_name('report.json')}")
    assert (code, err.count("\n")) == (2, 1)
    assert out.splitlines()[-1].startswith("Not equivalent: ")


def test_the_verdict_of_a_fold_that_is_kept_is_in_its_json(command, tmp_path) -> None:
    target = tmp_path / "folded.onnx"
    _, out, _ = command("fold", DIGITS, "-o", target, "--format", "json")
    report = json.loads(out)
    assert report["verification"]["equivalent"] is True
    assert report["verification"]["candidate"] == str(target)
    _, out, _ = command("fold", DIGITS, "-o", target, "--format", "json", "--no-verify")
    assert json.loads(out)["verification"] is None
