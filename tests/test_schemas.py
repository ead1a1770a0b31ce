"""``docs/schema`` says what the reports hold now, and real reports are as it says."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

from docs import schemas

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "models" / "digits_cnn" / "model.onnx"
KINDS = sorted(schemas.RESULTS)


def published(kind: str) -> dict:
    return json.loads((schemas.FOLDER / f"{kind}.json").read_text(encoding="utf-8"))


def closed(schema: dict) -> dict:
    """The same, but with a field that it does not know being an error."""
    schema = copy.deepcopy(schema)
    for definition in (schema, *schema["$defs"].values()):
        definition["additionalProperties"] = False
    return schema


def report_of(folder: Path, *arguments: object) -> dict:
    command = [sys.executable, "-m", "bnfold", *map(str, arguments), "--format", "json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> dict[str, list[dict]]:
    """A report of each kind for a yes, and one for a no, from the command itself."""
    folder = tmp_path_factory.mktemp("reports")
    fold = report_of(folder, "fold", DIGITS, "-o", "folded.onnx", "--keep", "bn1")
    zeros = folder / "wrong.onnx"
    spoil(folder / "folded.onnx", zeros)
    return {
        "fold": [fold, report_of(folder, "fold", DIGITS, "-o", "unverified.onnx", "--no-verify")],
        "comparison": [
            report_of(folder, "verify", DIGITS, "folded.onnx"),
            report_of(folder, "verify", DIGITS, zeros),
        ],
        "benchmark": [report_of(folder, "bench", DIGITS, "folded.onnx", "--pairs", "2", "--profile")],
        "check": [
            report_of(folder, "check", DIGITS, "--pairs", "2"),
            report_of(folder, "check", DIGITS, "--no-bench", "--strict"),
        ],
        "export": [
            report_of(folder, "export", "digits_cnn", "--weights", DIGITS.with_name("weights.safetensors"), *options)
            for options in (["-o", "exported.onnx"], ["-o", "exported.onnx", "--fold"])
        ],
        "inspection": [report_of(folder, "inspect", DIGITS, "--keep", "bn1")],
        "lint": [report_of(folder, "lint", DIGITS), report_of(folder, "lint", DIGITS, "--select", "BN2")],
        "study": [report_of(folder, "study", "1", "--quick", "-o", "study")],
        "training": [report_of(folder, "train", "mlp", "-o", "trained", "--epochs", "1", "--target", "1")],
        "doctor": [report_of(folder, "doctor"), report_of(folder, "doctor", "--provider", "qnn")],
    }


def spoil(source: Path, target: Path) -> None:
    """Every output becomes NaN, which JSON has no number for."""
    import numpy as np
    import onnx_ir as ir

    model = ir.load(source)
    bias = model.graph.initializers["fc2.bias"]
    bias.const_value = ir.tensor(np.full(bias.shape.numpy(), np.nan, np.float32), name=bias.name)
    ir.save(model, target)


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_a_schema(kind) -> None:
    schema = published(kind)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("kind", KINDS)
def test_real_reports_are_as_their_schema_says(kind, reports) -> None:
    for report in reports[kind]:
        jsonschema.Draft202012Validator(closed(published(kind))).validate(report)
        assert report["schema_version"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_without_a_field_or_of_another_kind_is_refused(kind, reports) -> None:
    validator = jsonschema.Draft202012Validator(published(kind))
    (report, *_) = reports[kind]
    for name in report:
        assert not validator.is_valid({key: value for key, value in report.items() if key != name}), name
    assert not validator.is_valid(report | {"kind": "other"})
    assert not validator.is_valid(report | {"schema_version": 2})
    assert validator.is_valid(report | {"a field of a later version": 1})


def test_the_schemas_are_current() -> None:
    assert sorted(file.stem for file in schemas.FOLDER.iterdir()) == KINDS
    for kind in KINDS:
        assert (schemas.FOLDER / f"{kind}.json").read_text(encoding="utf-8") == schemas.render(kind), (
            "run python docs/schemas.py"
        )


def test_check_says_which_are_stale(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(schemas, "FOLDER", tmp_path)
    assert schemas.main(["--check"]) == 1
    assert schemas.main([]) == 0
    assert schemas.main(["--check"]) == 0
    (tmp_path / "fold.json").write_text("{}")
    capsys.readouterr()
    assert schemas.main(["--check"]) == 1
    assert capsys.readouterr().err == "fold.json: stale: run python docs/schemas.py\n"
    assert schemas.main(["--wrong"]) == 2


def test_a_field_that_nobody_describes_is_an_error() -> None:
    @dataclass
    class Silent:
        """Says nothing of its field."""

        field: int

    with pytest.raises(ValueError, match="the docstring of Silent says nothing of field"):
        schemas._object(Silent, {})


def test_a_type_without_a_schema_is_an_error() -> None:
    with pytest.raises(TypeError, match="no schema for"):
        schemas._schema(set, {})
