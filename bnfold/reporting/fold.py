"""A FoldResult for people: where each BatchNormalization went or why it stayed; and as a plan, with every route."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.reporting.cases import Case, Outcome, Suite
from bnfold.reporting.document import Document, Table, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnfold.folding import Absorption, Folded, FoldResult, Kept, Merged
    from bnfold.reporting.document import Block

__all__ = ["document", "document_plan", "suite"]

_BATCH_NORM = "BatchNormalization"
_OTHER = "constant factor or term", "constant factors or terms"
_BRANCH = "branch", "branches"

_MOST_LISTED = 4  # what a plan touches, on one line; bnfold inspect shows all of it
_MOST_CONSTANTS = 16  # folded factors and terms; more are only counted
_NOTABLE_SHIFT = 32.0  # standard deviations: five bits of the other readers


def document(result: FoldResult, title: str) -> Document:
    """The table, and one line that sums it up."""
    kept = [entry for entry in result.kept if entry.is_batch_norm]
    others = [entry for entry in result.folded if not entry.is_batch_norm]
    shown = result.folded if len(others) <= _MOST_CONSTANTS else tuple(e for e in result.folded if e.is_batch_norm)
    rows = [_folded(entry) for entry in shown] + [_kept(entry) for entry in kept]
    rows += [_merged(entry) for entry in result.merged]
    blocks: list[Block] = [Table((_heading(result), "", "where, or why not"), tuple(rows))] if rows else []
    blocks += _summary(result)
    if left := len(result.kept) - len(kept):
        blocks.append(Text(f"{_counted(left, _OTHER)} stay{'s' * (left == 1)}: bnfold inspect tells why"))
    return Document(title, tuple(blocks))


def document_plan(result: FoldResult, title: str) -> Document:
    """The same before it is done: each node that would take part, and each route that is blocked, on a line."""
    rows = [row for entry in result.folded for row in _group(entry.node, "folded", _planned(entry))]
    rows += [row for entry in result.kept for row in _group(entry.node, "kept", _obstacles(entry))]
    rows += [(*_merged(entry)[:2], "", _merged(entry)[2]) for entry in result.merged]
    columns = (_heading(result), "", "route", "into what, or what blocks it")
    blocks: list[Block] = [Table(columns, tuple(rows))] if rows else []
    return Document(title, (*blocks, *_summary(result)))


def suite(result: FoldResult, *, strict: bool = False) -> Suite:
    """One case a BatchNormalization; one that was kept is a note, or a failure where none may be."""
    folded = [Case(entry.node, Outcome.PASS, _folded(entry)[-1]) for entry in result.folded if entry.is_batch_norm]
    outcome = Outcome.FAIL if strict else Outcome.NOTE
    kept = [Case(entry.node, outcome, f"kept: {_kept(entry)[-1]}") for entry in result.kept if entry.is_batch_norm]
    return Suite("fold", (*folded, *kept))


def _group(node: str, outcome: str, lines: list[tuple[str, str]]) -> list[tuple[str, str, str, str]]:
    """The name once, in front of its first line."""
    first, *others = lines
    return [(node, outcome, *first), *(("", "", *other) for other in others)]


def _planned(entry: Folded) -> list[tuple[str, str]]:
    steps = _targets(entry) or ["it changes nothing"]
    steps += [f"through {name}" for name in entry.through]
    return [(entry.route if index == 0 else "", step) for index, step in enumerate(steps)]


def _obstacles(entry: Kept) -> list[tuple[str, str]]:
    return [(attempt.route, attempt.obstacle) for attempt in entry.attempts] or [("", _kept(entry)[-1])]


def _folded(entry: Folded) -> tuple[str, str, str]:
    into = _listed(_targets(entry))
    through = f", through {_listed(entry.through)}" if entry.through else ""
    return entry.node, "folded", f"{entry.route} into {into}{through}" if into else f"it changed nothing{through}"


def _targets(entry: Folded) -> list[str]:
    return [_absorption(absorption) for absorption in entry.into]


def _absorption(absorption: Absorption) -> str:
    return f"{absorption.op_type} {absorption.node} ({', '.join(absorption.constants)})"


def _kept(entry: Kept) -> tuple[str, str, str]:
    return entry.node, "kept", f"{entry.reason} ({entry.hint})" if entry.hint else entry.reason


def _merged(entry: Merged) -> tuple[str, str, str]:
    branch = " → ".join(entry.nodes) or "(the tensor itself)"
    return branch, "merged", f"into {_absorption(entry.into)}, out of {entry.sum}"


def _listed(items: Sequence[str]) -> str:
    """All items in a line, or as many as one cares to read."""
    more = len(items) - _MOST_LISTED
    return ", ".join(items) if more <= 1 else f"{', '.join(items[:_MOST_LISTED])} … and {more} more"


def _heading(result: FoldResult) -> str:
    entries: tuple[Folded | Kept, ...] = (*result.folded, *result.kept)
    return _BATCH_NORM if all(entry.is_batch_norm for entry in entries) and not result.merged else "affine"


def _counted(count: int, names: tuple[str, str]) -> str:
    return f"{count} {names[count != 1]}"


def _summary(result: FoldResult) -> list[Text]:
    folded = sum(entry.is_batch_norm for entry in result.folded)
    kept = sum(entry.is_batch_norm for entry in result.kept)
    others = len(result.folded) - folded
    counts = [f"{folded} of {folded + kept} folded"] if folded + kept else [f"no {_BATCH_NORM} in this model"]
    counts += [f"{_counted(others, _OTHER)} folded"] if others else []
    counts += [f"{_counted(len(result.merged), _BRANCH)} merged"] if result.merged else []
    if result.folded or result.kept or result.merged:
        counts.append(f"{result.nodes_before} nodes → {result.nodes_after}")
    summary = ", ".join(counts)
    lines = [Text(summary[0].upper() + summary[1:], "warning" if kept else "good" if folded else "plain")]
    if result.flushed_subnormals:
        text = f"{result.flushed_subnormals} weights would have been subnormal, which is slow on CPUs: they become 0"
        lines.append(Text(text, "warning"))
    worst = max((entry.conditioning for entry in result.folded), default=0.0)
    if worst > _NOTABLE_SHIFT:
        text = f"other readers take off shifts of up to {worst:.2g} standard deviations, which costs them bits"
        lines.append(Text(text, "warning"))
    return lines + [Text(f"{entry.node}: {entry.warning}", "warning") for entry in result.kept if entry.warning]
