"""Claim 4: its rule on made numbers, and a real run."""

import pytest

from bnfold.studying import find_claim, verdict_of
from tests.helpers.studies import holding, made, tiny

CLAIM = find_claim(4)


def runs(*shares, trained=0.0, quick=False):
    """The share of each arm before training; ``trained`` is that of the second after it."""
    by_arm = dict(zip(CLAIM.arms, shares, strict=True))
    return made(CLAIM, lambda arm, _: {"share": by_arm[arm], "share_trained": trained, "accuracy": 0.9}, quick=quick)


@pytest.mark.parametrize(("found", "holds", "verdict"), [
    (runs(0.4, 0.0, 0.1, 0.1), "yyyyy", "reproduces"),
    (runs(0.4, 0.0, 0.6, 0.6), "yyynn", "partly"),
    (runs(0.4, 0.0, 0.1, 0.1, trained=0.1), "yynyy", "partly"),
    (runs(0.2, 0.0, 0.1, 0.1), "nyyyy", "does not"),
    (runs(0.4, 0.06, 0.1, 0.1), "ynyyy", "does not"),
    (runs(0.4, 0.06, 0.23, 0.23, trained=0.06, quick=True), "yyyyy", "reproduces"),
])  # fmt: skip
def test_the_rule(found, holds, verdict) -> None:
    assert holding(CLAIM, found) == holds
    assert verdict_of(CLAIM.judge(found)) == verdict


def test_a_real_run_is_saturated_unless_batch_norm_stands_right_before_the_sigmoid() -> None:
    found = tiny(CLAIM)
    assert found.mean("share", "Linear → BN → sigmoid") < 0.01
    for arm in set(CLAIM.arms) - {"Linear → BN → sigmoid"}:
        assert found.mean("share", arm) > 0.25
    for arm in CLAIM.arms:
        (histogram,) = found.curves("histogram", arm)
        assert sum(histogram) == pytest.approx(1, rel=1e-5)  # what is further out is in the outermost bins
        assert len(found.curves("layers", arm)[0]) == 4
        middle = sum(histogram[16:24])
        assert found.mean("share", arm) == pytest.approx(1 - middle, abs=1e-3)
