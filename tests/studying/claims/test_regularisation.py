"""Claim 6: its rule on made numbers, and a real run."""

import pytest

from bnfold.studying import find_claim, verdict_of
from bnfold.studying.claims.regularisation import _at_fit
from tests.helpers.studies import holding, made, tiny

CLAIM = find_claim(6)


def runs(*, power=-0.5, memorised=0.2, matched=0.95, whole=0.93, base=0.91, smallest=0.95, scatter=0.0, quick=False):
    """``memorised`` and ``matched`` are those of small groups, ``whole`` that of all 128, ``smallest`` that of 2.

    Groups of 4 differ by ``scatter`` from seed to seed.
    """

    def numbers(arm, at):
        if arm == "without BN":
            return {"memorised": 1.0, "matched": base, "accuracy": 0.7, "fitted": 0.9}
        good = {2: smallest, 128: whole}.get(at, matched)
        lost = memorised if at <= 4 else 1.0
        return {"memorised": lost, "matched": good, "accuracy": 0.8, "noise": at**power, "fitted": 0.9}

    found = made(CLAIM, numbers, quick=quick)
    for cell, measured in found.numbers.items():
        if (cell.arm, cell.at) == ("ghost BN", 4):
            measured["matched"] += scatter * (-1) ** cell.seed
    return found


@pytest.mark.parametrize(("found", "holds", "verdict"), [
    (runs(), "yyyyy", "reproduces"),
    (runs(smallest=0.8), "yyyyn", "partly"),
    (runs(matched=0.935), "yynyy", "partly"),
    (runs(base=0.925), "yyyny", "partly"),
    (runs(scatter=0.05), "yynyy", "partly"),
    (runs(scatter=0.05, quick=True), "yyyyy", "reproduces"),
    (runs(power=-0.3), "nyyyy", "does not"),
    (runs(memorised=0.6), "ynyyy", "does not"),
    (runs(power=-0.35, memorised=0.65, quick=True), "yyyyy", "reproduces"),
])  # fmt: skip
def test_the_rule(found, holds, verdict) -> None:
    assert holding(CLAIM, found) == holds
    assert verdict_of(CLAIM.judge(found)) == verdict


@pytest.mark.parametrize(("fits", "found"), [
    ([0.5, 0.8, 1.0, 0.7], (0.25, 0.9)), ([0.95, 1.0], (0.0, 0.95)), ([0.1, 0.2], (0.1, 0.2)), ([0.8, 0.9], (0.1, 0.9)),
])  # fmt: skip
def test_the_same_fit_may_lie_between_two_epochs(fits, found) -> None:
    accuracies = [0.0, 0.1, 0.4, 0.2][: len(fits)]
    assert _at_fit(fits, accuracies) == pytest.approx(found)


def test_without_batch_norm_there_is_one_run_a_seed() -> None:
    cells = [cell for cell in CLAIM.cells(CLAIM.full) if cell.arm == "without BN"]
    assert [cell.at for cell in cells] == [128] * CLAIM.full.seeds


def test_a_real_run_has_noise_by_the_law_and_more_wrong_labels_in_larger_groups() -> None:
    found = tiny(CLAIM, 8, 32, 128, epochs=60)
    noise = [found.mean("noise", "ghost BN", group) for group in (8, 32, 128)]
    assert noise[0] / noise[1] == pytest.approx(2, rel=0.15)
    assert noise[1] / noise[2] == pytest.approx(2, rel=0.3)  # ten groups of 128
    assert found.mean("memorised", "ghost BN", 8) < 0.6 * found.mean("memorised", "ghost BN", 128)
    for arm, at in (("ghost BN", 128), ("without BN", 128)):
        assert len(found.curves("fits", arm, at)[0]) == 60
        assert 0 <= found.mean("matched", arm, at) <= 1
