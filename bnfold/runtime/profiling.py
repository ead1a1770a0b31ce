"""How long each kind of operator takes in one inference, by onnxruntime's own profiler; for a child process.

The profiler counts whole microseconds, so that many small operators are told less well than a few large ones, and
writing down what it counts slows the inference. On a GPU it times how long the kernels take to launch.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnfold.errors import ExecutionError
from bnfold.runtime.providers import CPU, Provider, open_there
from bnfold.runtime.sessions import message_of, session_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnxruntime as ort

    from bnfold.runtime.sessions import Feeds, Level

__all__ = ["Run", "profile", "runs_of"]

_SECONDS = 1.0  # of one model, in all its runs
_FEWEST, _MOST = 5, 100  # runs
_WARM_UPS = 3
_KERNEL = "_kernel_time"
_MICROSECOND = 1e-6


@dataclass
class Run:
    """One inference.

    Attributes:
        seconds: The time of each kind of operator; that of an If or a Loop without what its bodies take.
        kernels: How many of it ran.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    kernels: Counter[str] = field(default_factory=Counter)


def profile(
    paths: Sequence[str], level: Level, feed: Feeds, provider: Provider = CPU, threads: int = 1
) -> list[list[Run]]:
    """As many runs of each of some models, in turns, so that what slows the machine slows all of them.

    Raises:
        ExecutionError: onnxruntime refuses a model, or its inputs.
        ProviderError: The provider is missing, does not load, or did not take a model.
    """
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        sessions = [_session(path, level, provider, threads, folder) for path in paths]
        seconds = max(_warm_up(session, feed, path) for session, path in zip(sessions, paths, strict=True))
        count = max(_FEWEST, min(_MOST, round(_SECONDS / seconds)))
        for index in range(count):
            for session in sessions[:: (1, -1)[index % 2]]:
                session.run(None, dict(feed))
        files = [session.end_profiling() for session in sessions]
        return [runs_of(json.loads(Path(file).read_text(encoding="utf-8")))[-count:] for file in files]


def _session(path: str, level: Level, provider: Provider, threads: int, folder: str) -> ort.InferenceSession:
    import onnxruntime as ort

    def options() -> ort.SessionOptions:
        made = session_options(level, threads)
        made.enable_profiling = True
        made.profile_file_prefix = tempfile.mkdtemp(dir=folder) + "/profile"  # the name ends with the second
        return made

    ort.set_default_logger_severity(4)
    if not provider.is_cpu:
        return open_there(provider, path, options)[0]
    try:
        return ort.InferenceSession(path, options(), providers=[CPU.name])
    except Exception as error:  # onnxruntime's exceptions have no base class of their own
        raise ExecutionError(f"{path}: onnxruntime refuses the model: {message_of(error)}") from error


def _warm_up(session: ort.InferenceSession, feed: Feeds, path: str) -> float:
    """The seconds of the fastest of a few inferences.

    Raises:
        ExecutionError: The inputs are refused.
    """
    times = []
    for _ in range(_WARM_UPS):
        start = time.perf_counter()
        try:
            session.run(None, dict(feed))
        except Exception as error:
            raise ExecutionError(f"{path}: refuses its inputs: {message_of(error)}") from error
        times.append(time.perf_counter() - start)
    return min(times)


def runs_of(events: Sequence[dict[str, Any]]) -> list[Run]:
    """The inferences that a profile of onnxruntime tells of.

    It writes an event when what it times ends: operators of a body before their If, all of them before ``model_run``.
    """
    runs: list[Run] = []
    current = Run()
    finished: list[tuple[int, int]] = []
    for event in events:
        name, start, took = event["name"], event["ts"], event["dur"]
        if name == "model_run":
            runs.append(current)
            current, finished = Run(), []
        elif name.endswith(_KERNEL) and event["cat"] == "Node":
            inside = 0
            while finished and finished[-1][0] >= start:  # what began later and ended before is a part of this
                inside += finished.pop()[1]
            finished.append((start, took))
            op_type = event["args"]["op_name"]
            current.seconds[op_type] = current.seconds.get(op_type, 0.0) + (took - inside) * _MICROSECOND
            current.kernels[op_type] += 1
    return runs
