"""In what order pairs are taken: how many, who is first, and when the control has its turn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["in_turns"]

T = TypeVar("T")

_CONTROLLED = 3  # pairs for each of the control, which so takes a quarter of the time


def in_turns(
    paths: tuple[str, str], measure: Callable[[tuple[str, str], tuple[int, int]], T], pairs: int, seconds: float
) -> tuple[list[T], list[T]]:
    """Measure pairs of a reference and a candidate, and to every third one of the reference against itself.

    Who is first alternates from pair to pair, so that to be first is no advantage. The control is taken in between,
    so that it sees the same weather.

    Args:
        paths: The reference and the candidate.
        measure: Given two models, and their indices in the order in which they are to be started.
        pairs: How many pairs there are at least.
        seconds: As long as these are not over, there are more.

    Returns:
        What the pairs gave, and what the control gave.
    """
    end = time.perf_counter() + seconds
    found: list[T] = []
    control: list[T] = []
    while len(found) < pairs or time.perf_counter() < end:
        found.append(measure(paths, _order(len(found))))
        if _CONTROLLED * len(control) < len(found):
            control.append(measure((paths[0], paths[0]), _order(len(control))))
    return found, control


def _order(index: int) -> tuple[int, int]:
    return ((0, 1), (1, 0))[index % 2]
