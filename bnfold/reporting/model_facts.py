"""What two models are, side by side: sizes, the nodes that differ, and the work of the affines that went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.reporting.document import Table

if TYPE_CHECKING:
    from bnfold.benchmarking import ModelFacts, Work
    from bnfold.reporting.document import Block

__all__ = ["blocks"]

_THOUSAND = 1000.0


def blocks(reference: ModelFacts, candidate: ModelFacts) -> list[Block]:
    """Sizes; node types of which one model has more, if there are any; work, for each size of inputs."""
    columns = ("model", "bytes", "nodes", "BatchNormalizations")
    sizes = Table(columns, (_sizes(reference), _sizes(candidate)), numeric=frozenset(columns[1:]))
    return [sizes, *_types(reference, candidate), *_work(reference, candidate)]


def _sizes(model: ModelFacts) -> tuple[str, ...]:
    return model.name, f"{model.size:,}", str(model.nodes), str(model.batch_normalizations)


def _types(reference: ModelFacts, candidate: ModelFacts) -> list[Table]:
    left, right = reference.op_types, candidate.op_types
    rows = [
        (name, str(left.get(name, 0)), str(right.get(name, 0)))
        for name in sorted({*left, *right})
        if left.get(name, 0) != right.get(name, 0)
    ]
    columns = ("nodes that differ", "reference", "candidate")
    return [Table(columns, tuple(rows), numeric=frozenset(columns[1:]))] if rows else []


def _work(reference: ModelFacts, candidate: ModelFacts) -> list[Table]:
    pairs = list(zip(reference.work, candidate.work, strict=True))
    if not any(work.affines or work.unknown for pair in pairs for work in pair):
        return []
    columns = ("inputs", "", "products", "affines", "their operations", "their bytes")
    rows = [row for left, right in pairs for row in _rows(left, right)]
    return [Table(columns, tuple(rows), numeric=frozenset(columns[2:]))]


def _rows(left: Work, right: Work) -> list[tuple[str, ...]]:
    inputs = ", ".join(left.inputs)
    gone = (
        inputs,
        "gone",
        "",
        str(left.affines - right.affines),
        _short(left.affine_operations - right.affine_operations, "FLOP"),
        _short(left.affine_bytes - right.affine_bytes, "B"),
    )
    return [_row(inputs, "reference", left), _row(inputs, "candidate", right), gone]


def _row(inputs: str, name: str, work: Work) -> tuple[str, ...]:
    affines = f"{work.affines}" + (f" (and {work.unknown} of unknown shape)" if work.unknown else "")
    figures = _short(work.affine_operations, "FLOP"), _short(work.affine_bytes, "B")
    return inputs, name, _short(work.operations, "FLOP"), affines, *figures


def _short(number: float, unit: str) -> str:
    """Three digits: ``8.18 GFLOP``, ``512 B``."""
    for prefix in ("", "k", "M", "G"):
        if abs(number) < _THOUSAND:
            return f"{number:.3g} {prefix}{unit}"
        number /= _THOUSAND
    return f"{number:.3g} T{unit}"
