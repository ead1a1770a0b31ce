"""An ``ExportResult`` for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.reporting import comparison, fold
from bnfold.reporting.cases import Case, Outcome, Suite
from bnfold.reporting.document import Document, Table, Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnfold.exporting import ExportResult
    from bnfold.exporting.result import Port
    from bnfold.reporting.document import Block

__all__ = ["document", "suite"]

_COLUMNS = ("inputs", "error ratio", "scaled error")
_COUNTERS = "num_batches_tracked"
_SHOWN = 8  # names on a line
_ROUNDING = 1e-5  # of the largest value: the mode makes no difference


def document(result: ExportResult) -> Document:
    """The file, what is in it, and how well onnxruntime agrees with PyTorch."""
    rows = tuple(
        (case.inputs, "-" if case.ratio is None else f"{case.ratio:.3f}", f"{case.scaled_error:.2e}")
        for case in result.agreement
    )
    blocks: list[Block] = [*map(Text, _facts(result)), Table(_COLUMNS, rows, numeric=frozenset(_COLUMNS[1:]))]
    blocks += [Text(f"onnxruntime agrees with PyTorch{_score(result)}", "good")]
    blocks += [Text(_settled(name)) for name in result.settled]
    blocks += _training(result)
    blocks += _norms(result)
    blocks += [Text(f"not in the graph: {line}") for line in _unused(result)]
    blocks += [Text(line, "warning") for line in result.warnings]
    return Document(f"{result.source} → {result.path}", tuple(blocks))


def suite(result: ExportResult) -> tuple[Suite, ...]:
    """One case for each set of inputs on which ONNX and PyTorch agree, and the suites of a fold."""
    cases = [Case(case.inputs, Outcome.PASS, _agreement(case.ratio)) for case in result.agreement]
    cases += [Case("warning", Outcome.WARN, line) for line in result.warnings]
    if result.fallback:
        cases.append(Case("exporter", Outcome.NOTE, _fallback(result)))
    suites: tuple[Suite, ...] = (Suite("export", tuple(cases)),)
    if result.fold is not None and result.comparison is not None:
        suites += (fold.suite(result.fold), comparison.suite(result.comparison))
    return suites


def _facts(result: ExportResult) -> Iterator[str]:
    nodes = ", ".join(f"{count} {operator}" for operator, count in result.nodes.items())
    yield f"opset {result.opset}, {result.size} bytes, {result.parameters} parameters: {nodes}"
    yield f"{_ports(result.inputs)} → {_ports(result.outputs)}"
    if result.external is not None:
        yield f"its weights are in {result.external}"
    if result.fallback:
        yield _fallback(result)


def _fallback(result: ExportResult) -> str:
    return f"exported by torch's older exporter ({result.exporter}), as the modern one did not: {result.fallback}"


def _ports(ports: tuple[Port, ...]) -> str:
    return ", ".join(f"{port.name} {port.dtype} [{', '.join(map(_size, port.shape))}]" for port in ports)


def _size(size: int | str | None) -> str:
    return "?" if size is None else str(size)


def _score(result: ExportResult) -> str:
    return "" if result.accuracy is None else f": {result.score} {result.accuracy:.2%} on {result.rows} held-out rows"


def _settled(name: str) -> str:
    return f"output '{name}': onnxruntime rounds more than PyTorch; in float64 the graph is the module's function"


def _agreement(ratio: float | None) -> str:
    return "agrees with PyTorch" + ("" if ratio is None else f", error ratio {ratio:.3f}")


def _training(result: ExportResult) -> list[Block]:
    if result.training_difference is None or result.training_difference < _ROUNDING:
        return []
    return [Text(f"in training mode the network is {result.training_difference:.2g} of the largest value away from it")]


def _norms(result: ExportResult) -> list[Block]:
    kinds: dict[str, list[str]] = {}
    for conversion in result.conversions:
        kinds.setdefault(conversion.kind, []).append(conversion.module or "(the network)")
    lines: list[Block] = [Text(f"{kind} became BatchNorm: {_listed(names)}") for kind, names in kinds.items()]
    if not result.batch_norms:
        return [*lines, Text("no BatchNormalization in this network")]
    if result.fold is None:
        return [*lines, Text(f"BatchNormalizations kept: {result.batch_norms} of {result.batch_norms}", "good")]
    verdict = () if result.comparison is None else (comparison.summary(result.comparison),)
    return [*lines, *fold.document(result.fold, "").blocks, *verdict]


def _unused(result: ExportResult) -> Iterator[str]:
    """Counters are in no graph; nobody misses them."""
    reasons: dict[str, list[str]] = {}
    for entry in result.unused:
        if entry.name.rpartition(".")[2] != _COUNTERS:
            reasons.setdefault(entry.reason, []).append(entry.name)
    for reason, names in reasons.items():
        yield f"{_listed(names)} ({reason})"


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
