"""benchmark(reference, candidate) → Benchmark: is the candidate faster here, by how much, and how sure is that?

measuring.py      the times, in a child process
statistics.py     the speed-up and its interval
own_folds.py      what onnxruntime folds by itself
profiling.py      where the time goes, operator by operator
facts.py, work.py what can be said of a model without running it
result.py         the result
"""

from __future__ import annotations

import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold.benchmarking.facts import facts
from bnfold.benchmarking.own_folds import Fates, LevelFolds, OwnFolds, own_folds
from bnfold.benchmarking.profiling import OpTime, Profile
from bnfold.benchmarking.profiling import profile as profile_both
from bnfold.benchmarking.result import Benchmark, Change, LevelTiming, ModelFacts, Timing
from bnfold.benchmarking.statistics import timing
from bnfold.benchmarking.work import Work
from bnfold.errors import BnfoldError, ExecutionError, ModelError
from bnfold.runtime import sessions
from bnfold.runtime.inputs import Sizes, fed_inputs, make_inputs, only_tensors
from bnfold.runtime.isolation import TIMEOUT, run_isolated
from bnfold.runtime.sessions import Level, Refusal
from bnfold.runtime.sources import opened

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.benchmarking.measuring import Pair
    from bnfold.runtime.sources import Opened

__all__ = [
    "Benchmark",
    "Change",
    "Fates",
    "LevelFolds",
    "LevelTiming",
    "ModelFacts",
    "OpTime",
    "OwnFolds",
    "Profile",
    "Timing",
    "Work",
    "benchmark",
]

_LENGTHS = (224, 64, 32)  # what symbolic dimensions other than the batch become: photographs first
_FEWEST_PAIRS = 2  # fewer have no interval


def benchmark(
    reference: str | os.PathLike[str] | ir.Model,
    candidate: str | os.PathLike[str] | ir.Model,
    *,
    levels: Sequence[Level | str] = (Level.DISABLED, Level.ALL),
    pairs: int = 7,
    batch: int = 1,
    profile: bool = False,
    timeout: float = TIMEOUT,
    progress: Callable[[str], None] | None = None,
) -> Benchmark:
    """Time two models against each other in onnxruntime, on one thread of the CPU.

    At each level, ``pairs`` pairs of fresh sessions are timed in turns; the ratio of their medians is one sample. The
    intervals are Student's, at 95 %, over those samples.

    Args:
        reference: A path or an ``onnx_ir.Model``.
        candidate: The same, with the same inputs.
        levels: How much onnxruntime may optimise; ``all`` is what it does by default.
        pairs: How many samples; 2 at least, and 7 or more for an interval worth having.
        batch: What symbolic first dimensions become.
        profile: Whether to tell where the time goes, operator by operator, at each level.
        timeout: Seconds that each level may take.
        progress: Told what is about to be timed.

    Raises:
        ModelError: A model cannot be read, its inputs are no tensors of numbers, or the two differ in their inputs.
        ExecutionError: A model could not be run: crashed, refused by onnxruntime, took too long.
        MissingDependencyError: onnxruntime is not installed.
    """
    if pairs < _FEWEST_PAIRS or batch < 1:
        raise BnfoldError(f"{pairs} pairs of batch {batch}: at least {_FEWEST_PAIRS} pairs and a batch of 1 are needed")
    sessions.require()
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        left = opened(reference, Path(folder, "reference.onnx"))
        right = opened(candidate, Path(folder, "candidate.onnx"))
        only_tensors(left.model, left.name)
        _see_same_inputs(left, right)
        feed = _feed(left, batch, timeout)
        results = []
        for level in map(Level, levels):
            if progress is not None:
                progress(f"{pairs} pairs of sessions, optimisations {level}")
            measured, iterations = run_isolated(
                "bnfold.benchmarking.measuring:measure",
                {"paths": (left.path, right.path), "level": level, "feed": feed, "pairs": pairs},
                subject=f"{left.name} against {right.name}",
                timeout=timeout,
            )
            results.append(_level_timing(level, measured, iterations))
        return Benchmark(
            reference=facts(left, [feed]),
            candidate=facts(right, [feed]),
            levels=tuple(results),
            inputs=tuple(f"{name} {'×'.join(map(str, array.shape)) or 'scalar'}" for name, array in feed.items()),
            pairs=pairs,
            threads=1,
            runtime=f"onnxruntime {metadata.version('onnxruntime')}",
            own_folds=own_folds(left, right, levels, timeout),
            profiles=tuple(
                profile_both(left, right, Level(level), feed, timeout=timeout) for level in levels if profile
            ),
        )


def _see_same_inputs(left: Opened, right: Opened) -> None:
    inputs = [
        [f"{value.name} {value.dtype.name if value.dtype else '?'}{value.shape}" for value in fed_inputs(opened.model)]
        for opened in (left, right)
    ]
    if inputs[0] != inputs[1]:
        raise ModelError(f"{right.name}: its inputs are {inputs[1]}, and those of {left.name} are {inputs[0]}")


def _feed(left: Opened, batch: int, timeout: float) -> dict[str, NDArray[np.generic]]:
    """Inputs of the largest size that the reference takes: some networks are made for small images.

    Raises:
        ExecutionError: It takes none.
    """
    for length in _LENGTHS:
        feed = make_inputs(left.model, "normal", 0, Sizes(batch, length)).feeds
        arguments = {"path": left.path, "level": Level.DISABLED, "feeds": [feed]}
        (result,) = run_isolated("bnfold.runtime.sessions:run", arguments, subject=left.name, timeout=timeout)
        if not isinstance(result, Refusal):
            return feed
    raise ExecutionError(f"{left.name}: refuses its inputs: {result.reason}")


def _level_timing(level: Level, measured: Sequence[Pair], iterations: int) -> LevelTiming:
    return LevelTiming(
        level=level,
        latency=timing([pair.latency[0] for pair in measured], [pair.latency[1] for pair in measured]),
        load=timing([pair.load[0] for pair in measured], [pair.load[1] for pair in measured]),
        iterations=iterations,
    )
