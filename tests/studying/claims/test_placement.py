"""Claim 8: its rule on made numbers, and a real run."""

import pytest
import torch

from bnfold.studying import find_claim, verdict_of
from bnfold.studying.drawing import draw
from bnfold.studying.networks import mlp
from tests.helpers.studies import holding, made, tiny

CLAIM = find_claim(8)


def runs(none=0.95, pre=(0.96, 3), before=(0.96, 3), behind=(0.96, 1), quick=False):
    """The accuracy of each placement, and the rate up to which it has that."""
    by_arm = dict(zip(CLAIM.arms, ((none, 1), pre, before, behind), strict=True))
    return made(CLAIM, lambda arm, at: {"accuracy": by_arm[arm][0] if at <= by_arm[arm][1] else 0.1}, quick=quick)


@pytest.mark.parametrize(("found", "holds", "verdict"), [
    (runs(), "yyyy", "reproduces"),
    (runs(before=(0.96, 1)), "yyyn", "partly"),
    (runs(pre=(0.96, 1), before=(0.96, 0.3)), "yynn", "partly"),
    (runs(none=0.975), "nnyy", "does not"),
    (runs(before=(0.93, 3)), "ynyy", "does not"),
    (runs(none=0.985, quick=True), "yyyy", "reproduces"),
])  # fmt: skip
def test_the_rule(found, holds, verdict) -> None:
    assert holding(CLAIM, found) == holds
    assert verdict_of(CLAIM.judge(found)) == verdict


def test_in_a_chain_before_the_linear_is_behind_the_activation_but_for_both_ends() -> None:
    torch.manual_seed(0)
    before, behind = (mlp(6, 3, width=5, depth=3, placement=placement) for placement in ("input", "post"))
    behind.load_state_dict({name: value for name, value in before.state_dict().items() if "norm" not in name}, False)
    x = torch.randn(32, 6)
    raw = torch.nn.BatchNorm1d(6)
    torch.testing.assert_close(before[:-1](x), behind[:-2](raw(x)))


def test_a_real_run_learns_in_every_placement() -> None:
    found = tiny(CLAIM, 0.1, epochs=4)
    assert found.arms == CLAIM.arms
    for arm in CLAIM.arms:
        assert found.mean("accuracy", arm) > 0.8
    assert draw(CLAIM, found).startswith("<svg ")
