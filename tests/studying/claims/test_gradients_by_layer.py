"""Claim 1: its rule on made numbers, and a real run."""

import math

import pytest

from bnfold.studying import find_claim, verdict_of
from tests.helpers.studies import holding, made, tiny

CLAIM = find_claim(1)


def runs(sigmoid=1e-4, sigmoid_bn=1.1, relu=0.4, relu_bn=0.8, *, deeper=1.0, quick=False):
    """The share at 8 layers of each arm; ``deeper`` is the power by which it falls with depth."""
    shares = dict(zip(CLAIM.arms, (sigmoid, sigmoid_bn, relu, relu_bn), strict=True))

    def numbers(arm, at):
        imbalance = math.log10(shares[arm]) * (at / 8) ** deeper
        return {"imbalance": imbalance, "growth": 10 ** (imbalance / (at - 1))}

    return made(CLAIM, numbers, quick=quick)


@pytest.mark.parametrize(("found", "holds", "verdict"), [
    (runs(), "yyyyy", "reproduces"),
    (runs(relu=0.6, relu_bn=3.8), "yyynn", "partly"),
    (runs(relu=1.05, relu_bn=0.9), "yyynn", "partly"),
    (runs(deeper=-1), "yynyy", "partly"),
    (runs(sigmoid=0.05), "nyyyy", "does not"),
    (runs(sigmoid_bn=1 / 4), "ynyyy", "does not"),
    (runs(sigmoid_bn=4, quick=True), "yyyyy", "reproduces"),
    (runs(sigmoid=0.02, quick=True), "yyyyy", "reproduces"),
])  # fmt: skip
def test_the_rule(found, holds, verdict) -> None:
    assert holding(CLAIM, found) == holds
    assert verdict_of(CLAIM.judge(found)) == verdict


def test_a_real_run_loses_the_gradient_with_sigmoids_only() -> None:
    found = tiny(CLAIM, 8)
    assert holding(CLAIM, found)[:2] == "yy"
    assert found.mean("growth", "ReLU, BN", 8) == pytest.approx(math.sqrt(math.pi / (math.pi - 1)), rel=0.05)
    for arm in CLAIM.arms:
        (gradients,) = found.curves("gradients", arm, 8)
        assert len(gradients) == 8
        assert found.mean("imbalance", arm, 8) == pytest.approx(math.log10(gradients[0] / gradients[-1]))
