"""``bnfold study``: what it writes, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def test_writes_a_page_markdown_and_numbers_and_exits_0(command, tmp_path) -> None:
    folder = tmp_path / "new"
    code, out, err = command("study", 1, "--quick", "-o", folder, "--format", "json")

    assert (code, err) == (0, "")
    names = {path.name for path in folder.iterdir()}
    assert names == {"figures", "runs", "study.html", "study.json", "study.md"}
    assert json.loads(out) == json.loads((folder / "study.json").read_text())

    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, out, _ = command("study", 1, "--quick", "-o", folder)
    assert code == 0
    assert "Gradients shrink towards the input" in out
    assert "partly" in out
    assert f"is in {folder / 'study.html'}" in out
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_exits_2_when_there_is_no_such_claim(command, tmp_path) -> None:
    code, out, err = command("study", 1, 13, "-o", tmp_path / "new")

    assert (code, out) == (2, "")
    assert err.startswith("bnfold: no claim 13; there are: 1 (")
    assert err.count("\n") == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("module", ["torch", "sklearn", "matplotlib"])
def test_exits_2_and_names_the_extra_that_is_missing(module, tmp_path) -> None:
    program = f"import sys; sys.modules[{module!r}] = None; from bnfold.cli import main; main()"
    command = [sys.executable, "-c", program, "study", "1", "-o", tmp_path / "new"]

    end = subprocess.run(command, check=False, capture_output=True, text=True)

    assert (end.returncode, end.stdout) == (2, "")
    assert "is not installed: pip install 'bnfold[" in end.stderr
    assert end.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_report_never_takes_the_place_of_the_page(command, tmp_path) -> None:
    code, _, err = command("study", 1, "-o", tmp_path, "--report", f"json={tmp_path / 'study.json'}")

    assert (code, "would overwrite another file" in err) == (2, True)
    assert list(tmp_path.iterdir()) == []
