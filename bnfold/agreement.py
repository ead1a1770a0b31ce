"""How far two outputs lie apart: the numbers behind every verdict.

A plain difference between two models judges neither: both are rounded. The judge is the same computation in
float64, ``exact``. The candidate is as good as the reference when its error against ``exact`` is no larger than the
reference's own, within the luck of rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["EXACT_KINDS", "OUTLIER", "error_ratio", "nonfinite_mismatches", "scaled_error", "unit_roundoff"]

# Integers, booleans and strings: numpy's kinds of what is equal or not, and not rounded.
EXACT_KINDS = frozenset("biuOSU")
# Neighbours of a sound model err alike; one that errs so many times the median computes another function.
OUTLIER = 50.0


def unit_roundoff(dtype: np.dtype[np.generic]) -> float:
    """Half the distance from 1 to the next number of a floating dtype: 2**-24 for float32.

    Args:
        dtype: float16, bfloat16 (of ml_dtypes), float32 or float64.
    """
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).eps) / 2  # type: ignore[no-untyped-call]


def error_ratio(
    reference: NDArray[np.generic],
    candidate: NDArray[np.generic],
    exact: NDArray[np.generic],
    neighbours: Sequence[NDArray[np.generic]] = (),
) -> float:
    """``‖candidate − exact‖₂ / ‖reference − exact‖₂`` over the whole array.

    The denominator is at least ``u·‖exact‖₂`` with u the unit roundoff of the reference's dtype, so that a reference
    that happens to be exact divides by something, and at least the error of every neighbour that is no outlier: whose
    error is at most 50 times the median of the neighbours and the reference. Positions where any of
    the three is not finite do not count (see ``nonfinite_mismatches``). Two exact results give 0.

    Args:
        reference: Any shape, any floating dtype.
        candidate: The same shape.
        exact: The same shape: the reference's function, computed in float64.
        neighbours: The same shape: outputs of models that are as good as it is.
    """
    finite = np.isfinite(reference) & np.isfinite(candidate) & np.isfinite(exact)
    truth = exact[finite].astype(np.float64)
    floor = unit_roundoff(reference.dtype) * float(np.linalg.norm(truth))
    own = max(floor, _distance(reference[finite], truth))
    theirs = [_distance(array[finite], truth) for array in neighbours if np.isfinite(array[finite]).all()]
    limit = OUTLIER * max(floor, float(np.median([own, *theirs])))
    return _divide(_distance(candidate[finite], truth), max(own, *(error for error in theirs if error <= limit), 0.0))


def scaled_error(reference: NDArray[np.generic], candidate: NDArray[np.generic]) -> float:
    """``max|candidate − reference| / max|reference|``: the smallest tolerance that would accept the candidate.

    Non-finite positions do not count; an empty array gives 0.
    """
    finite = np.isfinite(reference) & np.isfinite(candidate)
    if not finite.any():
        return 0.0
    left, right = reference[finite].astype(np.float64), candidate[finite].astype(np.float64)
    return _divide(float(np.abs(right - left).max()), float(np.abs(left).max()))


def nonfinite_mismatches(reference: NDArray[np.generic], candidate: NDArray[np.generic]) -> int:
    """At how many positions NaN, +Inf or −Inf stands in one array and something else in the other."""
    left, right = reference.astype(np.float64), candidate.astype(np.float64)
    same = (np.isnan(left) & np.isnan(right)) | (left == right) | (np.isfinite(left) & np.isfinite(right))
    return int(left.size - np.count_nonzero(same))


def _distance(array: NDArray[np.generic], truth: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(array.astype(np.float64) - truth))


def _divide(numerator: float, denominator: float) -> float:
    if denominator > 0:
        return numerator / denominator
    return 0.0 if numerator == 0 else float("inf")
