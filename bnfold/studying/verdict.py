"""The verdict on a claim: it has parts, each holds or not, and one rule makes the verdict of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnfold.studying.runs import Runs

__all__ = ["Limit", "Part", "Verdict", "verdict_of"]


class Verdict(StrEnum):
    """What became of a claim."""

    REPRODUCES = "reproduces"
    PARTLY = "partly"
    DOES_NOT = "does not"


@dataclass(frozen=True)
class Part:
    """One thing that a claim says, and whether it was so.

    Attributes:
        says: What is to be so, with its limit.
        seen: What was seen, in numbers.
        holds: Whether it was so.
        core: Whether the claim is nothing without it.
    """

    says: str
    seen: str
    holds: bool
    core: bool = False


@dataclass(frozen=True)
class Limit:
    """A number that decides, and a laxer one for a quick run, which has fewer seeds and shorter training.

    Attributes:
        full: For the full run.
        quick: For a quick one.
    """

    full: float
    quick: float

    def of(self, runs: Runs) -> float:
        """The one for these runs."""
        return self.quick if runs.quick else self.full


def verdict_of(parts: Sequence[Part]) -> Verdict:
    """Reproduces where every part holds; does not where none does, or one that is the core does not; else partly."""
    if all(part.holds for part in parts):
        return Verdict.REPRODUCES
    if not any(part.holds for part in parts) or any(part.core and not part.holds for part in parts):
        return Verdict.DOES_NOT
    return Verdict.PARTLY
