"""BN201."""

from __future__ import annotations

import pytest

from tests.helpers.lints import GOOD, built, found, the_finding

CODE = "BN201"


def with_epsilon(epsilon: str) -> str:
    return GOOD.replace("BatchNormalization (", f"BatchNormalization <epsilon = {epsilon}> (")


@pytest.mark.parametrize(("epsilon", "words"), [("1e-12", "too small"), ("9e-7", "too small"), ("0.1", "as large as")])
def test_warns(epsilon, words) -> None:
    finding = the_finding(CODE, built(with_epsilon(epsilon)))
    assert finding.figures["epsilon"] == pytest.approx(float(epsilon))
    assert words in finding.message
    assert epsilon in finding.message


@pytest.mark.parametrize("epsilon", ["1e-6", "1e-5", "1e-3", "1e-2"])
def test_is_silent_from_one_millionth_to_one_hundredth(epsilon) -> None:
    assert not found(CODE, built(with_epsilon(epsilon)))


def test_is_silent_about_the_default() -> None:
    assert not found(CODE, built())
