"""One model in a process that has run none before: what making a session costs there, and the first inference.

A module of its own, so that the process has loaded little else.
"""

from __future__ import annotations

import gc
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold.runtime.providers import CPU, Provider
from bnfold.runtime.sessions import reopen_session

if TYPE_CHECKING:
    from bnfold.runtime.sessions import Feeds, Level

__all__ = ["Alone", "time_alone"]


@dataclass(frozen=True)
class Alone:
    """What one model did in a process of its own.

    Attributes:
        load: Making the session, in seconds; importing onnxruntime is not in it.
        first: The first inference, in seconds.
        memory: By how many bytes these two raised the peak of the process's resident memory above what it had before;
            None where there is no /proc.
        times: Later inferences, in seconds.
    """

    load: float
    first: float
    memory: int | None
    times: list[float]


def time_alone(
    path: str,
    level: Level,
    feed: Feeds,
    provider: Provider = CPU,
    threads: int = 1,
    warmup: int = 0,
    iterations: int = 0,
) -> Alone:
    """Load and run a model that is known to load and run; for a child process.

    Args:
        path: The model.
        level: How much onnxruntime may optimise.
        feed: Its inputs.
        provider: Where it runs.
        threads: How many threads one inference on the CPU uses.
        warmup: Inferences between the first and those that are timed.
        iterations: How many are timed.

    Raises:
        ExecutionError: onnxruntime refuses the model.
        ProviderError: The provider is missing, does not load, or refuses the model.
    """
    import onnxruntime  # noqa: F401 - not to be counted as part of making a session

    gc.disable()
    feeds = dict(feed)
    with suppress(OSError):  # the peak so far was that of the imports
        Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    start = time.perf_counter()
    session = reopen_session(path, level, provider, threads)
    loaded = time.perf_counter()
    session.run(None, feeds)
    ran = time.perf_counter()
    after = _peak()
    for _ in range(warmup):
        session.run(None, feeds)
    times = []
    for _ in range(iterations):
        begin = time.perf_counter()
        session.run(None, feeds)
        times.append(time.perf_counter() - begin)
    memory = None if before is None or after is None else after - before
    return Alone(loaded - start, ran - loaded, memory, times)


def _peak() -> int | None:
    """The most memory that was resident at once, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), None)
