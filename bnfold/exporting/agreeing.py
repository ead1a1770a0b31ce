"""Does the file compute what the module computes? onnxruntime against PyTorch, by the rule of ``verifying``.

The reference is the module in inference mode; the judge is a copy of it in float64; and where the reference came out
luckily close, eight more copies are asked, whose weights are moved to the next numbers. What onnxruntime rounds more
than all of these is settled in float64 (``settling.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bnfold.agreement import EXACT_KINDS, error_ratio, scaled_error
from bnfold.errors import ExportError, ModelError
from bnfold.exporting.caller import array_of, copied, doubled
from bnfold.exporting.result import Agreement
from bnfold.exporting.settling import exactly, settle
from bnfold.runtime.isolation import run_isolated
from bnfold.runtime.sessions import Level, Refusal
from bnfold.verifying.comparison import Check, Verdict
from bnfold.verifying.judging import NEIGHBOURS, OutputRuns, judge

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from bnfold.exporting.caller import Caller
    from bnfold.runtime.inputs import InputSet

    Array = NDArray[np.generic]
    Outputs = dict[str, Array]

__all__ = ["Agreed", "check_agreement"]

_SAME = 1e-4  # of the largest value: how close an export in the wrong mode comes to the module in that mode
_MOVED = 3  # one weight in so many, as in verifying.neighbours


@dataclass(frozen=True)
class Agreed:
    """How well the two agree.

    Attributes:
        agreement: On each set of inputs.
        checks: The verdict on each output.
        settled: Outputs that pass in float64 alone.
        training_difference: How far the module in training mode lies from the file; None where it does not run.
        sets: What both were given.
        reference: PyTorch's outputs for each set of inputs.
        candidate: onnxruntime's.
    """

    agreement: tuple[Agreement, ...]
    checks: tuple[Check, ...]
    settled: tuple[str, ...]
    training_difference: float | None
    sets: Sequence[InputSet]
    reference: Sequence[Outputs]
    candidate: Sequence[Outputs]


def check_agreement(path: Path, module: nn.Module, caller: Caller, sets: Sequence[InputSet]) -> Agreed:
    """Run the file in onnxruntime, unoptimised and in a child process, and the module in PyTorch.

    Raises:
        ExportError: They disagree.
        ModelError: The module does not take one of the sets, gives other numbers for it each time, or its outputs hold
            no number.
        ExecutionError: onnxruntime cannot run the file.
    """
    reference = [_reference(module, caller, one) for one in sets]
    _refuse_chance(reference[0], _reference(module, caller, sets[0]))
    trial = _Trial(path, module, caller, sets, reference, _run_onnxruntime(path, sets), _exact(module, caller, sets))
    found = [trial.judge(name) for name in caller.outputs]
    checks = tuple(check for of_output, _ in found for check in of_output)
    trained = _in_training(module, caller, sets[0])
    failed = [check for check in checks if check.verdict is Verdict.FAIL]
    if failed:
        raise ExportError(_explained(failed, trained, trial.candidate[0]))
    _refuse_nothing(reference)
    return Agreed(
        agreement=tuple(trial.agreement(index) for index in range(len(sets))),
        checks=checks,
        settled=tuple(name for name, (_, is_settled) in zip(caller.outputs, found, strict=True) if is_settled),
        training_difference=None if trained is None else _largest(trial.candidate[0], trained),
        sets=sets,
        reference=reference,
        candidate=trial.candidate,
    )


@dataclass(frozen=True)
class _Trial:
    """Everything that was run, and, on demand, what is run where that does not do.

    Attributes:
        path: The file.
        module: The module.
        caller: How it is called.
        sets: What both are given.
        reference: PyTorch's outputs for each set.
        candidate: onnxruntime's.
        exact: PyTorch's in float64; None where there is no such thing.
    """

    path: Path
    module: nn.Module
    caller: Caller
    sets: Sequence[InputSet]
    reference: Sequence[Outputs]
    candidate: Sequence[Outputs]
    exact: Sequence[Outputs] | None

    def judge(self, name: str) -> tuple[list[Check], bool]:
        """The checks of one output, and whether it passes in float64 alone."""
        runs = OutputRuns(
            name,
            [str(one) for one in self.sets],
            [found[name] for found in self.reference],
            [found[name] for found in self.candidate],
            None if self.exact is None else [found[name] for found in self.exact],
            lambda: [[found[index][name] for found in self.neighbours] for index in range(len(self.sets))],
        )
        _check_types(runs)
        checks, _ = judge(runs)
        if all(check.verdict is not Verdict.FAIL for check in checks):
            return checks, False
        settled = [
            settle(runs, check, lambda: self.graph) if check.verdict is Verdict.FAIL else check for check in checks
        ]
        return settled, all(check.verdict is not Verdict.FAIL for check in settled)

    @cached_property
    def neighbours(self) -> list[list[Outputs]]:
        """The module with other last bits in its weights: eight times, on each set."""
        return [_neighbour(self.module, self.caller, self.sets, seed) for seed in range(NEIGHBOURS)]

    @cached_property
    def graph(self) -> list[Outputs | None]:
        """The graph in float64, on each set."""
        return exactly(self.path, self.sets, self.candidate)

    def agreement(self, index: int) -> Agreement:
        """How well the two agree on one set, over the neighbours if they had to be asked."""
        reference, candidate = self.reference[index], self.candidate[index]
        near = [found[index] for found in vars(self).get("neighbours", ())]
        ratios = [
            error_ratio(array, candidate[name], self.exact[index][name], [found[name] for found in near])
            for name, array in reference.items()
            if self.exact is not None and array.dtype.kind not in EXACT_KINDS
        ]
        return Agreement(str(self.sets[index]), max(ratios, default=None), _largest(reference, candidate))


def _refuse_chance(first: Outputs, second: Outputs) -> None:
    """Where PyTorch itself gives other numbers each time, its own error is as large as anybody's, and shows nothing."""
    if _largest(first, second) > _SAME:
        raise ModelError(
            "the network gives other outputs for the same inputs each time, in inference mode too: it draws random "
            "numbers, or remembers what it was given, and nothing can be checked"
        )


