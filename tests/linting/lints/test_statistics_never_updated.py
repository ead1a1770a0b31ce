"""BN301."""

from __future__ import annotations

import pytest

from tests.helpers.lints import GOOD, built, found, the_finding

CODE = "BN301"
FRESH = {"mean": [0, 0, 0, 0], "var": [1, 1, 1, 1]}


def test_says_whether_the_rest_was_trained() -> None:
    trained = the_finding(CODE, built(**FRESH))
    assert trained.message.startswith("mean 0 and var 1 in all 4 channels: ")
    assert trained.message.endswith(", though its scale and bias were trained")
    fresh = the_finding(CODE, built(**FRESH, scale=[1, 1, 1, 1], bias=[0, 0, 0, 0]))
    assert fresh.message.endswith("; scale and bias are fresh too")


@pytest.mark.parametrize("trained", [{"scale": [1, 2, 1, 1]}, {"bias": [0, 0, 0, 0.1]}])
def test_what_is_not_fresh_was_trained(trained) -> None:
    arrays = {**FRESH, "scale": [1, 1, 1, 1], "bias": [0, 0, 0, 0], **trained}
    assert the_finding(CODE, built(**arrays)).message.endswith("though its scale and bias were trained")


@pytest.mark.parametrize("changed", [{"mean": [0, 0, 1e-3, 0]}, {"var": [1, 1, 1, 1.001]}])
def test_is_silent_when_one_channel_has_moved(changed) -> None:
    assert not found(CODE, built(**{**FRESH, **changed}))


def test_is_silent_about_a_scale_and_a_shift_that_are_written_as_one() -> None:
    text = GOOD.replace("BatchNormalization (", "BatchNormalization <epsilon = 0.0> (")
    assert not found(CODE, built(text, **FRESH))


def test_is_silent_in_training_mode() -> None:
    """It does not use them there, which is reported."""
    text = GOOD.replace("BatchNormalization (", "BatchNormalization <training_mode = 1> (")
    assert not found(CODE, built(text, **FRESH))
    the_finding("BN302", built(text, **FRESH))
