"""What ``benchmark`` measured: data first, shown by ``bnfold.reporting.timing``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnfold.runtime.sessions import Level

__all__ = ["MATTERS", "Benchmark", "Change", "LevelTiming", "ModelFacts", "Times", "Timing"]


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
    """

    name: str
    size: int
    nodes: int
    batch_normalizations: int


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
    """

    reference: ModelFacts
    candidate: ModelFacts
    levels: tuple[LevelTiming, ...]
    inputs: tuple[str, ...]
    pairs: int
    threads: int
    runtime: str
