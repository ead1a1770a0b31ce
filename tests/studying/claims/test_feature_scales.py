"""Claim 5: its rule on made numbers, and a real run."""

import math

import pytest

from bnfold.studying import find_claim, verdict_of
from tests.helpers.studies import holding, made, tiny

CLAIM = find_claim(5)
WINE = CLAIM.arms[2:]


def runs(*, conditions=(1e4, 1.02), best=(0.6, 1.0, 0.9, 1.0), at=(1e-3, 0.1, 1e-3, 0.1), quick=False):
    """The condition numbers; the best accuracy of each arm on wine, and the rate where it is."""
    where = dict(zip(WINE, zip(best, at, strict=True), strict=True))

    def numbers(arm, rate):
        if arm in where:
            accuracy, place = where[arm]
            return {"accuracy": accuracy if rate == place else 0.3}
        return {"condition": conditions[CLAIM.arms.index(arm)], "left": 0.5}

    return made(CLAIM, numbers, quick=quick)


@pytest.mark.parametrize(("found", "holds", "verdict"), [
    (runs(), "yyyy", "reproduces"),
    (runs(best=(0.6, 1.0, 0.67, 1.0)), "yyyn", "partly"),
    (runs(at=(0.1, 0.1, 0.1, 0.1)), "yyny", "partly"),
    (runs(conditions=(1e4, 1.9)), "nyyy", "does not"),
    (runs(conditions=(900, 1.02)), "nyyy", "does not"),
    (runs(best=(0.6, 0.7, 0.9, 1.0)), "ynyy", "does not"),
    (runs(conditions=(1e4, 1.9), best=(0.6, 0.71, 0.71, 1.0), quick=True), "yyyy", "reproduces"),
])  # fmt: skip
def test_the_rule(found, holds, verdict) -> None:
    assert holding(CLAIM, found) == holds
    assert verdict_of(CLAIM.judge(found)) == verdict


def test_the_two_features_have_one_run_a_seed() -> None:
    cells = [cell for cell in CLAIM.cells(CLAIM.full) if cell.arm.startswith("two")]
    assert len(cells) == 2 * CLAIM.full.seeds
    assert {cell.at for cell in cells} == {0}


def test_a_real_run() -> None:
    found = tiny(CLAIM, 0.01, epochs=20)
    assert found.mean("condition", "two features", 0) == pytest.approx(1e4, rel=0.2)
    assert found.mean("condition", "two features, BN", 0) < 1.2
    assert found.mean("left", "two features", 0) > 0.9 > 0.01 > found.mean("left", "two features, BN", 0)
    (across,), (up,) = (found.curves(name, "two features", 0) for name in ("across", "up"))
    assert (across[0], up[0]) == (0, 0)
    (optimum,) = found.curves("optimum", "two features", 0)
    assert optimum == pytest.approx([1, 0.01], rel=0.02)
    assert math.hypot(across[-1] - optimum[0], up[-1] - optimum[1]) == pytest.approx(
        found.mean("left", "two features", 0) * math.hypot(*optimum)
    )
    assert found.mean("accuracy", "wine, BN on the input", 0.01) > found.mean("accuracy", "wine", 0.01) + 0.2
