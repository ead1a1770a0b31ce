"""Cosine and top-1: shown beside the verdict."""

import numpy as np
import pytest

from bnfold.verifying import Verdict
from bnfold.verifying.likeness import likeness


@pytest.mark.parametrize(
    ("left", "right", "words"),
    [
        ([[1, 2], [3, 1]], [[2, 4], [6, 2]], "cosine 1.000000000, top-1 the same in 2 of 2 rows"),
        ([[1, 2], [3, 1]], [[2, 1], [3, 1]], "top-1 the same in 1 of 2 rows"),
        ([[0, 0]], [[0, 0]], "cosine 1.000000000"),
        ([[0, 0]], [[1, 0]], "cosine 0.000000000"),
        ([1, 2], [-1, -2], "cosine -1.000000000; never decides"),
        ([1, np.nan], [1, np.inf], "cosine 1.000000000"),
    ],
)
def test_it_is_a_note(left, right, words):
    (note,) = likeness("y", [np.array(left, np.float32)], [np.array(right, np.float32)])
    assert note.verdict is Verdict.NOTE
    assert note.name == "likeness of 'y'"
    assert words in note.message


def test_the_worst_set_counts_and_nothing_has_no_likeness():
    sets = [np.ones(2, np.float32), np.array([1, 0], np.float32)]
    (note,) = likeness("y", sets, [np.ones(2, np.float32)] * 2)
    assert "cosine 0.707" in note.message
    assert likeness("y", [np.zeros((0, 2))], [np.zeros((0, 2))]) == []


def test_where_nothing_is_finite_there_is_nothing_to_liken():
    assert likeness("y", [np.ones((2, 3))], [np.full((2, 3), np.nan)]) == []
