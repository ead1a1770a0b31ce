"""A Benchmark for people: tables of times, memory and facts, and what they come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.reporting import model_facts, own_folds, profiles
from bnfold.reporting.cases import Case, Outcome, Suite
from bnfold.reporting.document import Document, Table, Text

if TYPE_CHECKING:
    from bnfold.benchmarking import Benchmark, Cell, Gate, Times, Timing
    from bnfold.reporting.document import Block, Style

__all__ = ["document", "suite", "timings"]

_CPU = "cpu"
_DEFAULT_LEVEL = "all"
_STYLES: dict[str, Style] = {"faster": "good", "slower": "bad", "no change": "plain", "inconclusive": "warning"}
_MIB = 1 << 20
_TELLING = ("cudnn_conv_algo_search", "use_tf32")


def document(result: Benchmark) -> Document:
    """Times, intervals, 95th percentiles, memory, what the models are, and the answer in one sentence a place."""
    blocks = (
        _times(result),
        _further(result),
        *model_facts.blocks(result.reference, result.candidate),
        *_own_folds(result),
        *profiles.blocks(result.profiles),
        *_conditions(result),
        *_answers(result),
        *_explained(result),
        *(_demanded(gate) for gate in result.gates),
    )
    return Document(f"{result.candidate.name} against {result.reference.name}", blocks)


def suite(result: Benchmark) -> Suite:
    """Three cases a place, which are no failures, whatever the figures are; and one for each demand, which may be."""
    figures = [
        Case(f"{what} ({cell})", Outcome.PASS, _words(timing))
        for cell in result.cells
        for what, timing in timings(cell)
    ]
    demands = [
        Case(f"speed-up {gate}", Outcome.PASS if gate.passed else Outcome.FAIL, _verdict(gate)) for gate in result.gates
    ]
    return Suite("bench", (*figures, *demands))


def timings(cell: Cell) -> tuple[tuple[str, Timing], ...]:
    """What was timed at a place, by its name."""
    timings = (
        ("latency", cell.latency),
        ("on the device", cell.on_device),
        ("load", cell.load),
        ("first run", cell.first),
    )
    return tuple((what, timing) for what, timing in timings if timing is not None)


def _varying(result: Benchmark) -> tuple[str, ...]:
    """What tells the places apart; the level always does."""
    names = ("provider", "threads", "batch")
    return (*(name for name in names if len({getattr(cell, name) for cell in result.cells}) > 1), "level")


def _where(result: Benchmark, cell: Cell) -> tuple[str, ...]:
    return tuple(str(getattr(cell, name)) for name in _varying(result))


def _times(result: Benchmark) -> Table:
    figures = ("reference", "candidate", "speed-up", "95 %", "detectable")
    rows = [(*_where(result, cell), what, *_time(timing)) for cell in result.cells for what, timing in timings(cell)]
    return Table((*_varying(result), "", *figures, "verdict"), tuple(rows), numeric=frozenset(figures))


def _time(timing: Timing) -> tuple[str, ...]:
    return (
        _milliseconds(timing.reference),
        _milliseconds(timing.candidate),
        f"{timing.speedup:.2f}×",
        f"{timing.low:.2f} to {timing.high:.2f}",
        f"{timing.detectable:.2f}×",
        timing.change.value,
    )


def _milliseconds(times: Times) -> str:
    return f"{times.median * 1000:.3f} ms ({times.low * 1000:.3f} to {times.high * 1000:.3f})"


def _further(result: Benchmark) -> Table:
    """What has no ratio: how long the slowest inferences take, and memory where it is known."""
    figures = ("reference", "candidate")
    rows = [(*_where(result, cell), *row) for cell in result.cells for row in (*_tails(cell), *_memory(cell))]
    return Table((*_varying(result), "", *figures), tuple(rows), numeric=frozenset(figures))


def _tails(cell: Cell) -> list[tuple[str, ...]]:
    return [
        (f"95 % of {what} within", *(f"{times.tail * 1000:.3f} ms" for times in (timing.reference, timing.candidate)))
        for what, timing in (("latencies", cell.latency), ("those on the device", cell.on_device))
        if timing is not None
    ]


def _memory(cell: Cell) -> list[tuple[str, ...]]:
    figures = (cell.reference_memory, cell.candidate_memory)
    return [] if figures == (None, None) else [("peak memory", *map(_mebibytes, figures))]


def _mebibytes(memory: int | None) -> str:
    return "" if memory is None else f"{memory / _MIB:.1f} MiB"


def _own_folds(result: Benchmark) -> list[Block]:
    return [] if result.own_folds is None else own_folds.blocks(result.own_folds)


def _conditions(result: Benchmark) -> list[Text]:
    first, varying = result.cells[0], _varying(result)
    where = [] if "provider" in varying else [first.provider]
    where += [] if "threads" in varying else [f"{first.threads} thread{'s' * (first.threads != 1)}"]
    fed = dict.fromkeys(", ".join(cell.inputs) for cell in result.cells)
    least = min(len(cell.latency.speedups) for cell in result.cells)
    most = max(len(cell.latency.speedups) for cell in result.cells)
    pairs = f"{least}" if least == most else f"{least} to {most}"
    kind = "processes, A B B A" if result.processes else "sessions"
    alone = "; loads, first runs and memory in fresh processes" if first.load is not None else ""
    return [
        Text(f"{result.runtime}, {', '.join([*where, *fed])}", "dim"),
        Text(
            f"{pairs} pairs of fresh {kind}: ratio of medians, geometric mean; a third as many of the reference "
            f"against itself{alone}",
            "dim",
        ),
        *_settings(result),
    ]


def _settings(result: Benchmark) -> list[Text]:
    """What of the providers' options decides how fast and how exact a convolution is."""
    found = dict.fromkeys(
        f"{cell.provider}: " + ", ".join(f"{name} {cell.settings[name]}" for name in _TELLING if name in cell.settings)
        for cell in result.cells
        if any(name in cell.settings for name in _TELLING)
    )
    return [Text("; ".join(found), "dim")] if found else []


