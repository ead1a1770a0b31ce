"""BN303."""

from __future__ import annotations

import pytest

from tests.helpers.lints import GOOD, built, found, the_finding

CODE = "BN303"


def with_momentum(momentum: float, *, training: int) -> str:
    attributes = f"momentum = {momentum}, training_mode = {training}"
    return GOOD.replace("BatchNormalization (", f"BatchNormalization <{attributes}> (")


@pytest.mark.parametrize(("momentum", "words"), [(0.0, "the last batch alone"), (1.0, "never move")])
def test_onnx_has_it_the_other_way_round(momentum, words) -> None:
    finding = the_finding(CODE, built(with_momentum(momentum, training=1)))
    assert words in finding.message
    assert finding.figures["momentum"] == 1 - momentum


@pytest.mark.parametrize(("momentum", "training"), [(0.9, 1), (0.99, 1), (0.0, 0), (1.0, 0)])
def test_is_silent_in_between_and_at_inference(momentum, training) -> None:
    assert not found(CODE, built(with_momentum(momentum, training=training)))
