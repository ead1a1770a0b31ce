"""The error of one channel of an output, which the error of the whole hides if another channel is much larger.

A channel is an index of axis 1. Its error in a set of inputs is relative to the channel's own values, and all sets
are pooled: r = √Σ(candidate's error)² / max(√Σ(reference's error)², roundoff), with the neighbours in the denominator
if it is above the limit without them. A channel of nearly nothing, such as one that Relu cuts off, is measured against
a thousandth of the output: relative to itself, its error is luck.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bnfold.agreement import OUTLIER, unit_roundoff

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Errors = NDArray[np.float64]

__all__ = ["CHANNEL_RATIO", "worst_channel"]

# Correct folds of 400 random networks of up to 64 outputs, one network in four in float16: none above 2.
CHANNEL_RATIO = 4.0
_MOST = 4096
_VALUES = 16  # of a channel, in a set: with fewer, the luck of single roundings decides
_NEGLIGIBLE = 1e-3


def worst_channel(
    reference: Sequence[Array],
    candidate: Sequence[Array],
    exact: Sequence[Array],
    neighbours: Callable[[], Sequence[Sequence[Array]]],
) -> tuple[int, float] | None:
    """The channel where the candidate errs most, in errors of sound models; None if the limit is kept everywhere."""
    sets = [index for index, array in enumerate(reference) if _has_channels(array)]
    if not sets or len({reference[index].shape[1] for index in sets}) > 1:
        return None
    usable = [np.isfinite(reference[at]) & np.isfinite(candidate[at]) & np.isfinite(exact[at]) for at in sets]
    truth = [np.where(where, exact[at], 0.0) for where, at in zip(usable, sets, strict=True)]

    def errors_of(arrays: Sequence[Array]) -> Errors:
        parts = [_errors(arrays[at], true, where) for at, true, where in zip(sets, truth, usable, strict=True)]
        return np.asarray(np.sqrt(np.sum(np.square(parts), axis=0)))

    floor = unit_roundoff(reference[0].dtype) * np.sqrt(len(sets))
    own = np.maximum(errors_of(reference), floor)
    wrong = errors_of(candidate)
    if (wrong <= CHANNEL_RATIO * own).all():
        return None
    ratios = wrong / np.maximum.reduce([own, *_sound(own, [errors_of(arrays) for arrays in _each(neighbours())])])
    worst = int(np.argmax(ratios))
    return (worst, float(ratios[worst])) if ratios[worst] > CHANNEL_RATIO else None


def _has_channels(array: Array) -> bool:
    return array.ndim > 1 and 1 < array.shape[1] <= _MOST and array.size >= _VALUES * array.shape[1]


def _errors(array: Array, truth: NDArray[np.float64], usable: NDArray[np.bool_]) -> Errors:
    """The error of each channel in one set, over the size of the channel."""
    channels = truth.shape[1]
    difference = np.where(usable & np.isfinite(array), array.astype(np.float64) - truth, 0.0)
    sizes = _norms(truth)
    sizes = np.maximum(sizes, _NEGLIGIBLE * float(np.linalg.norm(sizes)) / np.sqrt(channels))
    relative: Errors = np.divide(_norms(difference), sizes, out=np.zeros(channels), where=sizes > 0)
    return relative


def _norms(array: NDArray[np.float64]) -> Errors:
    return np.asarray(np.linalg.norm(np.moveaxis(array, 1, 0).reshape(array.shape[1], -1), axis=1))


def _each(neighbours: Sequence[Sequence[Array]]) -> list[list[Array]]:
    """The arrays of each neighbour that took every set."""
    return [[arrays[index] for arrays in neighbours] for index in range(min(map(len, neighbours), default=0))]


def _sound(own: Errors, neighbours: Sequence[Errors]) -> list[Errors]:
    """Without the outliers, which compute another function."""
    totals = [float(np.linalg.norm(errors)) for errors in (own, *neighbours)]
    limit = OUTLIER * float(np.median(totals))
    return [errors for errors, total in zip(neighbours, totals[1:], strict=True) if total <= limit]
