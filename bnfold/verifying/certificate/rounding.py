"""How far stored numbers lie from what they should be, in units in the last place of their type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

__all__ = ["FLOAT64", "deviations", "epsilon", "is_excused", "ulps", "without_widening"]

# What float64 itself loses on the way to an expected number, over the largest term that it is a sum of.
FLOAT64 = 2.0**-44
_NOTHING = 2.0**-600  # what is left of a weight times a scale that stands for 0


def epsilon(dtype: np.dtype[Any]) -> float:
    """The distance from 1 to the next number."""
    return float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]


def without_widening(stored: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Numbers that were rounded to the reference's type and stored in a wider one, in that type; others as they are.

    A runtime that computes a float16 model in float32 folds in float16 first, and widens the weights then.
    """
    if stored.dtype.kind in "iubOSU" or dtype.kind in "iubOSU" or epsilon(dtype) <= epsilon(stored.dtype):
        return stored
    with np.errstate(all="ignore"):
        narrow = stored.astype(dtype)
        return narrow if np.array_equal(narrow.astype(stored.dtype), stored) else stored


def ulps(numbers: Numbers, dtype: np.dtype[Any]) -> Numbers:
    """The distance from each number to the next one of a type."""
    info = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    _, exponents = np.frexp(np.abs(numbers))
    return np.asarray(np.maximum(np.ldexp(float(info.eps), exponents - 1), float(info.smallest_subnormal)))


def deviations(stored: NDArray[Any], expected: Numbers, size: Numbers | float) -> Numbers:
    """In ulps; 0 within the error of float64, and where a subnormal number became 0; nan where nothing is expected.

    Args:
        stored: The numbers as they are.
        expected: What they should be.
        size: The largest term that they are a sum of.
    """
    info = ml_dtypes.finfo(stored.dtype)  # type: ignore[no-untyped-call]
    wide = stored.astype(np.float64)
    with np.errstate(all="ignore"):
        difference = np.abs(wide - expected)
        least = max(float(info.smallest_normal), _NOTHING)
        small = (difference <= FLOAT64 * size) | ((wide == 0) & (np.abs(expected) < least))
        return np.where(small, 0.0, difference / ulps(np.where(np.isfinite(expected), expected, 1.0), stored.dtype))


def is_excused(stored: NDArray[Any], expected: Numbers, size: Numbers | float) -> bool:
    """Whether a number is more than 1 ulp off, and let pass, for float64 tells no more: ``deviations`` says 0 of it."""
    with np.errstate(all="ignore"):
        difference = np.abs(stored.astype(np.float64) - expected)
        return bool(((difference > ulps(expected, stored.dtype)) & (difference <= FLOAT64 * size)).any())
