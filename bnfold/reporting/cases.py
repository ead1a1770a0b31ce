"""A report as questions and answers, for what counts them: JUnit and GitHub's annotations.

Every result becomes suites of cases once (``suite`` in ``fold.py``, ``comparison.py``, …), as it becomes a document
for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Case", "Outcome", "Suite", "worst_first"]


class Outcome(StrEnum):
    """How a case came out; only ``fail`` is a no."""

    PASS = "pass"  # noqa: S105 - not a password
    WARN = "warn"
    FAIL = "fail"
    NOTE = "note"


@dataclass(frozen=True)
class Case:
    """One question and its answer.

    Attributes:
        name: What was asked about, such as ``output 'logits'``.
        outcome: How it came out.
        message: The answer in words.
        excess: How many times its limit a figure is; infinite where there is none to compare.
    """

    name: str
    outcome: Outcome
    message: str
    excess: float = float("inf")


@dataclass(frozen=True)
class Suite:
    """The cases of one act, such as ``verify``."""

    name: str
    cases: tuple[Case, ...]


def worst_first(suites: tuple[Suite, ...]) -> list[tuple[str, Case]]:
    """What failed and what warns, with the names of their suites: failures first, the largest excess first."""
    found = [(suite.name, case) for suite in suites for case in suite.cases]
    notable = [(name, case) for name, case in found if case.outcome in (Outcome.FAIL, Outcome.WARN)]
    return sorted(notable, key=lambda entry: (entry[1].outcome is not Outcome.FAIL, -entry[1].excess))
