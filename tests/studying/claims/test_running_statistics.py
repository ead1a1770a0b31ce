"""Claim 10: its rule on made numbers, and a real run."""

import pytest

from bnfold.studying import find_claim, verdict_of
from bnfold.studying.drawing import draw
from tests.helpers.studies import holding, made, tiny

CLAIM = find_claim(10)
USUAL = "momentum 0.1"


def runs(single=0.1, running=0.97, exact=0.97, factor=1.03, quick=False):
    """Of the usual momentum; the others do badly, and decide nothing."""

    def numbers(arm, _):
        if arm != USUAL:
            return {"single": 0.9, "whole": 0.1, "running": 0.2, "exact": 0.9, "factor": 3.0}
        return {"single": single, "whole": 0.97, "running": running, "exact": exact, "factor": factor}

    return made(CLAIM, numbers, quick=quick)


@pytest.mark.parametrize(("found", "holds", "verdict"), [
    (runs(), "yyy", "reproduces"),
    (runs(running=0.98), "yyy", "reproduces"),
    (runs(factor=1.2), "yyn", "partly"),
    (runs(single=0.21), "nyy", "does not"),
    (runs(running=0.95), "yny", "does not"),
    (runs(single=0.29, running=0.951, factor=1.19, quick=True), "yyy", "reproduces"),
])  # fmt: skip
def test_the_rule(found, holds, verdict) -> None:
    assert holding(CLAIM, found) == holds
    assert verdict_of(CLAIM.judge(found)) == verdict


def test_a_real_run_knows_nothing_by_a_single_sample_and_a_small_momentum_lags_behind() -> None:
    found = tiny(CLAIM, epochs=3)  # 63 steps
    assert found.mean("single", USUAL) < 0.2
    assert found.mean("whole", USUAL) > 0.85
    assert found.mean("exact", USUAL) > 0.85
    by_batch, by_class = (found.curves(name, USUAL)[0] for name in ("by_batch", "by_class"))
    assert by_batch[0] == by_class[0] == found.mean("single", USUAL)
    assert by_batch[-1] == by_class[-1] == found.mean("whole", USUAL)
    assert by_class[7] < 0.5 < by_batch[7]  # 45 rows, of one class and of all
    assert len({found.curves("losses", arm)[0][-1] for arm in CLAIM.arms}) == 1
    assert len({found.mean("exact", arm) for arm in CLAIM.arms}) == 1
    ends = [found.mean("factor", arm) for arm in CLAIM.arms]
    assert ends[0] > ends[1] > ends[2] > 1
    assert ends[2] < 1.15
    assert [len(found.curves("factors", arm)[0]) for arm in CLAIM.arms] == [6] * 4
    assert draw(CLAIM, found).startswith("<svg ")
