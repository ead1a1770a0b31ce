"""``bnfold check``: one report, one exit code."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bnfold import modelfile
from tests.helpers.models import parse

DIGITS = Path(__file__).parents[2] / "models" / "digits_cnn" / "model.onnx"


def test_shows_the_answers_first_and_the_answer_last(command, tmp_path) -> None:
    target = tmp_path / "folded.onnx"
    code, out, err = command("check", DIGITS, "-o", target, "--min-speedup", "0.001", "--pairs", "2")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    answers = [["fold", "pass"], ["verify", "pass"], ["size", "note"], ["bench", "pass"]]
    assert [line.split()[:2] for line in lines[3:7]] == answers
    assert "output 'logits'" in out
    assert "BatchNormalizations" in out
    assert lines[-2:] == [f"Written: {target}", "Yes"]
    assert target.exists()


def test_no_is_exit_1_and_every_report_says_so(command, tmp_path) -> None:
    code, out, _ = command(
        *("check", DIGITS, "--keep", "bn1", "--strict", "--no-bench", "--format", "github"),
        *("--report", f"junit={tmp_path / 'a.xml'}", "--report", f"json={tmp_path / 'a.json'}"),
    )
    assert code == 1
    assert out == "::error title=bnfold check%3A fold::3 of 4 BatchNormalizations folded; bn1: asked to stay\n"
    root = ET.parse(tmp_path / "a.xml").getroot()
    assert [suite.get("name") for suite in root] == ["check", "fold", "verify"]
    assert root.get("failures") == "1"
    assert any(one.get("message").startswith("kept: ") for one in root.iterfind(".//skipped"))
    report = json.loads((tmp_path / "a.json").read_text())
    assert (report["kind"], report["passed"], report["benchmark"]) == ("check", False, None)
    assert report["comparison"]["equivalent"] is True
    assert [entry["node"] for entry in report["fold"]["kept"]] == ["bn1"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("none.onnx",), 2, "no such file"),
        (("a.onnx", "-o", "a.onnx"), 2, "overwrite"),
        (("a.onnx", "--report", "json=a.onnx"), 2, "overwrite"),
        (("a.onnx", "-o", "b.onnx", "--report", "json=b.onnx"), 2, "overwrite"),
        (("a.onnx", "--keep", "typo"), 2, "no node has such a name"),
        (("a.onnx", "--no-bench", "--min-speedup", "1.1"), 2, "nothing is to be timed"),
        (("a.onnx", "--min-speedup", "fast"), 2, "give RATIO or RATIO@LEVEL"),
        (("unheard.onnx", "-o", "out.onnx"), 3, "onnxruntime refuses the model"),
    ],
)
def test_what_cannot_be_checked_is_one_line_and_writes_nothing(
    command, tmp_path, monkeypatch, arguments, code, words
) -> None:
    (tmp_path / "a.onnx").write_bytes(DIGITS.read_bytes())
    modelfile.save(parse("g (float[2] x) => (float[2] y) { y = Unheard (x) }"), tmp_path / "unheard.onnx")
    monkeypatch.chdir(tmp_path)
    got, out, err = command("check", *arguments)
    assert (got, out, err.count("\n")) == (code, "", 1)
    assert words in err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.onnx", "unheard.onnx"]
    assert (tmp_path / "a.onnx").read_bytes() == DIGITS.read_bytes()
