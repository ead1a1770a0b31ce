"""What verdicts and figures ask of the numbers."""

import math

import pytest

from bnfold.studying.claim import Cell
from bnfold.studying.runs import Runs

RUNS = Runs(
    {
        Cell(arm, at, seed): {"x": {"a": 1.0, "b": 2.0}[arm] * at + seed, "list": [at, float(seed)]}
        for arm, places in (("b", (10, 1)), ("a", (1, 10, 100)))
        for at in places
        for seed in (4, 3)
    }
)


def test_each_seed_in_order_whatever_the_order_of_the_runs() -> None:
    assert RUNS.seeds == (3, 4)
    assert RUNS.each("x", "a", 10) == (13.0, 14.0)
    assert RUNS.mean("x", "a", 10) == 13.5
    assert RUNS.curves("list", "b", 1) == ([1, 3.0], [1, 4.0])
    assert RUNS.curve("list", "b", 1) == [1.0, 3.5]


def test_arms_as_they_were_run_and_places_in_order() -> None:
    assert RUNS.arms == ("b", "a")
    assert RUNS.places() == (1, 10, 100)
    assert RUNS.places("b") == (1, 10)


def test_the_best_place_is_the_first_of_several() -> None:
    assert RUNS.best("x", "a") == (103.5, 100)
    flat = Runs({Cell("a", at, 0): {"x": 1.0} for at in (3, 2)})
    assert flat.best("x", "a") == (1.0, 2)


def test_a_gain_is_taken_seed_by_seed() -> None:
    runs = Runs(
        {Cell(arm, 1, seed): {"x": x} for arm, xs in (("a", (1, 5, 9)), ("b", (2, 7, 12))) for seed, x in enumerate(xs)}
    )
    mean, error = runs.gain("x", ("a", 1), ("b", 1))
    assert mean == 2  # of 1, 2 and 3
    assert error == pytest.approx(1 / 3**0.5)
    alone = Runs({Cell(arm, 1, 0): {"x": 1.0} for arm in ("a", "b")})
    assert alone.gain("x", ("a", 1), ("b", 1)) == (0, math.inf)


def test_a_place_must_be_given_where_there_are_several() -> None:
    with pytest.raises(KeyError, match="6 runs"):
        RUNS.mean("x", "a")
    with pytest.raises(KeyError, match="0 runs"):
        RUNS.mean("x", "c", 1)
    assert Runs({Cell("a", 0, 0): {"x": 5.0}}).mean("x", "a") == 5.0


def test_a_list_is_no_number() -> None:
    with pytest.raises(TypeError):
        RUNS.mean("list", "a", 1)
