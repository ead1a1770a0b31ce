"""``docs/exporting.md`` shows what is so."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "exporting.md").read_text(encoding="utf-8")


def block(after: str) -> str:
    """The first code block behind a piece of text."""
    return re.search(r"```\w*\n(.*?)```", PAGE[PAGE.index(after) :], re.DOTALL)[1]


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "net.py").write_text(block("<!-- net.py -->"))
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def without_figures(text: str) -> str:
    return re.sub(r"\d+\.\d+(e-\d+)?", "#", re.sub(r"\d+ bytes", "# bytes", text))


@pytest.mark.slow
def test_the_session_is_real(folder) -> None:
    command = re.search(r"^\$ (bnfold .*)$", PAGE, re.MULTILINE)[1]
    done = run(folder, "-m", *shlex.split(command))

    assert (done.returncode, done.stderr) == (0, "")
    assert without_figures(done.stdout) == without_figures(block("<!-- output of export -->"))


@pytest.mark.slow
def test_the_python_example_runs(folder) -> None:
    done = run(folder, "-c", block("its mode included:"))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_option_that_is_named_is_there() -> None:
    from typer.testing import CliRunner

    from bnfold.cli import app

    shown = CliRunner().invoke(app, ["export", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    for option in sorted(set(re.findall(r"`(--[a-z-]+)", PAGE))):
        assert option in shown, option
