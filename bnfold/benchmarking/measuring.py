"""Times two models against each other in one process; runs in a child.

Each pair is two fresh sessions. Inside, four blocks of inferences go first, second, second, first, so that a machine
that slows down meanwhile slows both.
"""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bnfold.benchmarking.statistics import percentile
from bnfold.benchmarking.turns import in_turns
from bnfold.errors import ExecutionError
from bnfold.runtime.binding import bind
from bnfold.runtime.providers import settings_of
from bnfold.runtime.sessions import message_of, open_session, reopen_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnxruntime as ort

    from bnfold.benchmarking.grid import Place
    from bnfold.runtime.binding import Device
    from bnfold.runtime.sessions import Feeds

    Run = Callable[[], object]
    Prepare = Callable[[ort.InferenceSession], Run]

__all__ = ["Measured", "Pair", "measure"]

_BLOCK_SECONDS = 0.03
_MOST_ITERATIONS = 1000
_TRIALS = 3  # inferences from which the length of a block is guessed


@dataclass(frozen=True)
class Pair:
    """The times of one inference in a pair of sessions, in seconds: reference first, candidate second.

    Attributes:
        median: The median.
        tail: The 95th percentile.
    """

    median: tuple[float, float]
    tail: tuple[float, float]


@dataclass(frozen=True)
class Measured:
    """What one child process measured.

    Attributes:
        pairs: The reference against the candidate.
        control: The reference against itself.
        iterations: How many inferences each block of a pair had.
        settings: What the provider says its options are; nothing on the CPU.
    """

    pairs: list[Pair]
    control: list[Pair]
    iterations: int
    settings: Mapping[str, str]


def measure(
    paths: tuple[str, str],
    place: Place,
    feed: Feeds,
    *,
    pairs: int,
    seconds: float = 0,
    warmup: int = 3,
    device: Device | None = None,
) -> Measured:
    """See that a reference and a candidate run at a place, and time them in pairs of fresh sessions.

    Args:
        paths: The two models.
        place: Where they run; a provider must really run them.
        feed: Their inputs.
        pairs: How many pairs there are at least.
        seconds: As long as these are not over, there are more.
        warmup: Inferences of each session that come first and are not timed; on other providers than the CPU the first
            never is.
        device: From whose memory to whose memory; None for from host to host, as a program without IOBinding does.

    Raises:
        ExecutionError: onnxruntime refuses a model, or the inputs.
        ProviderError: The provider did not run one of the models.
    """
    gc.disable()
    start = time.perf_counter()
    prepare = partial(_inference, feed=dict(feed), device=device)
    iterations, settings = _try(paths, place, prepare)
    left = seconds - (time.perf_counter() - start)
    take = partial(_pair, place=place, prepare=prepare, warmup=warmup, iterations=iterations)
    return Measured(*in_turns(paths, take, pairs, left), iterations, settings)


def _inference(session: ort.InferenceSession, feed: Feeds, device: Device | None) -> Run:
    """What runs the model once."""
    return partial(session.run, None, feed) if device is None else bind(session, feed, device)


def _try(paths: tuple[str, str], place: Place, prepare: Prepare) -> tuple[int, Mapping[str, str]]:
    """How many inferences fill a block, and the provider's options; what only a first session pays is paid here."""
    longest = 0.0
    settings: Mapping[str, str] = {}
    for path in paths:
        session = open_session(path, place.level, place.provider, place.threads)
        settings = {} if place.provider.is_cpu else settings_of(session, place.provider)
        try:
            run = prepare(session)
            run()
        except Exception as error:  # onnxruntime's exceptions have no base class of their own
            raise ExecutionError(f"{path}: refuses its inputs: {message_of(error)}") from error
        longest = max(longest, *_block(run, _TRIALS))
    return max(1, min(_MOST_ITERATIONS, round(_BLOCK_SECONDS / longest))), settings


def _pair(
    paths: tuple[str, str], order: tuple[int, int], *, place: Place, prepare: Prepare, warmup: int, iterations: int
) -> Pair:
    made = {index: prepare(reopen_session(paths[index], place.level, place.provider, place.threads)) for index in order}
    times: tuple[list[float], list[float]] = ([], [])
    for index in order:
        _block(made[index], warmup if place.provider.is_cpu else max(1, warmup))  # the first chooses algorithms there
    for index in (*order, *reversed(order)):
        times[index].extend(_block(made[index], iterations))
    return Pair(
        (statistics.median(times[0]), statistics.median(times[1])), (percentile(times[0]), percentile(times[1]))
    )


def _block(run: Run, iterations: int) -> list[float]:
    times = []
    for _ in range(iterations):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times
