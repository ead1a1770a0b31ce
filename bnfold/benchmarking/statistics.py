"""From the times of several pairs to a speed-up with its interval, and a verdict.

The pair of sessions is the unit that is sampled: inferences within one session share the luck of its memory layout,
and a thousand of them are still one sample. Ratios are averaged as logarithms, so that twice as fast and half as
fast cancel.

The control is the reference against itself. Its true logarithm is known to be 0, so that its mean square around 0 is
the noise of this machine today, with as many degrees of freedom as there are pairs: what a bias of the measurement
adds is in it. From there comes the smallest effect that the pairs could have found:

    detectable = exp(t · rms(control) / √pairs),  t the 97.5 % quantile for len(control) degrees of freedom

The verdict, by the first line that holds:

    FASTER        the interval lies above 1, and the speed-up is at least the detectable one
    SLOWER        the interval lies below 1, and so is the slow-down
    NO CHANGE     the interval lies within 5 % of 1, and 5 % could have been detected
    INCONCLUSIVE  the interval is too wide, or the machine too restless, to tell
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from bnfold.benchmarking.result import MATTERS, Change, Times, Timing

if TYPE_CHECKING:
    from collections.abc import Sequence

    Both = tuple[float, float]

__all__ = ["percentile", "student_quantile", "timing"]

# The 97.5 % quantiles of Student's t for 1 to 10 degrees of freedom; from there on a series does.
_QUANTILES = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
_TAIL = 0.95
_OUTSIDE = 0.025  # on either side of an interval


def timing(pairs: Sequence[Both], control: Sequence[Both], tails: Sequence[Both] = ()) -> Timing:
    """The speed-up of a candidate.

    Args:
        pairs: Seconds that the reference and the candidate took, of two pairs at least.
        control: The same of pairs of the reference against itself, at least one.
        tails: The 95th percentiles within each pair, of both; none where a pair has one time of each.
    """
    logs, noise = _logs(pairs), _logs(control)
    middle = statistics.fmean(logs)
    margin = student_quantile(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    rms = math.sqrt(statistics.fmean(log * log for log in noise))
    detectable = student_quantile(len(noise)) * rms / math.sqrt(len(logs))
    reference, candidate = zip(*pairs, strict=True)
    within = tuple(zip(*tails, strict=True)) or ((), ())
    return Timing(
        reference=_times(reference, within[0]),
        candidate=_times(candidate, within[1]),
        speedup=math.exp(middle),
        low=math.exp(middle - margin),
        high=math.exp(middle + margin),
        detectable=math.exp(detectable),
        change=_change(middle, margin, detectable),
        speedups=tuple(map(math.exp, logs)),
        control=tuple(map(math.exp, noise)),
    )


def _logs(pairs: Sequence[Both]) -> list[float]:
    return [math.log(left / right) for left, right in pairs]


def _change(middle: float, margin: float, detectable: float) -> Change:
    """The verdict; all three are logarithms."""
    if abs(middle) > margin and abs(middle) >= detectable:
        return Change.FASTER if middle > 0 else Change.SLOWER
    matters = math.log(MATTERS)
    if abs(middle) + margin <= matters and detectable <= matters:
        return Change.NO_CHANGE
    return Change.INCONCLUSIVE


def _times(medians: Sequence[float], tails: Sequence[float]) -> Times:
    """The interval of a median needs no distribution: it lies between two of the ordered values."""
    ordered, index = sorted(medians), _rank(len(medians))
    return Times(
        median=statistics.median(ordered),
        low=ordered[index],
        high=ordered[-1 - index],
        tail=statistics.median(tails) if tails else percentile(ordered),
    )


def _rank(count: int) -> int:
    """How many ordered values may lie outside on either side, so that the rest holds the median with 95 %."""
    rank, below = 0, 0.5**count
    for outside in range(1, count // 2 + 1):
        below += math.comb(count, outside) * 0.5**count
        if below > _OUTSIDE:
            break
        rank = outside
    return rank


def percentile(times: Sequence[float]) -> float:
    """The 95th percentile: the smallest of the times that 95 % of them do not exceed."""
    return sorted(times)[math.ceil(_TAIL * len(times)) - 1]


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
