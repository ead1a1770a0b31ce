"""The numbers of a claim, with the questions that verdicts and figures ask of them."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bnfold.studying.claim import Cell, Numbers

__all__ = ["Runs"]


class Runs:
    """The numbers of every cell of a claim.

    Args:
        numbers: By cell.
        quick: Whether the quick plan made them, so that the wider limits count.
    """

    def __init__(self, numbers: Mapping[Cell, Numbers], *, quick: bool = False) -> None:
        self.numbers = numbers
        self.quick = quick

    def places(self, arm: str | None = None) -> tuple[float, ...]:
        """Where on the axis there are runs, of one arm or of any, in order."""
        return tuple(sorted({cell.at for cell in self.numbers if arm in (None, cell.arm)}))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Those that were used, in order."""
        return tuple(sorted({cell.seed for cell in self.numbers}))

    @property
    def arms(self) -> tuple[str, ...]:
        """Those that were run, in the order in which they were."""
        return tuple(dict.fromkeys(cell.arm for cell in self.numbers))

    def each(self, name: str, arm: str, at: float | None = None) -> tuple[float, ...]:
        """One number a seed, in the order of the seeds.

        Raises:
            KeyError: There is no such number, or several places and none is given.
        """
        return tuple(_number(found) for found in self._found(name, arm, at))

    def mean(self, name: str, arm: str, at: float | None = None) -> float:
        """The mean over the seeds; as ``each``."""
        return statistics.fmean(self.each(name, arm, at))

    def gain(self, name: str, over: tuple[str, float | None], of: tuple[str, float | None]) -> tuple[float, float]:
        """How much more one arm has than another, seed by seed: the mean, and its standard error.

        Args:
            name: The number.
            over: The arm and the place that is compared with.
            of: Those that are compared. Both have the same seeds.
        """
        gains = [mine - other for mine, other in zip(self.each(name, *of), self.each(name, *over), strict=True)]
        error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else math.inf
        return statistics.fmean(gains), error

    def best(self, name: str, arm: str) -> tuple[float, float]:
        """The largest of the means, and where it is; the first place of several."""
        means = [(self.mean(name, arm, at), at) for at in self.places(arm)]
        return max(means, key=lambda pair: pair[0])

    def curves(self, name: str, arm: str, at: float | None = None) -> tuple[list[float], ...]:
        """One list a seed; as ``each``."""
        return tuple(found if isinstance(found, list) else [found] for found in self._found(name, arm, at))

    def curve(self, name: str, arm: str, at: float | None = None) -> list[float]:
        """The mean of the lists, entry by entry; as ``each``."""
        return [statistics.fmean(entries) for entries in zip(*self.curves(name, arm, at), strict=True)]

    def _found(self, name: str, arm: str, at: float | None) -> list[float | list[float]]:
        cells = [cell for cell in self.numbers if cell.arm == arm and at in (None, cell.at)]
        if not cells or len({cell.at for cell in cells}) > 1:
            raise KeyError(f"{name} of {arm!r} at {at}: {len(cells)} runs")
        return [self.numbers[cell][name] for cell in sorted(cells, key=lambda cell: cell.seed)]


def _number(found: float | list[float]) -> float:
    if isinstance(found, list):
        raise TypeError("a list where a number is asked for")
    return found
