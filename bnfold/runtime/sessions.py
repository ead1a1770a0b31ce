"""onnxruntime, and nothing else in bnfold imports it.

Everything here runs in a child process (``isolation.run_isolated``), except ``require``.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bnfold.errors import ExecutionError, MissingDependencyError
from bnfold.runtime.assignment import elsewhere
from bnfold.runtime.providers import CPU, Provider, load, open_there

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import numpy as np
    import onnxruntime as ort
    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Feeds = Mapping[str, Array]
    Outputs = dict[str, Array]

__all__ = [
    "Level",
    "Refusal",
    "message_of",
    "open_session",
    "reopen_session",
    "require",
    "run",
    "run_there",
    "run_twice",
    "session_options",
]


class Level(StrEnum):
    """How much onnxruntime optimises the graph at load; ``all`` is its own default."""

    DISABLED = "disabled"
    BASIC = "basic"
    EXTENDED = "extended"
    ALL = "all"


@dataclass(frozen=True)
class Refusal:
    """What stands in place of the outputs when a loaded model did not take its inputs."""

    reason: str


def require() -> None:
    """See that onnxruntime is there, without loading it.

    Raises:
        MissingDependencyError: It is not installed.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise MissingDependencyError("onnxruntime", "cpu")


def open_session(
    path: str | os.PathLike[str], level: Level, provider: Provider = CPU, threads: int = 1
) -> ort.InferenceSession:
    """A session on the CPU, or on an execution provider that must then really run the model.

    Args:
        path: The model.
        level: How much onnxruntime may optimise.
        provider: Where.
        threads: How many threads one inference on the CPU uses.

    Raises:
        ExecutionError: onnxruntime refuses the model.
        ProviderError: The provider is missing, does not load, or did not take the model.
    """
    if not provider.is_cpu:
        _silence()
        session, _ = open_there(provider, str(path), lambda: session_options(level, threads))
        return session
    return reopen_session(path, level, provider, threads)


def reopen_session(
    path: str | os.PathLike[str], level: Level, provider: Provider = CPU, threads: int = 1
) -> ort.InferenceSession:
    """The same where ``open_session`` is known to succeed: in one attempt, for what is timed.

    Raises:
        ExecutionError: onnxruntime refuses the model.
        ProviderError: The provider is missing, does not load, or refuses the model.
    """
    import onnxruntime as ort

    _silence()
    if not provider.is_cpu:
        return load(provider, str(path), lambda: session_options(level, threads))
    try:
        return ort.InferenceSession(str(path), session_options(level, threads), providers=[CPU.name])
    except Exception as error:
        raise ExecutionError(f"{path}: onnxruntime refuses the model: {message_of(error)}") from error


def _silence() -> None:
    import onnxruntime as ort

    ort.set_default_logger_severity(4)  # what matters is raised, the rest is chatter


def session_options(level: Level, threads: int = 1) -> ort.SessionOptions:
    """That level, so many threads, and silence."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Threads that wait for work by spinning would take it from other sessions.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.graph_optimization_level = {
        Level.DISABLED: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
        Level.BASIC: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        Level.EXTENDED: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        Level.ALL: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    }[level]
    return options


def run(
    path: str | os.PathLike[str], level: Level, feeds: Sequence[Feeds], provider: Provider = CPU
) -> list[Outputs | Refusal]:
    """The model's outputs, by name, for each of several inputs.

    Raises:
        ExecutionError: onnxruntime refuses the model, or cannot exchange its types with Python.
        ProviderError: The provider is missing, does not load, or did not take the model.
    """
    session = open_session(path, level, provider)
    return _run_all(session, path, feeds)


def run_there(
    path: str | os.PathLike[str], level: Level, feeds: Sequence[Feeds], provider: Provider
) -> tuple[list[Outputs | Refusal], str]:
    """The same on a provider, and which operators it left to others, in words.

    Raises:
        ExecutionError: As ``run``.
        ProviderError: As ``run``.
    """
    if provider.is_cpu:
        return run(path, level, feeds), ""
    session, nodes = open_there(provider, str(path), lambda: session_options(level))
    return _run_all(session, path, feeds), elsewhere(provider.name, nodes)


def _run_all(
    session: ort.InferenceSession, path: str | os.PathLike[str], feeds: Sequence[Feeds]
) -> list[Outputs | Refusal]:
    for value in (*session.get_inputs(), *session.get_outputs()):
        if value.type == "tensor(bfloat16)":
            raise ExecutionError(f"{path}: '{value.name}' is bfloat16, which onnxruntime does not exchange with Python")
    names = [output.name for output in session.get_outputs()]
    return [_run_once(session, names, feed) for feed in feeds]


def run_twice(
    path: str | os.PathLike[str], level: Level, feeds: Sequence[Feeds]
) -> tuple[list[Outputs | Refusal], list[bool]]:
    """The same as ``run``, and for each of the inputs whether a session of another random seed gave the same bits.

    The seed is that of the process: operators that have a seed of their own start from it in every session.

    Raises:
        ExecutionError: As ``run``.
    """
    import onnxruntime as ort

    results = []
    for seed in (1, 2):
        ort.set_seed(seed)  # by default it is read off the clock once, and all sessions of a process draw the same
        results.append(run(path, level, feeds))
    return results[0], [_are_same(first, second) for first, second in zip(*results, strict=True)]


def _are_same(first: Outputs | Refusal, second: Outputs | Refusal) -> bool:
    if isinstance(first, Refusal) or isinstance(second, Refusal):
        return isinstance(first, Refusal) and isinstance(second, Refusal)
    return all(_are_same_arrays(first[name], second[name]) for name in first)


def _are_same_arrays(first: Array, second: Array) -> bool:
    if first.dtype.kind == "O":  # strings, whose bytes are elsewhere
        return first.shape == second.shape and first.tolist() == second.tolist()
    return first.tobytes() == second.tobytes()


def _run_once(session: ort.InferenceSession, names: list[str], feed: Feeds) -> Outputs | Refusal:
    try:
        return dict(zip(names, session.run(names, dict(feed)), strict=True))
    except Exception as error:
        return Refusal(message_of(error))


def message_of(error: Exception) -> str:
    """The first line of a message of onnxruntime, without its numbering."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : ", "", lines[0])
