"""A Comparison for people: one line a check, and the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.reporting.document import Document, Table, Text

if TYPE_CHECKING:
    from bnfold.verifying import Check, Comparison

__all__ = ["document"]


def document(result: Comparison) -> Document:
    """The checks, the smallest tolerance that would have passed, and the verdict last."""
    columns = ("check", "verdict", "figure", "limit", "")
    table = Table(columns, tuple(map(_row, result.checks)), numeric=frozenset(("figure", "limit")))
    return Document(
        f"{result.candidate} against {result.reference}",
        (table, *_inputs(result), *_tolerance(result), _verdict(result)),
    )


def _row(check: Check) -> tuple[str, ...]:
    return check.name, check.verdict.value, _number(check.figure), _number(check.limit), check.message


def _number(number: float | None) -> str:
    return "" if number is None else f"{number:.3g}"


def _inputs(result: Comparison) -> tuple[Text, ...]:
    if not result.inputs:
        return ()
    settings = "; ".join(result.settings or (f"cpu, {result.level}",))
    text = f"Run on {settings} (optimisations), on {len(result.inputs)} inputs: {'; '.join(result.inputs)}"
    return (Text(text, "dim"),)


def _tolerance(result: Comparison) -> tuple[Text, ...]:
    if result.needed_tolerance is None:
        return ()
    text = f"The smallest tolerance that would have passed: {result.needed_tolerance:.2e} of the largest value"
    return (Text(text),)


def _verdict(result: Comparison) -> Text:
    failed = list(dict.fromkeys(check.name for check in result.checks if check.verdict == "fail"))
    if failed:
        return Text(f"Not equivalent: {', '.join(failed)}", "bad")
    if any(check.verdict == "warn" for check in result.checks):
        return Text("Equivalent, with warnings", "warning")
    return Text("Equivalent", "good")
