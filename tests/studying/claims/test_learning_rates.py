"""Claim 2: its rule on made numbers, and a real run."""

import math

import pytest

from bnfold.studying import find_claim, verdict_of
from tests.helpers.studies import holding, made, tiny

CLAIM = find_claim(2)


def runs(*, usable=(1, 10, 1, 0.01, 0.1), epochs=(8, 4, 7, 3, 2), same=9, quick=False):
    """What each arm takes as its largest rate, where it also needs the fewest epochs; ``same`` is BN's at rate 1."""
    largest = dict(zip(CLAIM.arms, usable, strict=True))
    fewest = dict(zip(CLAIM.arms, epochs, strict=True))

    def numbers(arm, at):
        reached = fewest[arm] if at == largest[arm] else fewest[arm] + 9
        if arm == "SGD, BN" and at == largest["SGD"]:
            reached = same
        return {"accuracy": 0.95 if at <= largest[arm] else 0.1, "epochs": reached if at <= largest[arm] else math.inf}

    return made(CLAIM, numbers, quick=quick)


@pytest.mark.parametrize(("found", "holds", "verdict"), [
    (runs(), "yyyyyy", "reproduces"),
    (runs(same=7.9), "yynyyy", "partly"),
    (runs(epochs=(8, 4, 5, 3, 2)), "yyynyy", "partly"),
    (runs(usable=(1, 10, 1, 0.01, 0.01), epochs=(8, 4, 7, 3, 3)), "yyyynn", "partly"),
    (runs(usable=(1, 1, 1, 0.01, 0.1)), "nnynyy", "does not"),
    (runs(epochs=(8, 7, 10, 3, 2)), "ynyyyy", "does not"),
    (runs(epochs=(8, 7, 10, 3, 2), quick=True), "yyyyyy", "reproduces"),
    (runs(usable=(0.1, 0.3, 0.1, 0.1, 0.3)), "yyyyyy", "reproduces"),  # 3 × 0.1 is more than 0.3 to a computer
    (runs(usable=(0, 0, 0, 0, 0)), "nnnnnn", "does not"),  # nobody learns anything
])  # fmt: skip
def test_the_rule(found, holds, verdict) -> None:
    assert holding(CLAIM, found) == holds
    assert verdict_of(CLAIM.judge(found)) == verdict


def test_adam_runs_at_a_hundredth_of_the_rates() -> None:
    cells = CLAIM.cells(CLAIM.full)
    sgd, adam = ({cell.at for cell in cells if cell.arm == arm} for arm in ("SGD", "Adam"))
    assert sorted(adam) == pytest.approx([rate / 100 for rate in sorted(sgd)])


def test_a_real_run_learns_faster_with_batch_norm() -> None:
    found = tiny(CLAIM, 0.1, epochs=3)
    assert found.mean("accuracy", "SGD, BN", 0.1) > found.mean("accuracy", "SGD", 0.1) + 0.2
    for arm in CLAIM.arms:
        (at,) = found.places(arm)
        assert len(found.curves("losses", arm, at)[0]) == 3
        assert found.mean("accuracy", arm, at) == found.curves("accuracies", arm, at)[0][-1]
