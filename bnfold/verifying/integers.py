"""The verdict on an output of integers, booleans or strings, such as the class of every pixel.

Where two classes come out equal but for rounding, a correct fold may choose the other one. So the judge counts at how
many positions each model disagrees with the exact result, over all sets, and lets the candidate have

    2·worst + luck      worst: the most that the reference or a neighbour has
                        luck: one for every 64 values, up to 2

A share of the values, such as 0.1 %, is no part of it: of a large image that is thousands, when a correct fold in
float32 differs in a handful. The neighbours know how many there may be. Luck is for the one that none of nine
models has; outputs of a few values get none, for there one value is a different answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bnfold.verifying.comparison import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Judgement = tuple[Verdict, str, float | None, float | None]

__all__ = ["judge_integers"]

_VALUES_PER_LUCK = 64
_LUCK = 2
# An exact result that the reference misses more often than this is another function, and no judge.
_CREDIBLE = 0.05


def judge_integers(
    sets: Sequence[str],
    reference: Sequence[Array],
    candidate: Sequence[Array],
    exact: Sequence[Array] | None,
    neighbours: Callable[[], Sequence[Sequence[Array]]],
) -> Judgement:
    """Verdict, message, figure and limit of one output; every sequence has an array, or arrays, for each set."""
    difference = _first_difference(sets, reference, candidate)
    if not difference:
        return Verdict.PASS, "the same values everywhere", None, None
    size = sum(array.size for array in reference)
    own = None if exact is None else _disagreements(reference, exact)
    if exact is None or own is None or own > _CREDIBLE * size:
        return Verdict.FAIL, difference, None, None
    wrong = _disagreements(candidate, exact)
    luck = min(_LUCK, size // _VALUES_PER_LUCK)
    limit = 2 * own + luck
    if wrong > limit:
        limit = 2 * max(own, *_of_each(neighbours(), exact), 0) + luck
    verdict = Verdict.WARN if wrong <= limit else Verdict.FAIL
    return verdict, f"{wrong} of {size} values are not those of float64; {difference}", wrong, limit


def _first_difference(sets: Sequence[str], reference: Sequence[Array], candidate: Sequence[Array]) -> str:
    for name, left, right in zip(sets, reference, candidate, strict=True):
        places = np.argwhere(left != right)
        if len(places):
            place = tuple(int(index) for index in places[0])
            return (
                f"{len(places)} of {left.size} values differ on {name}; "
                f"the first at {list(place)}: {right[place]} instead of {left[place]}"
            )
    return ""


def _disagreements(arrays: Sequence[Array], exact: Sequence[Array]) -> int:
    return sum(_wrong(array, truth) for array, truth in zip(arrays, exact, strict=True))


def _wrong(array: Array, truth: Array) -> int:
    return int(np.count_nonzero(array != truth)) if array.shape == truth.shape else array.size


def _of_each(neighbours: Sequence[Sequence[Array]], exact: Sequence[Array]) -> list[int]:
    """The disagreements of each neighbour that took every set, but for outliers: they compute another function."""
    count = min(map(len, neighbours), default=0)
    found = [_disagreements([arrays[index] for arrays in neighbours], exact) for index in range(count)]
    size = sum(array.size for array in exact)
    return [wrong for wrong in found if wrong <= _CREDIBLE * size]
