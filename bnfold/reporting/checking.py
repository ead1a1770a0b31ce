"""A CheckResult for people: the questions and answers first, then all that they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.reporting import comparison, fold, timing
from bnfold.reporting.cases import Case, Outcome, Suite
from bnfold.reporting.document import Document, Table, Text

if TYPE_CHECKING:
    from bnfold.checking import CheckResult

__all__ = ["document", "suites"]


def document(result: CheckResult) -> Document:
    """One table of answers, the three reports, and the answer to all of it last."""
    rows = tuple((check.name, check.verdict.value, check.message) for check in result.checks)
    answers = Table(("", "", "answer"), rows)
    parts = [fold.document(result.fold, "Fold"), comparison.document(result.comparison)]
    if result.benchmark is not None:
        parts.append(timing.document(result.benchmark))
    blocks = [block for part in parts for block in (Text(part.title), *part.blocks)]
    written = (Text(f"Written: {result.output}"),) if result.output else ()
    return Document(f"{result.model}: checked", (answers, *blocks, *written, _verdict(result)))


def suites(result: CheckResult) -> tuple[Suite, ...]:
    """Those of the three reports, and one for what was demanded of them."""
    answers = (Case(check.name, Outcome(check.verdict.value), check.message) for check in result.checks)
    timed = () if result.benchmark is None else (timing.suite(result.benchmark),)
    return (
        Suite("check", tuple(answers)),
        fold.suite(result.fold),
        comparison.suite(result.comparison),
        *timed,
    )


def _verdict(result: CheckResult) -> Text:
    if not result:
        return Text(f"No: {'; '.join(check.message for check in result.checks if check.verdict == 'fail')}", "bad")
    if any(check.verdict == "warn" for check in result.checks):
        return Text("Yes, with warnings", "warning")
    return Text("Yes", "good")
