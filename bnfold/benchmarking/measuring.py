"""Times two models against each other; runs in a child process.

Each pair is two fresh sessions. Which of them is made first alternates from pair to pair; inside, four blocks of
inferences go first, second, second, first, so that a machine that slows down meanwhile slows both. To every third pair
one of the reference against itself is added, as the control. Models that load in a few milliseconds are loaded
several times, in turns, and the last two sessions are the pair.
"""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnfold.benchmarking.statistics import percentile
from bnfold.errors import ExecutionError
from bnfold.runtime.sessions import message_of, open_session

if TYPE_CHECKING:
    import onnxruntime as ort

    from bnfold.runtime.sessions import Feeds, Level

__all__ = ["Measured", "Pair", "measure"]

_BLOCK_SECONDS = 0.03
_MOST_ITERATIONS = 1000
_MOST_LOADS = 10
_WARM_UPS = 3
_CONTROLLED = 3  # pairs for each of the control, which so takes a quarter of the time


@dataclass(frozen=True)
class Pair:
    """The times of one pair of sessions, in seconds: reference first, candidate second.

    Attributes:
        load: Making a session, the median.
        latency: One inference, the median.
        tail: One inference, the 95th percentile.
    """

    load: tuple[float, float]
    latency: tuple[float, float]
    tail: tuple[float, float]


@dataclass(frozen=True)
class Measured:
    """What one child process measured.

    Attributes:
        pairs: The reference against the candidate.
        control: The reference against itself.
        iterations: How many inferences each block of a pair had.
    """

    pairs: list[Pair]
    control: list[Pair]
    iterations: int


def measure(paths: tuple[str, str], level: Level, feed: Feeds, pairs: int) -> Measured:
    """Time a reference and a candidate, in ``pairs`` pairs of fresh sessions, and the control.

    Raises:
        ExecutionError: onnxruntime refuses a model, or the inputs.
    """
    gc.disable()
    loads, iterations = _counts(paths, level, feed)
    found: list[Pair] = []
    control: list[Pair] = []
    while len(found) < pairs:
        found.append(_pair(paths, level, feed, loads, iterations, _order(len(found))))
        if _CONTROLLED * len(control) < len(found):
            control.append(_pair((paths[0], paths[0]), level, feed, loads, iterations, _order(len(control))))
    return Measured(found, control, iterations)


def _order(index: int) -> tuple[int, int]:
    return ((0, 1), (1, 0))[index % 2]


def _counts(paths: tuple[str, str], level: Level, feed: Feeds) -> tuple[int, int]:
    """How many loads, and how many inferences, fill a block; what only the first session pays is paid here."""
    loading = running = 0.0
    for path in paths:
        open_session(path, level)
        session, seconds = _load(path, level)
        try:
            session.run(None, dict(feed))
        except Exception as error:  # onnxruntime's exceptions have no base class of their own
            raise ExecutionError(f"{path}: refuses its inputs: {message_of(error)}") from error
        loading, running = max(loading, seconds), max(running, *_block(session, feed, _WARM_UPS))
    return _count(loading, _MOST_LOADS), _count(running, _MOST_ITERATIONS)


def _count(seconds: float, most: int) -> int:
    return max(1, min(most, round(_BLOCK_SECONDS / seconds)))


def _pair(
    paths: tuple[str, str], level: Level, feed: Feeds, loads: int, iterations: int, order: tuple[int, int]
) -> Pair:
    load: tuple[list[float], list[float]] = ([], [])
    latency: tuple[list[float], list[float]] = ([], [])
    made: dict[int, ort.InferenceSession] = {}
    for _ in range(loads):
        for index in order:
            made[index], seconds = _load(paths[index], level)
            load[index].append(seconds)
    for index in order:
        _block(made[index], feed, _WARM_UPS)
    for index in (*order, *reversed(order)):
        latency[index].extend(_block(made[index], feed, iterations))
    return Pair(
        (statistics.median(load[0]), statistics.median(load[1])),
        (statistics.median(latency[0]), statistics.median(latency[1])),
        (percentile(latency[0]), percentile(latency[1])),
    )


def _load(path: str, level: Level) -> tuple[ort.InferenceSession, float]:
    start = time.perf_counter()
    session = open_session(path, level)
    return session, time.perf_counter() - start


def _block(session: ort.InferenceSession, feed: Feeds, iterations: int) -> list[float]:
    feeds = dict(feed)
    times = []
    for _ in range(iterations):
        start = time.perf_counter()
        session.run(None, feeds)
        times.append(time.perf_counter() - start)
    return times
