"""benchmark(reference, candidate) → Benchmark: is the candidate faster here, by how much, and how sure is that?

grid.py           where: every combination of provider, threads, batch and level
cells.py          all of one place
measuring.py      the latencies, of pairs of sessions in one child process
processes.py      session creation, first inference and memory, of pairs of fresh processes
turns.py          in what order pairs are taken, and the control among them
statistics.py     the speed-up, its interval, and the verdict
gating.py         speed-ups that are demanded
own_folds.py      what onnxruntime folds by itself
profiling.py      where the time goes, operator by operator
feeding.py        what both are fed
facts.py, work.py what can be said of a model without running it
result.py         the result

The child processes that time import this package, too, and are many: so what loads onnx_ir is imported by the
function that needs it.
"""

from __future__ import annotations

import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold.benchmarking.cells import Timer
from bnfold.benchmarking.gating import judge, parse_demands
from bnfold.benchmarking.grid import grid, parse_levels
from bnfold.benchmarking.own_folds import Fates, LevelFolds, OwnFolds, own_folds
from bnfold.benchmarking.profiling import OpTime, Profile
from bnfold.benchmarking.profiling import profile as profile_both
from bnfold.benchmarking.result import Benchmark, Cell, Change, Gate, ModelFacts, Times, Timing, Work
from bnfold.errors import BnfoldError
from bnfold.runtime import sessions
from bnfold.runtime.isolation import TIMEOUT
from bnfold.runtime.repairs import installed
from bnfold.runtime.sessions import Level

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

    from bnfold.benchmarking.gating import Demand

__all__ = [
    "Benchmark",
    "Cell",
    "Change",
    "Fates",
    "Gate",
    "LevelFolds",
    "ModelFacts",
    "OpTime",
    "OwnFolds",
    "Profile",
    "Times",
    "Timing",
    "Work",
    "benchmark",
    "parse_demands",
]

_FEWEST_PAIRS = 2  # fewer have no interval
_LEVELS = (Level.DISABLED, Level.ALL)