def _refuse_nothing(reference: Sequence[Outputs]) -> None:
    """Nothing is shown by outputs that are all NaN or infinite."""
    floats = [array for found in reference for array in found.values() if array.dtype.kind == "f"]
    if floats and not any(np.isfinite(array).any() for array in floats):
        raise ModelError("the network's outputs hold no number, or nothing but NaN and Inf: nothing can be checked")


def _reference(module: nn.Module, caller: Caller, one: InputSet) -> Outputs:
    try:
        return caller.run(module, one.feeds)
    except ModelError as error:
        raise ModelError(f"the network does not take these inputs ({one}): {error}") from error


def _run_onnxruntime(path: Path, sets: Sequence[InputSet]) -> list[Outputs]:
    request = {"path": path, "level": Level.DISABLED, "feeds": [one.feeds for one in sets]}
    outputs = run_isolated("bnfold.runtime.sessions:run", request, subject=path.name)
    for one, found in zip(sets, outputs, strict=True):
        if isinstance(found, Refusal):
            raise ExportError(f"onnxruntime does not take what PyTorch takes ({one}): {found.reason}")
    return list(outputs)


def _exact(module: nn.Module, caller: Caller, sets: Sequence[InputSet]) -> list[Outputs] | None:
    """The same in float64; None where the module does not compute in it throughout."""
    try:
        twin = doubled(module)
        found = [caller.run(twin, one.feeds, double=True) for one in sets]
    except ModelError:
        return None
    narrow = any(array.dtype.kind == "f" and array.dtype != np.float64 for one in found for array in one.values())
    return None if narrow else found


def _neighbour(module: nn.Module, caller: Caller, sets: Sequence[InputSet], seed: int) -> list[Outputs]:
    """The module with one weight in three moved to the next number, up or down, at random."""
    import torch

    twin, rng = copied(module), np.random.default_rng(seed)
    with torch.no_grad():
        for tensor in (*twin.parameters(), *twin.buffers()):
            if not tensor.is_floating_point() or tensor.dtype is torch.bfloat16:
                continue
            values = tensor.numpy()
            towards = np.where(rng.random(values.shape) < 0.5, -np.inf, np.inf).astype(values.dtype)
            moved = np.where(rng.integers(_MOVED, size=values.shape) == 0, np.nextafter(values, towards), values)
            tensor.copy_(torch.from_numpy(np.asarray(moved, values.dtype)))
    return [caller.run(twin, one.feeds) for one in sets]


def _check_types(runs: OutputRuns) -> None:
    for where, left, right in zip(runs.sets, runs.reference, runs.candidate, strict=True):
        if (left.shape, left.dtype) != (right.shape, right.dtype):
            raise ExportError(
                f"output '{runs.name}': PyTorch gives {left.dtype} {list(left.shape)}, "
                f"onnxruntime {right.dtype} {list(right.shape)} ({where})"
            )


def _in_training(module: nn.Module, caller: Caller, one: InputSet) -> Outputs | None:
    """What the module gives in training mode, as a copy; None where it does not run in it, or gives other outputs."""
    import torch

    try:
        twin = copied(module).train()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)  # dropout drops the same each time
            given = caller.call(twin, one.feeds)
        if len(given) < len(caller.outputs):
            return None
        return {name: array_of(tensor) for name, (_, tensor) in zip(caller.outputs, given, strict=False)}
    except (ModelError, NotImplementedError, RuntimeError, TypeError):
        return None


def _explained(failed: Sequence[Check], trained: Outputs | None, candidate: Outputs) -> str:
    words = "; ".join(f"{check.name}: {_figured(check)}" for check in failed)
    if trained is not None and _largest(candidate, trained) <= _SAME:
        words += "; it computes what the module computes in training mode, not at inference"
    return f"onnxruntime and PyTorch disagree: {words}"


def _figured(check: Check) -> str:
    if check.figure is None or check.limit is None:
        return check.message
    return f"{check.message}: {check.figure:.3g} (at most {check.limit:g})"


def _largest(reference: Outputs, other: Outputs) -> float:
    """The largest scaled error of any output; infinite where shapes differ."""
    found = [0.0]
    for name, array in reference.items():
        if array.shape != other[name].shape:
            return float("inf")
        if array.dtype.kind not in "OSU":
            found.append(scaled_error(array, other[name]))
    return max(found)
