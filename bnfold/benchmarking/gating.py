"""Speed-ups that are demanded: of the lower bound of an interval, never of milliseconds.

A machine too restless to show the speed-up does not pass: what is not shown is not there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnfold.benchmarking.result import Gate
from bnfold.errors import BnfoldError
from bnfold.runtime.sessions import Level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnfold.benchmarking.result import Cell

__all__ = ["Demand", "judge", "parse_demands"]


@dataclass(frozen=True)
class Demand:
    """The latency of the reference is at least ``ratio`` times that of the candidate, at this level."""

    ratio: float
    level: Level

    def __str__(self) -> str:
        return f"{self.ratio:g}@{self.level}"


def parse_demands(demands: str | float | Sequence[str | float]) -> list[Demand]:
    """One or several: ``1.05@disabled``, or ``1.05`` at onnxruntime's default level, ``all``.

    Raises:
        BnfoldError: It is no ratio, or there is no such level.
    """
    several = [demands] if isinstance(demands, str | float | int) else demands
    return [_parse(str(demand)) for demand in several]


def _parse(text: str) -> Demand:
    number, at, level = text.partition("@")
    try:
        demand = Demand(float(number), Level(level.strip() if at else Level.ALL))
    except ValueError:
        demand = None
    if demand is None or not 0 < demand.ratio < math.inf:
        known = ", ".join(Level)
        raise BnfoldError(f"--min-speedup {text}: give RATIO or RATIO@LEVEL, above 0, with LEVEL one of {known}")
    return demand


def judge(demands: Sequence[Demand], cells: Sequence[Cell]) -> tuple[Gate, ...]:
    """Hold each demand against the worst of the cells of its level, of which there is at least one."""
    return tuple(_judge(demand, [cell for cell in cells if cell.level == demand.level]) for demand in demands)


def _judge(demand: Demand, cells: Sequence[Cell]) -> Gate:
    worst = min(cells, key=lambda cell: cell.latency.low)
    low = worst.latency.low
    return Gate(demand.ratio, demand.level, low, str(worst), passed=low >= demand.ratio)
