"""How much of the oracle to take when not all of it is affordable."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BUDGET", "Oracle", "TooExpensive", "affordable"]

# 2 cores do 5 to 20 of 1e9 operations a second: a minute or so. ResNet-50 takes 8e9 an image of 224².
BUDGET = 6e11


class Oracle(StrEnum):
    """Whether the reference is computed in float64: where it is affordable, whatever it costs, or not at all."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True)
class TooExpensive:
    """What stands in place of the outputs when a run was not begun.

    Attributes:
        operations: Those of all runs together, estimated.
    """

    operations: float


def affordable(costs: Sequence[float], budget: float) -> list[int]:
    """Which runs to take, by index: all, or the cheapest that fit together; none if not even one does."""
    taken: list[int] = []
    for index in sorted(range(len(costs)), key=lambda index: (costs[index], index)):
        if costs[index] <= budget:
            taken.append(index)
            budget -= costs[index]
    return sorted(taken)
