"""A Benchmark for people: one table of times, one of facts, and what they come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.reporting import model_facts, own_folds, profiles
from bnfold.reporting.cases import Case, Outcome, Suite
from bnfold.reporting.document import Document, Table, Text

if TYPE_CHECKING:
    from bnfold.benchmarking import Benchmark, Timing
    from bnfold.reporting.document import Block, Style

__all__ = ["document", "suite"]

_DEFAULT_LEVEL = "all"
_STYLES: dict[str, Style] = {"faster": "good", "slower": "bad", "no change": "plain"}


def document(result: Benchmark) -> Document:
    """Times with their intervals, sizes and node counts, and the answer in one sentence a level."""
    facts = model_facts.blocks(result.reference, result.candidate)
    return Document(
        f"{result.candidate.name} against {result.reference.name}",
        (
            _times(result),
            *facts,
            *_own_folds(result),
            *profiles.blocks(result.profiles),
            _conditions(result),
            *_answers(result),
        ),
    )


def suite(result: Benchmark) -> Suite:
    """Two cases a level; figures are no failures, whatever they are."""
    return Suite(
        "bench",
        tuple(
            Case(f"{what} at level {level.level}", Outcome.PASS, _words(timing))
            for level in result.levels
            for what, timing in (("latency", level.latency), ("load", level.load))
        ),
    )


def _times(result: Benchmark) -> Table:
    columns = ("level", "", "reference", "candidate", "speed-up", "95 %", "verdict")
    rows = [
        row
        for timing in result.levels
        for row in (_time(timing.level, "latency", timing.latency), _time(timing.level, "load", timing.load))
    ]
    return Table(columns, tuple(rows), numeric=frozenset(columns[2:6]))


def _time(level: str, what: str, timing: Timing) -> tuple[str, ...]:
    return (
        str(level),
        what,
        f"{timing.reference * 1000:.3f} ms",
        f"{timing.candidate * 1000:.3f} ms",
        f"{timing.speedup:.2f}×",
        f"{timing.low:.2f} to {timing.high:.2f}",
        timing.change.value,
    )


def _own_folds(result: Benchmark) -> list[Block]:
    return [] if result.own_folds is None else own_folds.blocks(result.own_folds)


def _conditions(result: Benchmark) -> Text:
    where = f"{result.runtime}, CPU, {result.threads} thread, {', '.join(result.inputs)}"
    how = f"{result.pairs} pairs of fresh sessions a level, ratio of medians, geometric mean"
    return Text(f"{where}; {how}", "dim")


def _answers(result: Benchmark) -> list[Text]:
    answers = []
    for timing in result.levels:
        where = f"Level {timing.level}" + (" (the default of onnxruntime)" * (timing.level == _DEFAULT_LEVEL))
        text = f"{where}: {_words(timing.latency)}; loads: {_words(timing.load)}"
        answers.append(Text(text, _STYLES[timing.latency.change]))
        if result.own_folds is not None and (entry := result.own_folds.at(timing.level)) is not None:
            answers.append(Text(own_folds.sentence(entry, timing.latency.change)))
    return answers


def _words(timing: Timing) -> str:
    return f"{timing.change.value}, {timing.low:.2f} to {timing.high:.2f} times as fast"
