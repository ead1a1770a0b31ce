"""An ``ExportResult`` for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.reporting.cases import Case, Outcome, Suite
from bnfold.reporting.document import Document, Table, Text

if TYPE_CHECKING:
    from bnfold.exporting import ExportResult

__all__ = ["document", "suite"]

_COLUMNS = ("inputs", "rows", "batch", "error ratio", "scaled error")


def document(result: ExportResult) -> Document:
    """The file, what is in it, and how well onnxruntime agrees with PyTorch."""
    nodes = ", ".join(f"{count} {operator}" for operator, count in result.nodes.items())
    rows = tuple(
        (case.inputs, str(case.rows), str(case.batch), f"{case.ratio:.3f}", f"{case.scaled_error:.2e}")
        for case in result.agreement
    )
    return Document(
        title=f"{result.source} → {result.path}",
        blocks=(
            Text(f"opset {result.opset}, {result.size} bytes, {result.parameters} parameters: {nodes}"),
            Table(_COLUMNS, rows, numeric=frozenset(_COLUMNS[1:])),
            Text(
                f"onnxruntime agrees with PyTorch: {result.accuracy:.2%} of {result.rows} held-out rows",
                "good",
            ),
            Text(f"BatchNormalizations kept: {result.batch_norms} of {result.batch_norms}", "good"),
        ),
    )


def suite(result: ExportResult) -> Suite:
    """One case for each set of inputs on which ONNX and PyTorch agree."""
    cases = (
        Case(f"{case.inputs}, batch {case.batch}", Outcome.PASS, f"agrees with PyTorch, error ratio {case.ratio:.3f}")
        for case in result.agreement
    )
    return Suite("export", tuple(cases))
