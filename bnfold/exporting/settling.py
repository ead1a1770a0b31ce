"""When onnxruntime rounds more than PyTorch: is that all? The graph in float64 against the module in float64.

Two runtimes add up in different orders: the mean of a large image, one after the other or pairwise, differs by
several times PyTorch's own error, and nothing is wrong. In float64 what is left between the
graph and the module is what differs in their functions, and the last bits of constants that a graph holds in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bnfold.agreement import error_ratio, scaled_error
from bnfold.runtime.isolation import TIMEOUT
from bnfold.verifying.comparison import Check, Verdict
from bnfold.verifying.expense import BUDGET
from bnfold.verifying.running import Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from bnfold.runtime.inputs import InputSet
    from bnfold.runtime.sessions import Outputs
    from bnfold.verifying.judging import OutputRuns

__all__ = ["exactly", "settle"]

_FUNCTION = 0.5  # of PyTorch's own error: how far the graph may be from the module in float64
_ROUNDING = {"float16": 1e-2, "float32": 1e-4, "float64": 1e-11}  # of the largest value: what onnxruntime may add


def exactly(path: Path, sets: Sequence[InputSet], candidate: Sequence[Outputs]) -> list[Outputs | None]:
    """The graph in float64 on each set of inputs; None where that is out of reach, or too expensive."""
    found, _ = Runner(TIMEOUT).run_exactly(str(path), sets, candidate, BUDGET)
    return found


def settle(runs: OutputRuns, failed: Check, own: Callable[[], Sequence[Outputs | None]]) -> Check:
    """The check of an output that failed: as it was, or passed, if it is rounding alone.

    Args:
        runs: The output, where PyTorch is the reference.
        failed: What was found.
        own: Computes the graph in float64; asked only if nothing else speaks against it.
    """
    name = str(runs.reference[0].dtype)
    pairs = zip(runs.reference, runs.candidate, strict=True)
    if name not in _ROUNDING or runs.exact is None or any(map(_lost, runs.reference, runs.candidate)):
        return failed
    if max(scaled_error(*pair) for pair in pairs) > _ROUNDING[name]:
        return failed
    ratios = [
        error_ratio(reference, graph[runs.name], exact, near)
        for reference, graph, exact, near in zip(runs.reference, own(), runs.exact, runs.neighbours(), strict=True)
        if graph is not None
    ]
    if not ratios or max(ratios) > _FUNCTION:
        return failed
    message = (
        f"{failed.message}: {failed.figure:.3g}, which is rounding alone: in float64 the graph is the module's function"
    )
    return Check(failed.name, Verdict.PASS, message, max(ratios), _FUNCTION)


def _lost(reference: NDArray[np.generic], candidate: NDArray[np.generic]) -> bool:
    """Whether one of the two is not finite where the other is."""
    return bool((np.isfinite(reference) != np.isfinite(candidate)).any())
