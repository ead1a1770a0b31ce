"""What a picture of a Benchmark shows: the ratios of its pairs, a row for each thing that was timed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.reporting.pictures import Distribution
from bnfold.reporting.timing import timings

if TYPE_CHECKING:
    from bnfold.benchmarking import Benchmark, Timing

__all__ = ["distribution", "distributions"]


def distributions(result: Benchmark) -> tuple[Distribution, ...]:
    """Latency, load and first inference, at each place."""
    return tuple(distribution(f"{cell}, {what}", timing) for cell in result.cells for what, timing in timings(cell))


def distribution(label: str, timing: Timing) -> Distribution:
    """The row of one quantity."""
    return Distribution(label, timing.speedups, timing.speedup, timing.low, timing.high, timing.change.value)
