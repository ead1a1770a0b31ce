"""The README's commands do what it says, and print what it shows."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(after: str) -> str:
    """The first code block behind a piece of text."""
    return re.search(r"```\w*\n(.*?)```", README[README.index(after) :], re.DOTALL)[1]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(command)
    assert program == "bnfold"
    return subprocess.run(
        [sys.executable, "-m", "bnfold", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def clone(tmp_path) -> Path:
    (tmp_path / "models").symlink_to(ROOT / "models")
    return tmp_path


def without_figures(text: str) -> str:
    return re.sub(r"\d+\.\d+", "#", text)


def test_the_first_command_prints_what_the_readme_shows(clone) -> None:
    install, command = block("From a clone").removeprefix("$ ").strip().split(" && ")
    assert install == "pip install '.[cpu]'"
    done = run(command, clone)
    assert (done.returncode, done.stderr) == (0, "")
    assert without_figures(done.stdout) == without_figures(block("<!-- output of fold -->"))


def test_the_lint_session_is_real(clone) -> None:
    done = run(block("and still:").removeprefix("$ ").strip(), clone)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == block("<!-- output of lint -->")


def test_the_bench_command_gives_the_table(clone) -> None:
    run(block("From a clone").split(" && ")[1], clone)
    command = re.search(r"by `(bnfold bench [^`]*)`", README)[1]
    done = run(command.replace("--pairs 61", "--pairs 2"), clone)
    assert (done.returncode, done.stderr) == (0, "")
    for fact in ("97,541", "94,043", "disabled", "all"):
        assert fact in done.stdout


@pytest.mark.parametrize("heading", ["In Python", "### In other pipelines"])
def test_the_python_example_runs(clone, heading) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block(heading)], cwd=clone, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_pytorch_example_runs(clone) -> None:
    command = [sys.executable, "-c", block("### In PyTorch")]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr  # torch's exporter logs to stderr by itself
    assert (clone / "folded.onnx").exists()


def test_the_example_for_ci_is_the_one_that_is_tested() -> None:
    example = (ROOT / "examples" / "ci" / "github.yml").read_text(encoding="utf-8")
    assert example.endswith(block("### In continuous integration"))


def test_every_command_that_is_named_is_there(clone) -> None:
    names = set(re.findall(r"`bnfold (\w+)", README))
    assert names == {"inspect", "fold", "verify", "bench", "check", "doctor", "lint", "study", "train", "export"}
    for name in names:
        assert run(f"bnfold {name} --help", clone).returncode == 0


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "<!-- test command -->" in script
    assert (
        block("<!-- test command -->")
        == "pip install torch==2.13.0 -e '.[dev]' && python -m pytest -n 2 --dist worksteal\n"
    )


def test_every_link_to_a_file_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
