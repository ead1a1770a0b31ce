"""A Comparison for people: one line a check, and the verdict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bnfold.reporting.cases import Case, Outcome, Suite
from bnfold.reporting.document import Document, Table, Text

if TYPE_CHECKING:
    from bnfold.verifying import Check, Comparison

__all__ = ["document", "suite", "summary"]


def document(result: Comparison) -> Document:
    """The checks, the smallest tolerance that would have passed, and the verdict last."""
    columns = ("check", "verdict", "figure", "limit", "")
    table = Table(columns, tuple(map(_row, result.checks)), numeric=frozenset(("figure", "limit")))
    return Document(
        f"{result.candidate} against {result.reference}",
        (table, *_inputs(result), *_tolerance(result), *map(Text, _where(result)), _verdict(result)),
    )


def suite(result: Comparison) -> Suite:
    """One case a check, and one for where the two models part, if that was looked for."""
    where = " ".join(f"{line}." for line in _where(result))
    located = (Case("where they part", Outcome.FAIL, where),) if where else ()
    return Suite("verify", (*map(_case, result.checks), *located))


def summary(result: Comparison) -> Text:
    """The verdict in one line, for reports that are about more."""
    if not result:
        return _verdict(result)
    certified = [check.message for check in result.checks if check.name == "certificate" and check.figure is not None]
    text = f"verified: {'; '.join([*certified, f'equivalent in onnxruntime on {len(result.inputs)} inputs'])}"
    if result.oracle != "float64":
        return Text(f"{text}, by a tolerance only: there was no float64 to judge by", "warning")
    ratios = [output.error_ratio for output in result.outputs if output.error_ratio is not None]
    figure = f", {max(ratios):.2f} times the error of the original against float64" if ratios else ""
    return Text(text + figure, "warning" if any(c.verdict == "warn" for c in result.checks) else "good")


def _case(check: Check) -> Case:
    measured = f" ({_number(check.figure)}, limit {_number(check.limit)})" if check.limit is not None else ""
    excess = check.figure / check.limit if check.figure is not None and check.limit else float("inf")
    return Case(check.name, Outcome(check.verdict.value), check.message + measured, excess)


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
    needed = result.needed_tolerance
    text = f"The smallest tolerance that would have passed: {needed:.2e} of the largest value"
    if math.isinf(needed):
        text = "No tolerance would have passed"
    return (Text(text),)


def _where(result: Comparison) -> tuple[str, ...]:
    """Where two models part, in up to four lines."""
    found = result.divergence
    if found is None:
        return ()
    name = f"'{found.candidate}'" + (f" ('{found.reference}' in the reference)" * (found.candidate != found.reference))
    sites = f", where {', '.join(found.sites)} was" if found.sites else ""
    tensors = "random tensors" if found.is_hidden else "the reference's own tensors"
    lines = [
        f"They part at {name}{sites}: error {found.local_error:.2e} from {tensors} in front of it, "
        f"{found.local_ratio:.3g} times the reference's own there; {found.accumulated_error:.2e} in the whole model",
    ]
    if found.changes:
        lines.append(f"Changed there: {'; '.join(map(str, found.changes))}")
    if found.worst_channels:
        channels = (f"{channel} ({share:.0%})" for channel, share in found.worst_channels)
        lines.append(f"Channels with the largest share of it: {', '.join(channels)}")
    if found.rest_passes is not None:
        rest = "the rest is equivalent" if found.rest_passes else "the rest is not equivalent either"
        lines.append(f"With the reference's own nodes there, {rest}")
    return tuple(lines)


def _verdict(result: Comparison) -> Text:
    failed = list(dict.fromkeys(check.name for check in result.checks if check.verdict == "fail"))
    if failed:
        return Text(f"Not equivalent: {', '.join(failed)}", "bad")
    if any(check.verdict == "warn" for check in result.checks):
        return Text("Equivalent, with warnings", "warning")
    return Text("Equivalent", "good")
