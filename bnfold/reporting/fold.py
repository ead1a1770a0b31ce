"""A FoldResult for people: one line for each BatchNormalization, where it went or why it stayed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.reporting.document import Document, Table, Text

if TYPE_CHECKING:
    from bnfold.folding import Absorption, Folded, FoldResult, Kept
    from bnfold.reporting.document import Block

__all__ = ["document"]


def document(result: FoldResult, title: str, verdict: Text | None = None) -> Document:
    """The table, and one line that sums it up.

    Args:
        result: The fold.
        title: What was folded, and into what.
        verdict: How the verification came out, if there was one.
    """
    rows = [_folded(entry) for entry in result.folded] + [_kept(entry) for entry in result.kept]
    blocks: list[Block] = [Table(("BatchNormalization", "", "where, or why not"), tuple(rows))] if rows else []
    blocks.append(_summary(result))
    if result.flushed_subnormals:
        text = f"{result.flushed_subnormals} weights would have been subnormal, which is slow on CPUs: they are 0 now"
        blocks.append(Text(text, "warning"))
    if verdict is not None:
        blocks.append(verdict)
    return Document(title, tuple(blocks))


def _folded(entry: Folded) -> tuple[str, str, str]:
    into = ", ".join(_absorption(absorption) for absorption in entry.into)
    through = f", through {', '.join(entry.through)}" if entry.through else ""
    return entry.node, "folded", f"{entry.route} into {into}{through}" if into else f"it changed nothing{through}"


def _absorption(absorption: Absorption) -> str:
    return f"{absorption.op_type} {absorption.node} ({', '.join(absorption.constants)})"


def _kept(entry: Kept) -> tuple[str, str, str]:
    return entry.node, "kept", f"{entry.reason} ({entry.hint})" if entry.hint else entry.reason


def _summary(result: FoldResult) -> Text:
    count = len(result.folded) + len(result.kept)
    if not count:
        return Text("There is no BatchNormalization in this model")
    text = f"{len(result.folded)} of {count} folded, {result.nodes_before} nodes → {result.nodes_after}"
    return Text(text, "warning" if result.kept else "good")
