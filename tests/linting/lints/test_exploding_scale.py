"""BN204."""

from __future__ import annotations

import pytest

from tests.helpers.lints import built, found, the_finding

CODE = "BN204"


def test_compares_with_the_channel_in_the_middle() -> None:
    finding = the_finding(CODE, built(scale=[1, 1, 1, 1], var=[1, 1, 1e-9, 1]))
    assert "1 of 4 channels (2) multiplied by up to 316, the channel in the middle by 1" in finding.message
    assert finding.figures["largest_factor"] == pytest.approx(316.2, rel=1e-3)


@pytest.mark.parametrize(
    ("var", "scale", "reason"),
    [
        ([1, 1, 1e-6, 1], [1, 1, 1, 1], "epsilon is larger, but not by far"),
        ([1, 1, 1e-8, 1], [1, 1, 0.01, 1], "the scale makes up for it"),
        ([1, 1, 0, 1], [1, 1, 1, 1], "it is dead"),
        ([1, 1, 1e-4, 1], [1, 1, 1, 1], "it is what normalising is for"),
    ],
)
def test_is_silent(var, scale, reason) -> None:
    assert not found(CODE, built(var=var, scale=scale)), reason
