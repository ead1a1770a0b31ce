"""Claim 3: its rule on made numbers, and a real run."""

import pytest

from bnfold.studying import find_claim, verdict_of
from tests.helpers.studies import holding, made, tiny

CLAIM = find_claim(3)


def runs(base=2, bn=6, tuned_base=3, tuned_bn=7, *, there=0.95, quick=False):
    """How many of the standard deviations work, from the left on; ``there`` is what BatchNorm gets where both work."""
    counts = {"without BN": (base, tuned_base), "with BN": (bn, tuned_bn)}
    places = (CLAIM.quick if quick else CLAIM.full).at

    def numbers(arm, at):
        works = [places.index(at) < count for count in counts[arm]]
        best = there if arm == "with BN" else 0.95
        return {"accuracy": best if works[0] else 0.2, "tuned": 0.96 if works[1] else 0.2}

    return made(CLAIM, numbers, quick=quick)


@pytest.mark.parametrize(("found", "holds", "verdict"), [
    (runs(), "yyy", "reproduces"),
    (runs(tuned_base=4), "yny", "partly"),
    (runs(there=0.93), "yyn", "partly"),
    (runs(bn=3), "nyy", "does not"),
    (runs(bn=0, tuned_bn=0, there=0.5), "nnn", "does not"),
    (runs(base=2, bn=3, quick=True), "yyy", "reproduces"),
])  # fmt: skip
def test_the_rule(found, holds, verdict) -> None:
    assert holding(CLAIM, found) == holds
    assert verdict_of(CLAIM.judge(found)) == verdict


def test_a_real_run_learns_from_small_weights_with_batch_norm_only() -> None:
    found = tiny(CLAIM, 0.01, epochs=5)
    assert found.mean("accuracy", "with BN", 0.01) > 0.8
    assert found.mean("accuracy", "without BN", 0.01) < 0.3
    for arm in CLAIM.arms:
        assert found.mean("tuned", arm, 0.01) >= found.mean("accuracy", arm, 0.01)
