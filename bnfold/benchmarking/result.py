"""What ``benchmark`` measured: data first, shown by ``bnfold.reporting.timing``."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bnfold.benchmarking.own_folds import OwnFolds
    from bnfold.benchmarking.profiling import Profile
    from bnfold.benchmarking.work import Work
    from bnfold.runtime.sessions import Level

__all__ = ["Benchmark", "Change", "LevelTiming", "ModelFacts", "Timing"]


class Change(StrEnum):
    """What an interval of the speed-up says: it lies above 1, below 1, or contains 1."""

    FASTER = "faster"
    SLOWER = "slower"
    NO_CHANGE = "no change"


@dataclass(frozen=True)
class Timing:
    """One quantity of both models, from several pairs of fresh sessions.

    Attributes:
        reference: Median over the pairs, in seconds.
        candidate: The same.
        speedup: Reference over candidate, the geometric mean over the pairs: above 1 the candidate is faster.
        low: Lower end of the 95 % interval of the speed-up.
        high: Its upper end.
        change: What the interval says.
        speedups: The ratio of each pair.
    """

    reference: float
    candidate: float
    speedup: float
    low: float
    high: float
    change: Change
    speedups: tuple[float, ...]


@dataclass(frozen=True)
class LevelTiming:
    """Both models at one level of onnxruntime's own optimisations.

    Attributes:
        level: ``disabled``, ``basic``, ``extended`` or ``all`` (the default of onnxruntime).
        latency: One inference.
        load: Making a session from the file.
        iterations: Inferences in each of the four blocks of a pair.
    """

    level: Level
    latency: Timing
    load: Timing
    iterations: int


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
    """How fast a candidate is against its reference.

    Attributes:
        reference: The model that the candidate is measured against.
        candidate: The model in question.
        levels: The timings, in the order asked for.
        inputs: Name and shape of each input that was fed.
        pairs: How many pairs of fresh sessions were timed at each level.
        threads: How many threads each inference used.
        runtime: What ran the models, and its version.
        own_folds: What the runtime folds by itself at each level; None where that was not looked at.
        profiles: Where the time goes, operator by operator, at each place; empty unless that was asked for.
    """

    reference: ModelFacts
    candidate: ModelFacts
    levels: tuple[LevelTiming, ...]
    inputs: tuple[str, ...]
    pairs: int
    threads: int
    runtime: str
    own_folds: OwnFolds | None = None
    profiles: tuple[Profile, ...] = ()
