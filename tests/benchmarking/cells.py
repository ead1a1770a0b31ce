"""Cells whose figures are known."""

from bnfold.benchmarking import Cell, Timing
from bnfold.benchmarking.statistics import timing
from bnfold.runtime.sessions import Level

STILL = ((1.0, 1.0),) * 3


def ratios(*speedups, control=STILL) -> Timing:
    """The candidate takes 1 ms in each pair."""
    return timing([(1e-3 * speedup, 1e-3) for speedup in speedups], control)


def cell(level, *, latency, load=None, on_device=None, provider="cpu", threads=1, batch=1) -> Cell:
    other = load or ratios(2.0, 2.1, 1.9)
    inputs = (f"x {batch}×3",)
    return Cell(provider, threads, batch, Level(level), inputs, {}, latency, on_device, other, other, 3 << 20, None, 10)
