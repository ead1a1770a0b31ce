"""What ``benchmark`` measured: data first, shown by ``bnfold.reporting.timing``."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bnfold.benchmarking.own_folds import OwnFolds
    from bnfold.benchmarking.profiling import Profile
    from bnfold.runtime.sessions import Level

__all__ = ["MATTERS", "Benchmark", "Cell", "Change", "Gate", "ModelFacts", "Times", "Timing", "Work", "words"]


MATTERS = 1.05  # a smaller change of speed, in either direction, may be called none


class Change(StrEnum):
    """What the interval of a speed-up says, beside what this machine can tell apart (see ``statistics.py``)."""

    FASTER = "faster"
    SLOWER = "slower"
    NO_CHANGE = "no change"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Times:
    """How long one model took, over several pairs of fresh sessions.

    Attributes:
        median: Of the pairs' medians, in seconds.
        low: Lower end of the 95 % interval of the median, in seconds; of fewer than six pairs, the least.
        high: Its upper end; of fewer than six pairs, the largest.
        tail: 95th percentile, in seconds: the median over the pairs, or over them where each has one time.
    """

    median: float
    low: float
    high: float
    tail: float


@dataclass(frozen=True)
class Timing:
    """One quantity of both models, from several pairs of fresh sessions.

    Attributes:
        reference: What the reference took.
        candidate: What the candidate took.
        speedup: Reference over candidate, the geometric mean over the pairs: above 1 the candidate is faster.
        low: Lower end of the 95 % interval of the speed-up.
        high: Its upper end.
        detectable: The least speed-up that so many pairs can find on this machine today, by the control; at least 1.
        change: What the interval says.
        speedups: The ratio of each pair.
        control: The ratio of each pair of the reference against itself.
    """

    reference: Times
    candidate: Times
    speedup: float
    low: float
    high: float
    detectable: float
    change: Change
    speedups: tuple[float, ...]
    control: tuple[float, ...]


@dataclass(frozen=True)
class Cell:
    """Both models at one place of the grid.

    Attributes:
        provider: The execution provider, as it was asked for.
        threads: How many threads one inference on the CPU used.
        batch: What symbolic first dimensions became.
        level: ``disabled``, ``basic``, ``extended`` or ``all`` (the default of onnxruntime).
        inputs: Name and shape of each input that was fed.
        settings: What the execution provider says its options are, such as ``cudnn_conv_algo_search``; nothing for
            the CPU.
        latency: One inference, from inputs in the host's memory to outputs there.
        on_device: One inference from the device's memory to the device's; null for providers that have none.
        load: Making the first session of a fresh process; null where only latencies were measured.
        first: The first inference of that session; null as well.
        reference_memory: By how many bytes these two raise the peak of that process's resident memory, the median;
            null where the system does not tell, and where there is no ``load``.
        candidate_memory: The same of the candidate.
        iterations: Inferences in each of the four blocks of a pair.
    """

    provider: str
    threads: int
    batch: int
    level: Level
    inputs: tuple[str, ...]
    settings: Mapping[str, str]
    latency: Timing
    on_device: Timing | None
    load: Timing | None
    first: Timing | None
    reference_memory: int | None
    candidate_memory: int | None
    iterations: int

    def __str__(self) -> str:
        return words(self.provider, self.threads, self.batch, self.level)


def words(provider: str, threads: int, batch: int, level: Level) -> str:
    """A place of the grid, in words."""
    return f"{provider}, {threads} thread{'s' * (threads != 1)}, batch {batch}, level {level}"


@dataclass(frozen=True)
class Gate:
    """A speed-up of the latency that was demanded.

    Attributes:
        ratio: What the lower bound of its interval must be, at least, at every place of that level.
        level: At which level.
        low: The lowest that it is.
        where: The place where it is that.
        passed: Whether that is enough.
    """

    ratio: float
    level: Level
    low: float
    where: str
    passed: bool

    def __str__(self) -> str:
        return f"{self.ratio:g}@{self.level}"


@dataclass(frozen=True)
class Work:
    """What one inference computes and moves, from inferred shapes; bodies of loops count once.

    The affines are BatchNormalization, and Mul, Div, Add and Sub by a constant (biases behind a MatMul among them):
    what the reference has more of these than the candidate is what went.

    Attributes:
        inputs: Name and shape of each input.
        operations: Multiplications and additions of Conv, ConvTranspose, Gemm and MatMul.
        affines: How many affines there are, of known shape.
        affine_operations: Their multiplications and additions.
        affine_bytes: What they read and write, if none is computed along with another node.
        unknown: How many affines there are whose shapes could not be inferred.
    """

    inputs: tuple[str, ...]
    operations: float
    affines: int
    affine_operations: float
    affine_bytes: float
    unknown: int


@dataclass(frozen=True)
class ModelFacts:
    """What can be said of a model without running it.

    Attributes:
        name: Its path, or its graph's name.
        size: Bytes of the file and of its external data.
        nodes: In the graph, in bodies of control flow and in functions.
        batch_normalizations: How many of them are BatchNormalization.
        op_types: How many there are of each type; those of other domains are called ``domain.type``.
        work: What it computes, for each size of inputs that was timed.
    """

    name: str
    size: int
    nodes: int
    batch_normalizations: int
    op_types: Mapping[str, int] = field(default_factory=dict)
    work: tuple[Work, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """How fast a candidate is against its reference; true in a condition if every speed-up demanded was found.

    Attributes:
        reference: The model that the candidate is measured against.
        candidate: The model in question.
        cells: The timings: for each provider, number of threads and batch, the levels.
        gates: The speed-ups that were demanded, and whether they were found.
        processes: Whether the latencies come from pairs of processes; else from pairs of sessions in one process.
        warmup: How many inferences of each session were not timed.
        runtime: What ran the models, and its version.
        own_folds: What the runtime folds by itself at each level; None where that was not looked at.
        profiles: Where the time goes, operator by operator, at each place; empty unless that was asked for.
    """

    reference: ModelFacts
    candidate: ModelFacts
    cells: tuple[Cell, ...]
    gates: tuple[Gate, ...]
    processes: bool
    warmup: int
    runtime: str
    own_folds: OwnFolds | None = None
    profiles: tuple[Profile, ...] = ()

    def __bool__(self) -> bool:
        return all(gate.passed for gate in self.gates)
