"""doctor() → Environment: what is installed here, what of it works, and how to mend what does not.

packages.py       versions, distributions of onnxruntime, and the commands that repair them
machine.py        processor and threads
environment.py    the result

Nothing heavy is loaded into this process: what has to be tried is tried in child processes.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import bnfold
from bnfold.diagnosing import packages
from bnfold.diagnosing.environment import Environment, Package, Problem
from bnfold.diagnosing.machine import look_at_machine
from bnfold.errors import ExecutionError
from bnfold.runtime.isolation import run_isolated
from bnfold.runtime.probing import Library, ProviderState

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Environment", "Library", "Package", "Problem", "ProviderState", "doctor"]

_SUFFIX = "executionprovider"
_TIMEOUT = 120.0  # a provider that compiles its kernels takes a while when it is first loaded


def doctor(*, providers: Sequence[str] = (), timeout: float = _TIMEOUT) -> Environment:
    """Look at what is installed, and try what onnxruntime has.

    Args:
        providers: Execution providers that have to work: ``cuda``, ``openvino`` or ``CUDAExecutionProvider``.
        timeout: Seconds that each trial may take; a provider that takes longer does not load.

    Returns:
        An ``Environment``, which is true in a condition if nothing is broken: no version is too old, there is one
        onnxruntime and no more, it runs on the CPU, and so does each provider that was asked for.
    """
    installed = packages.providing("onnxruntime")
    plugins = packages.plugins()
    problems = [*packages.outdated(), *packages.conflicts(installed)]
    states, broken = _try_providers(plugins, timeout) if installed else ([], [])
    missing = [_missing(name, states, installed) for name in providers]
    return Environment(
        bnfold=bnfold.__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        packages=packages.versions(),
        onnxruntimes=installed,
        plugins=plugins,
        machine=look_at_machine(),
        providers=tuple(states),
        cuda=tuple(_find_cuda(timeout)),
        problems=(*problems, *broken, *(problem for problem in missing if problem is not None)),
    )


def _try_providers(plugins: Sequence[Package], timeout: float) -> tuple[list[ProviderState], list[Problem]]:
    """Each provider in a process of its own, and what is wrong with onnxruntime itself."""
    try:
        names = run_isolated("bnfold.runtime.probing:built", {}, subject="onnxruntime", timeout=timeout)
    except ExecutionError as error:
        return [], [Problem(str(error))]
    states = [_state(name, "built in", "load", {"provider": name}, timeout) for name in names]
    for plugin in plugins:
        module = plugin.name.replace("-", "_")
        states.append(_state(module, plugin.name, "load_plugin", {"module": module, "origin": plugin.name}, timeout))
    broken = [
        Problem(f"{state.name} does not run: {state.reason}")
        for state in states
        if state.name == "CPUExecutionProvider" and not state.runs
    ]
    return states, broken


def _state(name: str, origin: str, function: str, arguments: dict[str, str], timeout: float) -> ProviderState:
    try:
        state: ProviderState = run_isolated(
            f"bnfold.runtime.probing:{function}", arguments, subject=name, timeout=timeout
        )
    except ExecutionError as error:
        return ProviderState(name, origin, loads=False, runs=False, reason=str(error).removeprefix(f"{name}: "))
    return state


def _find_cuda(timeout: float) -> list[Library]:
    try:
        found: list[Library] = run_isolated("bnfold.runtime.probing:find_cuda", {}, subject="CUDA", timeout=timeout)
    except ExecutionError:  # a driver that crashes when it is asked is none
        return []
    return found


def _missing(name: str, states: Sequence[ProviderState], installed: Sequence[Package]) -> Problem | None:
    """What is wrong with a provider that was asked for."""
    short = name.casefold().removesuffix(_SUFFIX)
    found = [state for state in states if state.name.casefold().removesuffix(_SUFFIX) == short]
    if any(state.runs for state in found):
        return None
    repairs = packages.repairs_of(short, installed)
    if found:
        return Problem(f"{found[0].name} does not run: {found[0].reason}", repairs)
    return Problem(f"no {name} among the providers that are installed here", repairs)
