"""Claim 12: its rule on made numbers, and a real run."""

import pytest

from bnfold.studying import find_claim, verdict_of
from bnfold.studying.drawing import draw
from tests.helpers.studies import holding, made, tiny

CLAIM = find_claim(12)
GOOD = {
    "sigmoid": (0.1, 1.0, 0.5),
    "sigmoid, BN": (0.95, 0.98, 0.01),
    "sigmoid, noisy BN": (0.94, 0.98, 0.3),
    "ReLU": (0.95, 1.0, 0.1),
    "ReLU, BN": (0.96, 1.0, 0.01),
    "ReLU, noisy BN": (0.95, 1.0, 0.3),
}


def runs(quick=False, **changed):
    """Accuracy, alignment and jump at 0.3, where accuracy is best; elsewhere nothing is so."""
    by_arm = GOOD | {name.replace("_", ", ").replace("noisy", "noisy BN"): numbers for name, numbers in changed.items()}
    assert by_arm.keys() == GOOD.keys()

    def numbers(arm, at):
        found = by_arm[arm] if at == 0.3 else (0.05, 0.0, 0.0)
        return dict(zip(("accuracy", "alignment", "jump"), found, strict=True))

    return made(CLAIM, numbers, quick=quick)


@pytest.mark.parametrize(("found", "holds", "verdict"), [
    (runs(), "yyyyy", "reproduces"),
    (runs(ReLU=(0.95, 0.7, 0.1), ReLU_BN=(0.96, 0.7, 0.01)), "yynyy", "partly"),
    (runs(ReLU=(0.95, 0.7, 0.1)), "yynny", "partly"),
    (runs(ReLU_noisy=(0.93, 1.0, 0.3)), "ynyyy", "partly"),
    (runs(sigmoid=(0.1, 0.9, 0.5)), "yyyyn", "partly"),
    (runs(sigmoid=(0.96, 1.0, 0.5)), "yyyyn", "partly"),
    (runs(sigmoid_noisy=(0.92, 0.98, 0.3)), "nyyyy", "does not"),
    (runs(sigmoid_noisy=(0.94, 0.98, 0.04)), "nyyyy", "does not"),
    (runs(quick=True, sigmoid_noisy=(0.91, 0.98, 0.3)), "yyyyy", "reproduces"),
])  # fmt: skip
def test_the_rule(found, holds, verdict) -> None:
    assert holding(CLAIM, found) == holds
    assert verdict_of(CLAIM.judge(found)) == verdict


def test_a_real_run_shakes_the_inputs_of_the_noisy_network_and_turns_gradients() -> None:
    found = tiny(CLAIM, 0.3, epochs=2)
    for name in ("sigmoid", "ReLU"):
        assert found.mean("jump", f"{name}, noisy BN") > 5 * found.mean("jump", f"{name}, BN")
        assert found.mean("accuracy", f"{name}, noisy BN") > 0.5
    assert found.mean("alignment", "sigmoid") > 0.99
    assert found.mean("accuracy", "sigmoid") < 0.5
    assert found.mean("alignment", "ReLU") < 0.95
    for arm in CLAIM.arms:
        assert -1 <= found.mean("alignment", arm) <= 1
        assert len(found.curves("alignments", arm)[0]) == 3
    assert draw(CLAIM, found).startswith("<svg ")


def test_a_network_that_falls_apart_is_measured_as_long_as_it_is_one() -> None:
    found = tiny(CLAIM, 1e4, epochs=2)
    assert found.mean("accuracy", "ReLU") < 0.3
    assert len(found.curves("alignments", "ReLU")[0]) < 3
