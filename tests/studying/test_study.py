"""Studies from the first run to the verdict: resumed, repeated, and refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import bnfold
from bnfold.errors import BnfoldError, ExecutionError
from bnfold.reporting import data
from bnfold.studying import find_claim, working
from bnfold.studying.claim import Cell
from bnfold.studying.working import work

ROOT = Path(__file__).parents[2]


def without_times(result):
    return replace(result, claims=tuple(replace(claim, seconds=0.0) for claim in result.claims))


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A quick study of claim 1, and the folder of its runs."""
    folder = tmp_path_factory.mktemp("study")
    return bnfold.study([1], folder=folder, quick=True, jobs=1), folder


def test_yields_every_number_the_verdict_and_the_figure(first) -> None:
    result, folder = first
    (claim,) = result.claims
    assert isinstance(result, bnfold.StudyResult)
    assert len(claim.runs) == len(find_claim(1).cells(find_claim(1).quick)) == len(list(folder.rglob("*.json")))
    assert claim.verdict == "partly"
    assert claim.figure.startswith("<svg")
    assert result.command == claim.command == "bnfold study 1 --quick"
    assert claim.seconds > 0


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_jobs(first) -> None:
    again = bnfold.study([1], quick=True, jobs=2)
    assert data.render(again, "study") == data.render(first[0], "study")
    assert without_times(again) == without_times(first[0])


def test_what_is_finished_is_not_run_again(first, monkeypatch) -> None:
    def refuse(*_):
        raise AssertionError("runs again")

    result, folder = first
    monkeypatch.setattr(working, "_start", refuse)
    assert bnfold.study([1], folder=folder, quick=True) == result


def test_what_is_missing_is_run_and_the_numbers_are_the_same(first) -> None:
    result, folder = first
    for path in sorted(folder.rglob("*.json"))[::5]:
        path.unlink()
    again = bnfold.study([1], folder=folder, quick=True, jobs=2)
    assert without_times(again) == without_times(result)


def test_another_seed_gives_other_numbers() -> None:
    from bnfold.studying.protocol import run_cell

    found = [run_cell(1, Cell("sigmoid", 4, seed))["imbalance"] for seed in (0, 1, 0)]
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize(("options", "message"), [
    ({"claims": [99]}, "no claim 99; there are: 1"),
    ({"claims": [0]}, "no claim 0"),
    ({"seed": -1}, "--seed -1"),
    ({"jobs": 0}, "--jobs 0"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(options, message) -> None:
    with pytest.raises(BnfoldError, match=message):
        bnfold.study(**options)


def test_a_bug_in_a_run_is_shown_with_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="KeyError: 'no such arm'"):
        list(work([(1, Cell("no such arm", 4, 0))], 1))


def test_a_child_that_crashes_is_an_error(monkeypatch) -> None:
    children = []
    start = working._start

    def start_and_kill():
        children.append(start())
        children[-1].kill()
        return children[-1]

    monkeypatch.setattr(working, "_start", start_and_kill)
    with pytest.raises(ExecutionError, match="ended without an answer"):
        list(work([(1, Cell("sigmoid", 4, 0))], 1))
    assert children[0].poll() is not None


@pytest.mark.slow
def test_a_study_that_was_interrupted_and_killed_goes_on_and_its_children_are_gone(tmp_path, first) -> None:
    command = [sys.executable, "-m", "bnfold", "study", "1", "--quick", "-o", tmp_path, "--jobs", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    for end in (signal.SIGINT, signal.SIGKILL):
        finished = _finished(tmp_path)
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            _wait(lambda before=finished: _finished(tmp_path) > before)
            children = _children(process.pid)
            process.send_signal(end)
            _, said = process.communicate()
        assert len(children) == 2
        _wait(lambda gone=children: not any(Path(f"/proc/{child}").exists() for child in gone))
        assert not (tmp_path / "study.html").exists()
        if end == signal.SIGINT:
            assert process.returncode == 130
            assert b"the same command goes on" in said
    again = bnfold.study([1], folder=tmp_path, quick=True, jobs=1)
    assert data.render(again, "study") == data.render(first[0], "study")


def _finished(folder: Path) -> int:
    return len(list(folder.rglob("*.json")))


def _children(parent: int) -> list[str]:
    return Path(f"/proc/{parent}/task/{parent}/children").read_text().split()


def _wait(until, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.02)
