"""What the runtime folds by itself, for people: a table, and what it means for a time that did not change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.reporting.document import Table, Text

if TYPE_CHECKING:
    from collections.abc import Collection

    from bnfold.benchmarking import Fates, LevelFolds, OwnFolds
    from bnfold.reporting.document import Block

__all__ = ["blocks", "sentence"]

_DEFAULT_LEVEL = "all"
_CHANGES = ("faster", "slower")


def blocks(folds: OwnFolds) -> list[Block]:
    """Both models at each level; nothing where neither has a BatchNormalization."""
    if folds.refusal:
        return [Text(f"What onnxruntime folds by itself could not be told: {folds.refusal}", "warning")]
    rows = [
        (str(entry.level), name, *_numbers(fates))
        for entry in folds.levels
        for name, fates in (("reference", entry.reference), ("candidate", entry.candidate), ("gone", entry.gone))
        if fates.total or name == "reference"
    ]
    if not any(entry.reference.total or entry.candidate.total for entry in folds.levels):
        return []
    columns = ("level", "BatchNormalizations of", "folded by onnxruntime itself", "depthwise Conv", "left")
    return [Table(columns, tuple(rows), numeric=frozenset(columns[2:]))]


def sentence(entry: LevelFolds, *changes: str) -> str:
    """Why the candidate is faster at a level, or why it is not; ``changes`` are the verdicts at the places there."""
    said = _said(entry, changes)
    return f"{changes[0]}: {said}" if len(set(changes)) == 1 else f"{said[0].upper()}{said[1:]}"


def _said(entry: LevelFolds, changes: Collection[str]) -> str:
    gone, where = entry.gone, _where(entry.level)
    if not gone.total:
        return "no BatchNormalization of the reference is gone from the candidate"
    these = "the one that went" if gone.total == 1 else f"these {gone.total}"
    if gone.folded == gone.total:
        tail = ", so that this is not what makes the difference" if set(_CHANGES) & set(changes) else ""
        return f"your runtime already folds {these} {where}{tail}"
    if not gone.folded:
        these = these if gone.total == 1 else f"none of {these}"
        does = "does not fold" if gone.total == 1 else "folds"
        return f"your runtime {does} {these} {where}: {_unfolded(gone)}"
    return f"your runtime already folds {gone.folded} of {these} {where}: {_unfolded(gone)}"


def _where(level: str) -> str:
    return "at its default level" if level == _DEFAULT_LEVEL else f"at level {level}"


def _unfolded(fates: Fates) -> str:
    parts = []
    if fates.depthwise:
        parts.append(f"turns {fates.depthwise} into depthwise 1×1 convolutions")
    if fates.left:
        parts.append(f"leaves {fates.left} as {'it is' if fates.left == 1 else 'they are'}")
    return f"it {' and '.join(parts)}"


def _numbers(fates: Fates) -> tuple[str, ...]:
    return str(fates.folded), str(fates.depthwise), str(fates.left)
