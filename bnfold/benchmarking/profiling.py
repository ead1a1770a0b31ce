"""Where the time of an inference goes, operator by operator: why a candidate is faster, or is not."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnfold.benchmarking.grid import shapes_of
from bnfold.runtime.isolation import TIMEOUT, run_isolated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnfold.benchmarking.grid import Place
    from bnfold.runtime.profiling import Run
    from bnfold.runtime.sessions import Feeds, Level
    from bnfold.runtime.sources import Opened

__all__ = ["OpTime", "Profile", "op_times", "profile"]


@dataclass(frozen=True)
class OpTime:
    """One kind of operator in both models, as onnxruntime runs them: after its own fusions.

    Attributes:
        op_type: Such as ``Conv``, whatever its domain.
        reference: Seconds that all of them take in one inference, the median over the runs.
        candidate: The same.
        reference_kernels: How many of them run in one inference, in the last run.
        candidate_kernels: The same.
    """

    op_type: str
    reference: float
    candidate: float
    reference_kernels: int
    candidate_kernels: int


@dataclass(frozen=True)
class Profile:
    """Where the time of both models goes, at one place; counted in microseconds, and slowed by the counting.

    Attributes:
        provider: The execution provider.
        threads: How many threads an inference on the CPU used.
        level: How much onnxruntime may optimise.
        inputs: Name and shape of each input.
        runs: How many inferences of each model were counted.
        op_times: Each kind of operator, the one that takes longest first.
    """

    provider: str
    threads: int
    level: Level
    inputs: tuple[str, ...]
    runs: int
    op_times: tuple[OpTime, ...]


def profile(
    left: Opened,
    right: Opened,
    place: Place,
    feed: Feeds,
    *,
    timeout: float = TIMEOUT,
) -> Profile:
    """Profile two models, in turns, in a child process.

    Raises:
        ExecutionError: A model could not be run: crashed, refused by onnxruntime, took too long.
        ProviderError: The provider did not run one of the models.
    """
    reference, candidate = run_isolated(
        "bnfold.runtime.profiling:profile",
        {
            "paths": [left.path, right.path],
            "level": place.level,
            "feed": feed,
            "provider": place.provider,
            "threads": place.threads,
        },
        subject=f"{left.name} against {right.name}",
        timeout=timeout,
    )
    return Profile(
        provider=str(place.provider),
        threads=place.threads,
        level=place.level,
        inputs=shapes_of(feed),
        runs=len(reference),
        op_times=op_times(reference, candidate),
    )


def op_times(reference: Sequence[Run], candidate: Sequence[Run]) -> tuple[OpTime, ...]:
    """What some runs of two models, at least one of each, come to."""
    names = {name for run in (*reference, *candidate) for name in run.kernels}
    times = (
        OpTime(
            op_type=name,
            reference=statistics.median(run.seconds.get(name, 0.0) for run in reference),
            candidate=statistics.median(run.seconds.get(name, 0.0) for run in candidate),
            reference_kernels=reference[-1].kernels[name],
            candidate_kernels=candidate[-1].kernels[name],
        )
        for name in names
    )
    return tuple(sorted(times, key=lambda time: (-max(time.reference, time.candidate), time.op_type)))
