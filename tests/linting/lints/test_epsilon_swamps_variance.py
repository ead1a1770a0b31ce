"""BN202."""

from __future__ import annotations

import pytest

from tests.helpers.lints import built, found, the_finding

CODE = "BN202"


def test_counts_the_channels_and_says_how_little_they_are_normalised() -> None:
    finding = the_finding(CODE, built(scale=[1, 1, 1, 1], var=[1, 1e-5 / 3, 8e-6, 2e-5]))
    assert "2 of 4 channels (1 and 2)" in finding.message
    assert "a standard deviation of 0.5 in place of 1" in finding.message
    assert finding.figures["channels"] == 2
    assert finding.figures["smallest_variance"] == pytest.approx(1e-5 / 3)


def test_warns_when_epsilon_is_larger_than_all_variances() -> None:
    """No channel is multiplied by more than the others, so that it is not one that explodes."""
    model = built(scale=[1, 1, 1, 1], var=[1e-9, 2e-9, 3e-9, 4e-9])
    assert the_finding(CODE, model).figures["channels"] == 4
    assert not found("BN204", model)


@pytest.mark.parametrize(
    ("var", "scale", "other"),
    [
        ([1, 1.1e-5, 1, 1], [1, 1, 1, 1], None),
        ([1, 0, 1, 1], [1, 1, 1, 1], "BN203"),
        ([1, 1e-8, 1, 1], [1, 1, 1, 1], "BN204"),
        ([1, 5e-6, 1, 1], [1, 0, 1, 1], "BN203"),
    ],
)
def test_is_silent_about_what_others_report(var, scale, other) -> None:
    model = built(var=var, scale=scale)
    assert not found(CODE, model)
    if other:
        the_finding(other, model)