def benchmark(
    reference: str | os.PathLike[str] | ir.Model,
    candidate: str | os.PathLike[str] | ir.Model,
    *,
    levels: Sequence[Level | str] | None = None,
    batches: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    providers: Sequence[str] = ("cpu",),
    pairs: int = 7,
    warmup: int = 3,
    time_budget: float | None = None,
    loads: bool = True,
    processes: bool = False,
    profile: bool = False,
    min_speedup: str | float | Sequence[str | float] = (),
    timeout: float = TIMEOUT,
    progress: Callable[[str], None] | None = None,
) -> Benchmark:
    """Time two models against each other in onnxruntime, at every place of a grid.

    At each place, pairs of fresh sessions are timed in turns; the ratio of their medians is one sample. The intervals
    of ratios are Student's, at 95 %, over those samples. A control, a third as many pairs of the reference against
    itself, says what this machine can tell apart today; ``statistics.py`` has the words for the result. Making a
    session, the first inference and memory are measured in as many pairs of fresh processes.

    Args:
        reference: A path or an ``onnx_ir.Model``.
        candidate: The same, with the same inputs.
        levels: How much onnxruntime may optimise. Without any: not at all; ``all``, its own default; and what
            ``min_speedup`` names.
        batches: What symbolic first dimensions become; those that change no input are left out.
        threads: How many threads one inference on the CPU uses.
        providers: Execution providers, as ``cuda`` or ``cuda:device_id=1``. To ask for one is a demand, as for
            ``verify``; but its options are onnxruntime's defaults. CUDA is timed with TF32, its default, and without
            it, unless ``use_tf32`` is given; from host to host, and from device to device.
        pairs: How many samples at each place, at least; 2 or more, and 7 or more for an interval worth having.
        warmup: How many inferences of each session are not timed; on other providers than the CPU, one at least.
        time_budget: Seconds for everything, in equal parts; in what ``pairs`` leave of them there are more pairs.
        loads: Whether making a session, the first inference and memory are measured, too; they take most of the time,
            and come by themselves with ``processes``.
        processes: Whether the latencies, too, are taken in fresh processes: four for a pair, in the order A B B A.
        profile: Whether to tell where the time goes, operator by operator, at each place.
        min_speedup: ``1.05@disabled`` demands of the lower bound of the latency's interval at that level, everywhere
            in the grid, to be no less; without a level, at ``all``.
        timeout: Seconds that each child process may take, beside its part of the budget.
        progress: Told what is about to be timed.

    Raises:
        BnfoldError: An option makes no sense.
        ModelError: A model cannot be read, its inputs are no tensors of numbers, or the two differ in their inputs.
        ExecutionError: A model could not be run: crashed, refused by onnxruntime, took too long.
        ProviderError: An execution provider is missing, or did not run one of the models.
        MissingDependencyError: onnxruntime is not installed.
    """
    from bnfold.benchmarking.facts import facts
    from bnfold.benchmarking.feeding import feeds_of, see_same_inputs
    from bnfold.runtime.sources import opened

    demands = parse_demands(min_speedup)
    asked = _levels(levels, demands)
    places = grid(providers, threads, batches, asked)
    if pairs < _FEWEST_PAIRS:
        raise BnfoldError(f"{pairs} pairs: at least {_FEWEST_PAIRS} are needed for an interval")
    if warmup < 0 or (time_budget is not None and not time_budget > 0):
        raise BnfoldError(f"{warmup} inferences of warm-up, {time_budget} s: neither can be negative, nor the budget 0")
    sessions.require()
    tell = progress or (lambda _: None)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        left = opened(reference, Path(folder, "reference.onnx"))
        right = opened(candidate, Path(folder, "candidate.onnx"))
        see_same_inputs(left, right)
        feeds = feeds_of(left, dict.fromkeys(batches), timeout)
        places = [place for place in places if place.batch in feeds]
        subject = f"{left.name} against {right.name}"
        timer = Timer((left.path, right.path), subject, pairs, warmup, loads, processes, timeout)
        cells = []
        for index, place in enumerate(places):
            tell(f"{pairs} pairs{' or more' * (time_budget is not None)}, {place}")
            seconds = ((time_budget or 0) - (time.monotonic() - start)) / (len(places) - index)
            cells.append(timer.cell(place, feeds[place.batch], max(0.0, seconds)))
        profiles = []
        for place in places if profile else ():
            tell(f"where the time goes, {place}")
            profiles.append(profile_both(left, right, place, feeds[place.batch], timeout=timeout))
        sizes = list(feeds.values())
        return Benchmark(
            reference=facts(left, sizes),
            candidate=facts(right, sizes),
            cells=tuple(cells),
            gates=judge(demands, cells),
            processes=processes,
            warmup=warmup,
            runtime=_runtime(),
            own_folds=own_folds(left, right, [place.level for place in places], timeout),
            profiles=tuple(profiles),
        )


def _levels(levels: Sequence[Level | str] | None, demands: Sequence[Demand]) -> list[Level]:
    """Those that were asked for, which are to hold what is demanded.

    Raises:
        BnfoldError: There is no such level, or a demand is made of one that is not measured.
    """
    if levels is None:
        wanted = {*_LEVELS, *(demand.level for demand in demands)}
        return [level for level in Level if level in wanted]
    asked = parse_levels(levels)
    for demand in demands:
        if demand.level not in asked:
            raise BnfoldError(f"--min-speedup {demand}: level {demand.level} is not among those to be timed")
    return asked


def _runtime() -> str:
    """The distribution and its version: ``onnxruntime-gpu`` is another than ``onnxruntime``."""
    return " and ".join(f"{name} {metadata.version(name)}" for name in installed()) or "onnxruntime"
