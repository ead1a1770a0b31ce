"""Claim 9: its rule on made numbers, and a real run."""

import pytest
import torch

from bnfold.studying import find_claim, verdict_of
from bnfold.studying.claims.dropout_in_series import _network
from bnfold.studying.drawing import draw
from tests.helpers.studies import holding, made, tiny

CLAIM = find_claim(9)


def runs(neither=0.94, dropout=0.95, bn=0.95, series=0.94, head=0.95, shift=0.7, still=1.0, quick=False):
    """Accuracies at 0.3, which validation chooses; elsewhere the test rows would say otherwise."""
    by_arm = dict(zip(CLAIM.arms, (neither, dropout, bn, series, head), strict=True))

    def numbers(arm, at):
        ratio = shift if arm == "BN, Dropout in each layer" else still
        return {"validation": float(at == 0.3), "accuracy": by_arm[arm] if at == 0.3 else 0.5, "shift": ratio}

    return made(CLAIM, numbers, quick=quick)


@pytest.mark.parametrize(("found", "holds", "verdict"), [
    (runs(), "yyyyy", "reproduces"),
    (runs(dropout=0.92), "yyyyn", "partly"),
    (runs(shift=0.95), "yynyy", "partly"),
    (runs(still=0.8), "yyyny", "partly"),
    (runs(series=0.956, dropout=0.96), "nyyyy", "does not"),
    (runs(head=0.93), "ynyyy", "does not"),
    (runs(series=0.965, head=0.935, dropout=0.96, quick=True), "yyyyy", "reproduces"),
])  # fmt: skip
def test_the_rule(found, holds, verdict) -> None:
    assert holding(CLAIM, found) == holds
    assert verdict_of(CLAIM.judge(found)) == verdict


@pytest.mark.parametrize(("arm", "kinds"), [
    ("neither", "LRLRLRLRL"),
    ("Dropout in each layer", "LRDLRDLRDLRDL"),
    ("BN", "LBRLBRLBRLBRL"),
    ("BN, Dropout in each layer", "LBRDLBRDLBRDLBRDL"),
    ("BN, Dropout at the head", "LBRLBRLBRLBRDL"),
])  # fmt: skip
def test_dropout_is_where_its_name_says(arm, kinds) -> None:
    letters = {"Linear": "L", "ReLU": "R", "Dropout": "D", "BatchNorm1d": "B"}
    parts = (type(part).__name__ for part in _network(arm, 64, 10).modules())
    assert "".join(letters.get(name, "") for name in parts) == kinds


def test_the_same_seed_draws_the_same_weights_for_all() -> None:
    weights = []
    for arm in CLAIM.arms:
        torch.manual_seed(0)
        weights.append(_network(arm, 64, 10).get_submodule("linear3").weight)
    assert all(torch.equal(weights[0], other) for other in weights)


def test_a_real_run_shifts_the_variance_behind_dropout_only() -> None:
    found = tiny(CLAIM, 0.1, epochs=12)
    assert found.mean("shift", "BN, Dropout in each layer") < 0.85
    assert found.curves("shifts", "BN, Dropout in each layer")[0][0] > 0.9  # nothing was dropped in front of the first
    for arm in ("BN", "BN, Dropout at the head"):
        assert found.mean("shift", arm) == pytest.approx(1, abs=0.12)
        assert found.mean("accuracy", arm) > 0.75
        assert found.mean("recomputed", arm) == pytest.approx(found.mean("accuracy", arm), abs=0.05)
    assert draw(CLAIM, found).startswith("<svg ")
