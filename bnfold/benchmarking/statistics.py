"""From the times of several pairs to a speed-up with its interval.

The pair of sessions is the unit that is sampled: inferences within one session share the luck of its memory layout,
and a thousand of them are still one sample. Ratios are averaged as logarithms, so that twice as fast and half as
fast cancel.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from bnfold.benchmarking.result import Change, Timing

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["student_quantile", "timing"]

# The 97.5 % quantiles of Student's t for 1 to 10 degrees of freedom; from there on a series does.
_QUANTILES = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)


def timing(reference: Sequence[float], candidate: Sequence[float]) -> Timing:
    """The speed-up of a candidate, from one time of each model for each pair.

    Args:
        reference: Seconds, at least two.
        candidate: Seconds, one for each of the reference's.
    """
    logs = [math.log(left / right) for left, right in zip(reference, candidate, strict=True)]
    middle = statistics.fmean(logs)
    margin = student_quantile(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    low, high = math.exp(middle - margin), math.exp(middle + margin)
    return Timing(
        reference=statistics.median(reference),
        candidate=statistics.median(candidate),
        speedup=math.exp(middle),
        low=low,
        high=high,
        change=Change.FASTER if low > 1 else Change.SLOWER if high < 1 else Change.NO_CHANGE,
        speedups=tuple(map(math.exp, logs)),
    )


def student_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t distribution, to three decimals.

    Above 10 degrees of freedom by the expansion around the normal quantile (Abramowitz and Stegun 26.7.5).
    """
    if freedom <= len(_QUANTILES):
        return _QUANTILES[freedom - 1]
    z = 1.959964
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return sum(term / float(freedom) ** power for power, term in enumerate(terms))
