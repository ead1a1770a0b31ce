"""Pairs of fresh processes: what each model costs where nothing has run before."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnfold.benchmarking.measuring import Pair
from bnfold.benchmarking.statistics import percentile
from bnfold.benchmarking.turns import in_turns
from bnfold.runtime.isolation import run_isolated

if TYPE_CHECKING:
    from bnfold.benchmarking.grid import Place
    from bnfold.runtime.alone import Alone
    from bnfold.runtime.sessions import Feeds

__all__ = ["ProcessPair", "measure_processes"]


@dataclass(frozen=True)
class ProcessPair:
    """The processes of one pair: those of the reference, and those of the candidate."""

    runs: tuple[list[Alone], list[Alone]]

    @property
    def load(self) -> tuple[float, float]:
        """Seconds that making a session took, the medians."""
        reference, candidate = (statistics.median(run.load for run in runs) for runs in self.runs)
        return reference, candidate

    @property
    def first(self) -> tuple[float, float]:
        """Seconds that the first inference took, the medians."""
        reference, candidate = (statistics.median(run.first for run in runs) for runs in self.runs)
        return reference, candidate

    @property
    def latency(self) -> Pair:
        """Later inferences, of all processes of a model together."""
        reference, candidate = ([time for run in runs for time in run.times] for runs in self.runs)
        return Pair(
            (statistics.median(reference), statistics.median(candidate)), (percentile(reference), percentile(candidate))
        )


def measure_processes(
    paths: tuple[str, str],
    place: Place,
    feed: Feeds,
    *,
    pairs: int,
    seconds: float,
    timeout: float,
    warmup: int = 0,
    iterations: int = 0,
) -> tuple[list[ProcessPair], list[ProcessPair]]:
    """Run a reference and a candidate, known to run there, in processes that take turns.

    A pair is two processes; where ``iterations`` inferences are timed it is four: first, second, second, first.

    Args:
        paths: The two models.
        place: Where they run.
        feed: Their inputs.
        pairs: How many pairs there are at least.
        seconds: As long as these are not over, there are more.
        timeout: Seconds that each process may take.
        warmup: Inferences after the first that are not timed.
        iterations: Inferences that are.

    Returns:
        The pairs, and the control.

    Raises:
        ExecutionError: A process crashed, or took too long.
    """
    arguments = {"level": place.level, "feed": feed, "provider": place.provider, "threads": place.threads}
    arguments |= {"warmup": warmup, "iterations": iterations}

    def take(models: tuple[str, str], order: tuple[int, int]) -> ProcessPair:
        runs: tuple[list[Alone], list[Alone]] = ([], [])
        for index in (*order, *reversed(order)) if iterations else order:
            path = models[index]
            runs[index].append(
                run_isolated(
                    "bnfold.runtime.alone:time_alone", {"path": path, **arguments}, subject=path, timeout=timeout
                )
            )
        return ProcessPair(runs)

    return in_turns(paths, take, pairs, seconds)
