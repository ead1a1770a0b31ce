"""The examples run as they are; each asserts what it says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "examples" / "own_network"
SCRIPTS = sorted(FOLDER.glob("*.py"))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_of_a_network_of_ones_own_runs_and_finds_what_it_says(script, capsys) -> None:
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.strip()


def test_the_list_of_examples_is_whole() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert SCRIPTS
    assert all(f"]({script.name})" in text for script in SCRIPTS)
