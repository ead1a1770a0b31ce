"""Claim 7: its rule on made numbers, and a real run."""

import pytest

from bnfold.studying import find_claim, verdict_of
from bnfold.studying.claims.final_accuracy import FinalAccuracy
from bnfold.studying.drawing import draw
from tests.helpers.studies import holding, made, tiny

CLAIM = find_claim(7)


def runs(first, others, quick=False):
    """What BatchNorm gains on the first data set, and on each of the others.

    It does so at 0.3, which is the best rate by the validation rows. At 1 the test rows flatter the network without
    BatchNorm: whoever chooses by them sees no gain.
    """
    by_arm = {}
    for plain in CLAIM.arms[::2]:
        by_arm |= {plain: 0.9, f"{plain}, BN": 0.9 + (first if plain == CLAIM.arms[0] else others)}

    def numbers(arm, at):
        best = at == 0.3
        return {"validation": 0.95 if best else 0.8, "accuracy": by_arm[arm] if best else 1.0}

    return made(CLAIM, numbers, quick=quick)


@pytest.mark.parametrize(("found", "holds", "verdict"), [
    (runs(0.009, -0.009), "yy", "reproduces"),
    (runs(0.011, 0.0), "ny", "partly"),
    (runs(0.0, -0.011), "yn", "partly"),
    (runs(0.011, -0.011), "nn", "does not"),
    (runs(0.019, -0.019, quick=True), "yy", "reproduces"),
])  # fmt: skip
def test_the_rule(found, holds, verdict) -> None:
    first, *others = holding(CLAIM, found)
    assert first + "".join(set(others)) == holds
    assert verdict_of(CLAIM.judge(found)) == verdict


def test_each_network_is_judged_at_the_rate_that_its_own_validation_chose() -> None:
    plain = CLAIM.arms[0]

    def numbers(arm, at):
        chosen = at == (1 if "BN" in arm else 0.1)
        return {"validation": float(chosen), "accuracy": 0.9 if chosen else 0.5}

    first = CLAIM.judge(made(CLAIM, numbers))[0]
    assert first.seen.startswith("by +0.00: 90.00% with it, at 1, and 90.00% without, at 0.1")
    assert plain in first.says


def test_the_larger_data_set_is_passed_over_less_often() -> None:
    epochs = {cell.arm: cell.epochs for cell in CLAIM.cells(CLAIM.full)}
    assert epochs["digits"] == epochs["digits, BN"] == 60
    assert epochs[CLAIM.arms[0]] in {12, 30}


def test_a_real_run_of_the_digits_learns_and_keeps_the_test_rows_apart(monkeypatch) -> None:
    monkeypatch.setattr(FinalAccuracy, "arms", ("digits", "digits, BN"))
    found = tiny(CLAIM, 0.1, epochs=2)
    for arm in CLAIM.arms:
        assert found.mean("accuracy", arm) > 0.85
        assert found.mean("validation", arm) * 270 == pytest.approx(round(found.mean("validation", arm) * 270))
        assert found.mean("accuracy", arm) * 450 == pytest.approx(round(found.mean("accuracy", arm) * 450))
        assert len(found.curves("losses", arm)[0]) == 4
    assert draw(CLAIM, found).startswith("<svg ")
