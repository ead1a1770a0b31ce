"""Finished runs: found again, and only where nothing that decides about them has changed."""

import json
import math

import pytest

from bnfold.errors import ModelFileError
from bnfold.studying import find_claim
from bnfold.studying.claim import Cell
from bnfold.studying.store import Store

CLAIM = find_claim(1)
CELL = Cell("sigmoid, BN", 8, 0, 3)
NUMBERS = {"x": 0.1 + 0.2, "lost": math.inf, "list": [1.0, 1e-300]}
VERSIONS = {"torch": "2.13.0"}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs", VERSIONS)


def test_numbers_come_back_to_the_last_bit(store) -> None:
    assert store.load(CLAIM, CELL) is None
    store.save(CLAIM, CELL, NUMBERS, 1.5)
    assert store.load(CLAIM, CELL) == (NUMBERS, 1.5)


@pytest.mark.parametrize("other", [
    Cell("sigmoid", 8, 0, 3), Cell("sigmoid, BN", 4, 0, 3), Cell("sigmoid, BN", 8, 1, 3), Cell("sigmoid, BN", 8, 0, 4),
])  # fmt: skip
def test_another_cell_is_not_this_one(store, other) -> None:
    store.save(CLAIM, CELL, NUMBERS, 1.5)
    assert store.load(CLAIM, other) is None


def test_two_arms_whose_files_have_one_name_are_told_apart(store) -> None:
    store.save(CLAIM, Cell("a, b", 1, 0), {"x": 1.0}, 1.0)
    assert store.load(CLAIM, Cell("a; b", 1, 0)) is None


def test_what_other_versions_or_other_code_computed_is_not_finished(store, tmp_path, monkeypatch) -> None:
    store.save(CLAIM, CELL, NUMBERS, 1.5)
    assert Store(tmp_path / "runs", {"torch": "2.14.0"}).load(CLAIM, CELL) is None
    monkeypatch.setattr("bnfold.studying.store._recipe", lambda *_: "other code")
    assert store.load(CLAIM, CELL) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"cell": 1}', "\xff"])
def test_a_file_that_was_cut_short_is_not_finished(store, tmp_path, content) -> None:
    store.save(CLAIM, CELL, NUMBERS, 1.5)
    (path,) = (tmp_path / "runs").rglob("*.json")
    assert json.loads(path.read_text())["numbers"] == NUMBERS
    path.write_text(content, encoding="latin-1")
    assert store.load(CLAIM, CELL) is None


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(ModelFileError, match="cannot be made"):
        Store(tmp_path / "runs", VERSIONS).save(CLAIM, CELL, NUMBERS, 1.0)
