"""All that is measured at one place of the grid."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnfold.benchmarking.grid import shapes_of
from bnfold.benchmarking.processes import measure_processes
from bnfold.benchmarking.result import Cell
from bnfold.benchmarking.statistics import timing
from bnfold.runtime.binding import device_of
from bnfold.runtime.isolation import run_isolated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnfold.benchmarking.grid import Place
    from bnfold.benchmarking.measuring import Measured, Pair
    from bnfold.benchmarking.processes import ProcessPair
    from bnfold.benchmarking.result import Timing
    from bnfold.runtime.binding import Device
    from bnfold.runtime.sessions import Feeds

__all__ = ["Timer", "latency_of"]

_TOGETHER = 2 / 3  # of a budget, for the latencies; the rest is for fresh processes


@dataclass(frozen=True)
class Timer:
    """How two models are timed wherever they are.

    Attributes:
        paths: The reference and the candidate.
        subject: What to call them in messages.
        pairs: How many pairs there are at least.
        warmup: Inferences of each session that are not timed.
        loads: Whether there are pairs of processes at all.
        processes: Whether the latencies come from pairs of processes.
        timeout: Seconds that a child process may take beside its part of the budget.
    """

    paths: tuple[str, str]
    subject: str
    pairs: int
    warmup: int
    loads: bool
    processes: bool
    timeout: float

    def cell(self, place: Place, feed: Feeds, seconds: float) -> Cell:
        """Measure everything at a place, in so many seconds, or as many as the pairs take.

        Raises:
            ExecutionError: A model could not be run.
            ProviderError: The provider did not run one of the models.
        """
        end = time.monotonic() + seconds
        alone = self.loads or self.processes
        device = device_of(place.provider)
        share = (_TOGETHER if alone else 1) * seconds / (2 if device else 1)
        measured = self._measured(place, feed, share)
        there = self._measured(place, feed, share, device) if device else None
        pairs, control = self._alone(place, feed, measured, end - time.monotonic()) if alone else ([], [])
        within, against_itself = measured.pairs, measured.control
        if self.processes:
            within, against_itself = [pair.latency for pair in pairs], [pair.latency for pair in control]
        return Cell(
            provider=str(place.provider),
            threads=place.threads,
            batch=place.batch,
            level=place.level,
            inputs=shapes_of(feed),
            settings=measured.settings,
            latency=latency_of(within, against_itself),
            on_device=latency_of(there.pairs, there.control) if there else None,
            load=timing([pair.load for pair in pairs], [pair.load for pair in control]) if alone else None,
            first=timing([pair.first for pair in pairs], [pair.first for pair in control]) if alone else None,
            reference_memory=_memory(pairs, 0),
            candidate_memory=_memory(pairs, 1),
            iterations=measured.iterations,
        )

    def _measured(self, place: Place, feed: Feeds, seconds: float, device: Device | None = None) -> Measured:
        """The latencies of pairs of sessions; where processes give them, only what the models demand of the place."""
        arguments: dict[str, object] = {"paths": self.paths, "place": place, "feed": feed, "warmup": self.warmup}
        none = self.processes and device is None
        arguments |= {"pairs": 0, "seconds": 0} if none else {"pairs": self.pairs, "seconds": seconds}
        arguments["device"] = device
        measured: Measured = run_isolated(
            "bnfold.benchmarking.measuring:measure", arguments, subject=self.subject, timeout=self.timeout + seconds
        )
        return measured

    def _alone(
        self, place: Place, feed: Feeds, measured: Measured, seconds: float
    ) -> tuple[list[ProcessPair], list[ProcessPair]]:
        """Pairs of fresh processes, and their control."""
        return measure_processes(
            self.paths,
            place,
            feed,
            pairs=self.pairs,
            seconds=seconds,
            timeout=self.timeout,
            warmup=self.warmup,
            iterations=measured.iterations if self.processes else 0,
        )


def latency_of(pairs: Sequence[Pair], control: Sequence[Pair]) -> Timing:
    """The speed-up of an inference."""
    return timing([pair.median for pair in pairs], [pair.median for pair in control], [pair.tail for pair in pairs])


def _memory(pairs: Sequence[ProcessPair], index: int) -> int | None:
    known = [run.memory for pair in pairs for run in pair.runs[index] if run.memory is not None]
    return round(statistics.median(known)) if known else None