def _answers(result: Benchmark) -> list[Text]:
    answers = []
    for cell in result.cells:
        (*rest, _), names = _where(result, cell), _varying(result)
        place = "".join(f"{name} {value}, " for name, value in zip(names, rest, strict=False))
        where = f"{place}level {cell.level}" + " (the default of onnxruntime)" * (cell.level == _DEFAULT_LEVEL)
        text = f"{where[0].upper()}{where[1:]}: {_words(cell.latency)}"
        text += f"; loads: {_words(cell.load)}" if cell.load is not None else ""
        answers.append(Text(text, _STYLES[cell.latency.change]))
    return answers


def _explained(result: Benchmark) -> list[Text]:
    """What the runtime does by itself, where that is known: on the CPU; once for all places of a level."""
    changes: dict[str, list[str]] = {}
    for cell in result.cells:
        if cell.provider == _CPU:
            changes.setdefault(cell.level, []).append(cell.latency.change)
    entries = () if result.own_folds is None else result.own_folds.levels
    return [Text(own_folds.sentence(entry, *changes[entry.level])) for entry in entries if entry.level in changes]


def _words(timing: Timing) -> str:
    said = f"{timing.change.value}, {timing.low:.2f} to {timing.high:.2f} times as fast"
    more = "; more pairs or a quieter machine may tell" if timing.change == "inconclusive" else ""
    return said + more


def _demanded(gate: Gate) -> Text:
    return Text(f"Speed-up {gate} demanded: {_verdict(gate)}", "good" if gate.passed else "bad")


def _verdict(gate: Gate) -> str:
    return f"{'shown' if gate.passed else 'not shown'}: {gate.low:.3f} is sure ({gate.where})"
