"""BN206."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from tests.helpers.lints import GOOD, built, found, the_finding

CODE = "BN206"


@pytest.mark.parametrize("dtype", ["float", "float16"])
def test_a_variance_beyond_the_range_is_infinite(dtype) -> None:
    with pytest.warns(RuntimeWarning) if dtype == "float16" else nullcontext():
        model = built(dtype=dtype, var=[7e4, 1, 1, 1])
    finding = the_finding(CODE, model, **({} if dtype == "float16" else {"export_dtype": "float16"}))
    assert "1 of 4 channels (0)" in finding.message
    assert finding.figures["largest_variance"] > 65504


def test_says_from_where_to_where() -> None:
    assert "variance 7e4, epsilon" in the_finding(CODE, built(var=[7e4, 1, 1, 1]), export_dtype="float16").message
    assert "variance 7e4…9e4, " in the_finding(CODE, built(var=[7e4, 1, 9e4, 1]), export_dtype="float16").message


def test_epsilon_is_lost_when_it_is_below_the_smallest_number() -> None:
    text = GOOD.replace("BatchNormalization (", "BatchNormalization <epsilon = 1e-8> (")
    finding = the_finding(CODE, built(text, dtype="float16", var=[0, 1, 1, 1]))
    assert "1 of 4 channels (0)" in finding.message
    assert "epsilon 1e-8" in finding.message


def test_a_small_variance_is_off_by_more_than_one_per_cent() -> None:
    text = GOOD.replace("BatchNormalization (", "BatchNormalization <epsilon = 1e-6> (")
    assert the_finding(CODE, built(text, var=[1.53e-6, 1, 1, 1]), export_dtype="float16").figures["channels"] == 1


@pytest.mark.parametrize(
    ("dtype", "options"), [("float", {}), ("float", {"export_dtype": "bfloat16"}), ("bfloat16", {})]
)
def test_is_silent_when_it_is_not_float16(dtype, options) -> None:
    assert not found(CODE, built(dtype=dtype, var=[7e4, 1, 1, 1]), **options)


@pytest.mark.parametrize("var", [[1, 0.5, 60000, 1e-4], [1, 0, 1, 1]])
def test_is_silent_about_what_float16_has(var) -> None:
    assert not found(CODE, built(dtype="float16", var=var))
