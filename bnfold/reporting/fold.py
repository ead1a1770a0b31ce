"""A FoldResult for people: where each BatchNormalization went or why it stayed; and as a plan, with every route."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.reporting.document import Document, Table, Text

if TYPE_CHECKING:
    from bnfold.folding import Absorption, Folded, FoldResult, Kept
    from bnfold.reporting.document import Block

__all__ = ["document", "document_plan"]


def document(result: FoldResult, title: str, verdict: Text | None = None) -> Document:
    """The table, and one line that sums it up.

    Args:
        result: The fold.
        title: What was folded, and into what.
        verdict: How the verification came out, if there was one.
    """
    rows = [_folded(entry) for entry in result.folded] + [_kept(entry) for entry in result.kept]
    blocks: list[Block] = [Table(("BatchNormalization", "", "where, or why not"), tuple(rows))] if rows else []
    blocks += _summary(result)
    if verdict is not None:
        blocks.append(verdict)
    return Document(title, tuple(blocks))


def document_plan(result: FoldResult, title: str) -> Document:
    """The same before it is done: each node that would take part, and each route that is blocked, on a line."""
    rows = [row for entry in result.folded for row in _group(entry.node, "folded", _planned(entry))]
    rows += [row for entry in result.kept for row in _group(entry.node, "kept", _obstacles(entry))]
    columns = ("BatchNormalization", "", "route", "into what, or what blocks it")
    blocks: list[Block] = [Table(columns, tuple(rows))] if rows else []
    return Document(title, (*blocks, *_summary(result)))


def _group(node: str, outcome: str, lines: list[tuple[str, str]]) -> list[tuple[str, str, str, str]]:
    """The name once, in front of its first line."""
    first, *others = lines
    return [(node, outcome, *first), *(("", "", *other) for other in others)]


def _planned(entry: Folded) -> list[tuple[str, str]]:
    steps = [_absorption(absorption) for absorption in entry.into] or ["it changes nothing"]
    steps += [f"through {name}" for name in entry.through]
    return [(entry.route if index == 0 else "", step) for index, step in enumerate(steps)]


def _obstacles(entry: Kept) -> list[tuple[str, str]]:
    return [(attempt.route, attempt.obstacle) for attempt in entry.attempts] or [("", _kept(entry)[-1])]


def _folded(entry: Folded) -> tuple[str, str, str]:
    into = ", ".join(_absorption(absorption) for absorption in entry.into)
    through = f", through {', '.join(entry.through)}" if entry.through else ""
    return entry.node, "folded", f"{entry.route} into {into}{through}" if into else f"it changed nothing{through}"


def _absorption(absorption: Absorption) -> str:
    return f"{absorption.op_type} {absorption.node} ({', '.join(absorption.constants)})"


def _kept(entry: Kept) -> tuple[str, str, str]:
    return entry.node, "kept", f"{entry.reason} ({entry.hint})" if entry.hint else entry.reason


def _summary(result: FoldResult) -> list[Text]:
    count = len(result.folded) + len(result.kept)
    if not count:
        return [Text("There is no BatchNormalization in this model")]
    text = f"{len(result.folded)} of {count} folded, {result.nodes_before} nodes → {result.nodes_after}"
    lines = [Text(text, "warning" if result.kept else "good")]
    if result.flushed_subnormals:
        text = f"{result.flushed_subnormals} weights would have been subnormal, which is slow on CPUs: they become 0"
        lines.append(Text(text, "warning"))
    return lines
