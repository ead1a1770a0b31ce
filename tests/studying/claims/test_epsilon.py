"""Claim 11: its rule on made numbers, and a real run."""

import pytest

from bnfold.studying import find_claim, verdict_of
from bnfold.studying.drawing import draw
from tests.helpers.studies import holding, made, tiny

CLAIM = find_claim(11)


def runs(tiny=0.5, huge=2.3, best=0.2, behind=0.5, quick=False):
    """The loss on raw pixels at 1e-12, at 10 and at 0.1, and behind the Linear at 1e-12; 0.2 elsewhere."""
    raw = {1e-12: tiny, 10: huge, 0.1: best}
    linear = {1e-12: behind}
    return made(
        CLAIM, lambda arm, at: {"loss": (raw if arm == "BN on raw pixels" else linear).get(at, 0.2)}, quick=quick
    )


@pytest.mark.parametrize(("found", "holds", "verdict"), [
    (runs(), "yyyy", "reproduces"),
    (runs(behind=0.2), "yyyn", "partly"),
    (runs(best=0.1), "yyny", "partly"),
    (runs(tiny=0.39), "nyyy", "does not"),
    (runs(huge=0.39), "ynyy", "does not"),
    (runs(tiny=0.31, huge=0.31, best=0.11, behind=0.31, quick=True), "yyyy", "reproduces"),
])  # fmt: skip
def test_the_rule(found, holds, verdict) -> None:
    assert holding(CLAIM, found) == holds
    assert verdict_of(CLAIM.judge(found)) == verdict


def test_a_real_run_is_hurt_by_a_tiny_epsilon_on_raw_pixels_only() -> None:
    found = tiny(CLAIM, 1e-12, 1e-3, epochs=3)
    raw, behind = ({at: found.mean("loss", arm, at) for at in (1e-12, 1e-3)} for arm in CLAIM.arms)
    assert raw[1e-12] > 1.5 * raw[1e-3]
    assert behind[1e-12] == pytest.approx(behind[1e-3], rel=0.2)
    assert draw(CLAIM, found).startswith("<svg ")
