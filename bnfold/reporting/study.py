"""A ``StudyResult`` for people: an overview, a chapter for each claim, and the files of a study."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bnfold.reporting.cases import Case, Outcome, Suite
from bnfold.reporting.document import Document, Style, Table, Text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bnfold.reporting.document import Block
    from bnfold.studying.claim import Quantity
    from bnfold.studying.result import ClaimResult, Run, StudyResult

__all__ = ["TITLE", "answer", "background", "document", "environment", "heading", "numbers", "overview", "suite"]

TITLE = "BatchNorm: what the lecture claims, and what is so"
_RULE = "Rule of the verdict, in a full run (a quick one has wider limits, which stand with what was seen)"
_STYLES: dict[str, Style] = {"reproduces": "good", "partly": "warning", "does not": "bad"}


def document(result: StudyResult, page: Path | None = None) -> Document:
    """Every claim on a line, where that comes from, and where the page is that tells more."""
    lines = [*environment(result), *([f"All of it, with figures, is in {page}"] if page is not None else [])]
    return Document(TITLE, (overview(result), *map(Text, lines)))


def suite(result: StudyResult) -> Suite:
    """One case a claim. What does not reproduce is an answer, and no failure."""
    return Suite(
        "study",
        tuple(
            Case(
                f"claim {heading(claim)}",
                Outcome.PASS if claim.verdict == "reproduces" else Outcome.NOTE,
                f"{claim.verdict}: {_kept(claim)} parts hold",
            )
            for claim in result.claims
        ),
    )


def overview(result: StudyResult) -> Table:
    """Every claim on a line."""
    rows = tuple((str(claim.number), claim.title, str(claim.verdict), _kept(claim)) for claim in result.claims)
    return Table(("#", "claim", "verdict", "parts that hold"), rows, numeric=frozenset({"#"}))


def environment(result: StudyResult) -> tuple[str, str]:
    """What was run, where, and with what; a line each."""
    size = "a quick run, with fewer seeds, shorter training and wider limits" if result.quick else "the full run"
    seconds = sum(claim.seconds for claim in result.claims)
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    return f"{result.command}: {size}, {seconds:.0f} s of one core of {result.machine}", versions


def heading(claim: ClaimResult) -> str:
    """Number and title."""
    return f"{claim.number}. {claim.title}"


def answer(claim: ClaimResult) -> tuple[Block, ...]:
    """The verdict, and each part with what was seen."""
    parts = tuple((part.says, part.seen, _holds(part.holds, core=part.core)) for part in claim.parts)
    return (
        Text(f"Verdict: {claim.verdict}", _STYLES[claim.verdict]),
        Table(("what is to be so", "what was seen", "holds"), parts),
    )


def background(claim: ClaimResult) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Heads, each with its paragraphs."""
    says = claim.explanation
    return ("What the lecture leaves out", says.omits), ("Set-up", says.setup), (_RULE, says.rule)


def numbers(claim: ClaimResult) -> Iterator[tuple[str, Table]]:
    """Every quantity with its table: a row for each arm and place, a column for each seed."""
    seeds = tuple(sorted({run.seed for run in claim.runs}))
    columns = ("arm", *([claim.axis] if claim.axis else []), *(f"seed {seed}" for seed in seeds), "mean")
    for quantity in claim.quantities:
        if rows := tuple(_rows(claim, quantity, seeds)):
            yield quantity.label, Table(columns, rows, numeric=frozenset(columns[1:]))


def _rows(claim: ClaimResult, quantity: Quantity, seeds: tuple[int, ...]) -> Iterator[tuple[str, ...]]:
    by_place: dict[tuple[str, float], list[Run]] = {}
    for run in claim.runs:
        if quantity.name in run.numbers:
            by_place.setdefault((run.arm, run.at), []).append(run)
    for (arm, at), runs in by_place.items():
        found = {run.seed: run.numbers[quantity.name] for run in runs}
        figures = [number for number in found.values() if not isinstance(number, list)]
        cells = [_written(found.get(seed), quantity.spec) for seed in seeds]
        yield arm, *([f"{at:g}"] if claim.axis else []), *cells, _written(statistics.fmean(figures), quantity.spec)


def _written(number: float | list[float] | None, spec: str) -> str:
    if number is None or isinstance(number, list):
        return ""
    return "∞" if number == float("inf") else format(number, spec)


def _kept(claim: ClaimResult) -> str:
    return f"{sum(part.holds for part in claim.parts)} of {len(claim.parts)}"


def _holds(holds: bool, *, core: bool) -> str:
    return ("yes" if holds else "no") + (" (core)" if core else "")
