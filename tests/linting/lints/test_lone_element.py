"""BN304."""

from __future__ import annotations

import pytest

from tests.helpers.lints import built, found, the_finding

CODE = "BN304"


def pooled(shape: str, training: int = 1) -> str:
    return f"""
        g (float[{shape}] x, BN4) => (float[{shape}] y) {{
            n = BatchNormalization <training_mode = {training}> (x, scale, bias, mean, var)
            y = Relu (n)
        }}
    """


@pytest.mark.parametrize(
    ("shape", "words"),
    [("2,4,1,1", "one number per channel from a sample"), ("1,4,1,1", "whose variance is 0"), ("1,4", "variance is 0")],
)
def test_warns_in_training_mode(shape, words) -> None:
    assert words in the_finding(CODE, built(pooled(shape))).message


@pytest.mark.parametrize("shape", ["2,4", "1,4,2,1", "N,4,1,1", "1,4,H"])
def test_is_silent_when_there_are_more_or_it_is_not_known(shape) -> None:
    assert not found(CODE, built(pooled(shape)))


def test_is_silent_at_inference() -> None:
    assert not found(CODE, built(pooled("1,4,1,1", training=0)))
