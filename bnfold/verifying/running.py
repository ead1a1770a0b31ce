"""Runs the two models, the oracle and the neighbours, each in a child process of its own."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bnfold import modelfile
from bnfold.agreement import EXACT_KINDS, unit_roundoff
from bnfold.errors import ExecutionError
from bnfold.runtime.inputs import default_inputs, fallback_inputs
from bnfold.runtime.isolation import run_isolated
from bnfold.runtime.providers import CPU, Provider
from bnfold.runtime.sessions import Level, Refusal
from bnfold.verifying.comparison import Check, Verdict
from bnfold.verifying.expense import BUDGET, Oracle, TooExpensive
from bnfold.verifying.judging import NEIGHBOURS
from bnfold.verifying.outputs import Witnesses

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    import onnx_ir as ir

    from bnfold.runtime.inputs import InputSet
    from bnfold.runtime.sessions import Array, Outputs
    from bnfold.runtime.sources import Opened

__all__ = ["Runner", "naming", "run_oracle"]

LEVEL = Level.DISABLED  # onnxruntime's own folding would hide ours
# Above this relative error of the reference, in units of its roundoff, the oracle has to prove itself.
_SUSPICIOUS = 1000
_SUSPICIOUS_AT_MOST = 0.02
_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
_INCREDIBLE = 100  # times the error that the evaluator itself makes in the model's own types


@dataclass(frozen=True)
class Runner:
    """Runs models on sets of inputs.

    Attributes:
        timeout: Seconds that each child process may take.
        memory_limit: Bytes that each child process may take; None for most of the machine's.
        provider: The execution provider.
        level: How much onnxruntime may optimise.
        stop: Once set, every child process ends.
    """

    timeout: float
    memory_limit: int | None = None
    provider: Provider = CPU
    level: Level = LEVEL
    stop: threading.Event | None = None

    def probe(self) -> None:
        """See that the provider is there and loads.

        Raises:
            ProviderError: It does not.
        """
        if not self.provider.is_cpu:
            self._isolate("bnfold.runtime.providers:probe", {"provider": self.provider}, str(self.provider))

    def run_reference(
        self, path: str, model: ir.Model, given: Sequence[InputSet] = ()
    ) -> tuple[list[InputSet], list[Outputs], list[str]]:
        """The input sets that the reference takes, its outputs, and what is to be said about the others.

        Args:
            path: The reference.
            model: The same.
            given: Sets of inputs to take instead of those that can be made.

        Raises:
            ExecutionError: It crashed, was refused, takes no input at all, or is random.
        """
        notes: list[str] = []
        for inputs in (given,) if given else (default_inputs(model), fallback_inputs(model)):
            results, same = self._call("bnfold.runtime.sessions:run_twice", path, inputs, level=self.level)
            if not all(same):
                raise ExecutionError(f"{path}: non-deterministic: two runs on the same input differ{_random_in(model)}")
            refused = _refused(inputs, results)
            if refused:
                first, reason = refused[0]
                notes.append(f"left out {len(refused)} of {len(inputs)}: the reference refuses {first}: {reason}")
            ran = [(one, run) for one, run in zip(inputs, results, strict=True) if not isinstance(run, Refusal)]
            if ran:
                return [one for one, _ in ran], [run for _, run in ran], notes
        raise ExecutionError(f"{path}: refuses every input that was tried; {notes[-1]}")

    def run_candidate(self, path: str, inputs: Sequence[InputSet]) -> tuple[list[Outputs | Refusal], list[str]]:
        """The candidate's outputs, and on which inputs there are none.

        Raises:
            ExecutionError: It crashed, was refused, or takes none of the inputs.
        """
        results = self._run(path, inputs)
        failures = [f"the candidate refuses {one}: {reason}" for one, reason in _refused(inputs, results)]
        if len(failures) == len(inputs):
            raise ExecutionError(f"{path}: refuses every input that the reference takes; {failures[0]}")
        return results, failures

    def run_exactly(
        self, path: str, inputs: Sequence[InputSet], reference: Sequence[Outputs], budget: float | None = None
    ) -> tuple[list[Outputs | None], str]:
        """The reference's function in float64, None where there is no such thing, and why.

        Args:
            path: The reference.
            inputs: Its inputs.
            reference: Its outputs.
            budget: Floating-point operations; the inputs for which they do not suffice get None.
        """
        nothing: list[Outputs | None] = [None] * len(inputs)
        exact, reason = self._evaluate(path, inputs, widen=True, budget=budget)
        suspicious = [
            index
            for index, (left, truth) in enumerate(zip(reference, exact, strict=True))
            if truth is not None and _far_apart(left, truth)
        ]
        if not suspicious:
            return exact, reason
        # Either the reference is badly conditioned, or the evaluator computes something else: let it run the model
        # in the model's own types. If it errs far less than onnxruntime does, the two disagree about an operator.
        plain, why = self._evaluate(path, [inputs[index] for index in suspicious], widen=False)
        for index, own in zip(suspicious, plain, strict=True):
            truth = exact[index]
            if own is None or truth is None:
                return nothing, why
            for name, value in truth.items():
                if reference[index][name].shape != value.shape or _error(
                    reference[index][name], value
                ) > _INCREDIBLE * _error(own[name], value):
                    return nothing, f"it disagrees with onnxruntime about what '{name}' is"
        return exact, reason

    def run_there(self, path: str, inputs: Sequence[InputSet]) -> tuple[list[Outputs | Refusal], str]:
        """The outputs on the provider, and which operators it left to others.

        Raises:
            ProviderError: The provider did not run the model.
            ExecutionError: It crashed, or was refused.
        """
        results: tuple[list[Outputs | Refusal], str] = self._call(
            "bnfold.runtime.sessions:run_there", path, inputs, level=self.level, provider=self.provider
        )
        return results

    def run_neighbours(self, path: str, inputs: Sequence[InputSet], count: int = NEIGHBOURS) -> list[list[Outputs]]:
        """For each set of inputs, the outputs of the neighbours that took it."""
        by_neighbour = self._call(
            "bnfold.verifying.neighbours:run", path, inputs, level=self.level, count=count, provider=self.provider
        )
        by_set = zip(*by_neighbour, strict=True)
        return [[result for result in results if not isinstance(result, Refusal)] for results in by_set]

    def witnesses(self, reference: str, candidate: str) -> Witnesses:
        """Who is asked if the outputs of two models leave a doubt."""
        return Witnesses(
            partial(self.run_neighbours, reference),
            partial(self.run_neighbours, candidate),
            lambda inputs: self._evaluate(candidate, inputs, widen=True, budget=BUDGET)[0],
        )

    def _run(self, path: str, inputs: Sequence[InputSet]) -> list[Outputs | Refusal]:
        results: list[Outputs | Refusal] = self._call("bnfold.runtime.sessions:run", path, inputs, level=self.level)
        return results

    def _evaluate(
        self, path: str, inputs: Sequence[InputSet], *, widen: bool, budget: float | None = None
    ) -> tuple[list[Outputs | None], str]:
        nothing: list[Outputs | None] = [None] * len(inputs)
        try:
            results = self._call("bnfold.verifying.oracle:evaluate", path, inputs, widen=widen, budget=budget)
        except ExecutionError as error:
            return nothing, str(error)
        for result in results:
            if isinstance(result, Refusal):
                return nothing, result.reason
        dear = [result for result in results if isinstance(result, TooExpensive)]
        taken = [None if isinstance(result, TooExpensive) else result for result in results]
        if not dear:
            return taken, ""
        return taken, f"all of them would take {dear[0].operations:.2g} floating-point operations"

    def _call(self, function: str, path: str, inputs: Sequence[InputSet], **kwargs: object) -> Any:
        arguments = {"path": path, "feeds": [one.feeds for one in inputs], **kwargs}
        return self._isolate(function, arguments, path)

    def _isolate(self, function: str, arguments: dict[str, object], subject: str) -> Any:
        limits: dict[str, Any] = {"timeout": self.timeout, "memory_limit": self.memory_limit, "stop": self.stop}
        return run_isolated(function, arguments, subject=subject, **limits)


def run_oracle(
    runner: Runner, wanted: Oracle, model: Opened, inputs: Sequence[InputSet], reference: Sequence[Outputs]
) -> tuple[list[Outputs | None], list[Check]]:
    """The reference in float64 as far as it is wanted and affordable, and what is to be said about that.

    Raises:
        ExecutionError: It is wanted whatever it costs, and cannot be had.
    """
    if wanted is Oracle.NEVER:
        reason = "a tolerance decides, as asked for"
        return [None] * len(inputs), [Check("float64 oracle", Verdict.NOTE, reason)]
    exact, reason = runner.run_exactly(model.path, inputs, reference, BUDGET if wanted is Oracle.AUTO else None)
    count = sum(one is not None for one in exact)
    if count == len(inputs):
        return exact, []
    if wanted is Oracle.ALWAYS:
        raise ExecutionError(f"{model.name}: there is no float64 oracle: {reason}")
    if count:
        message = (
            f"took {count} of {len(inputs)} inputs, a tolerance decides on the others: {reason}; the budget: {BUDGET:g}"
        )
        return exact, [Check("float64 oracle", Verdict.NOTE, message)]
    return exact, [Check("float64 oracle", Verdict.WARN, f"a tolerance decides, for there is none: {reason}")]


@contextmanager
def naming(role: str) -> Iterator[None]:
    """Say which of the two models an error is about."""
    try:
        yield
    except ExecutionError as error:
        raise type(error)(f"{role}: {error}") from error


def _random_in(model: ir.Model) -> str:
    """The operators to blame, in words."""
    found = {node.op_type for graph in modelfile.all_graphs(model) for node in graph if _is_random(node)}
    return f"; it holds {', '.join(sorted(found))}" if found else ""


def _is_random(node: ir.Node) -> bool:
    # Dropout is random where its third input says that it trains, whether or not that is known from the file.
    trains = node.op_type == "Dropout" and len(node.inputs) > 2 and node.inputs[2] is not None
    return trains or node.op_type in _RANDOM


def _refused(inputs: Sequence[InputSet], results: Sequence[Outputs | Refusal]) -> list[tuple[InputSet, str]]:
    pairs = zip(inputs, results, strict=True)
    return [(one, result.reason) for one, result in pairs if isinstance(result, Refusal)]


def _far_apart(reference: Outputs, exact: Outputs) -> bool:
    return any(_is_far(reference[name], truth) for name, truth in exact.items())


def _is_far(array: Array, truth: Array) -> bool:
    if array.dtype.kind in EXACT_KINDS or array.shape != truth.shape:
        return array.shape != truth.shape
    limit = min(_SUSPICIOUS * unit_roundoff(array.dtype), _SUSPICIOUS_AT_MOST)
    return _error(array, truth) > limit * float(np.linalg.norm(np.nan_to_num(truth, posinf=0.0, neginf=0.0)))


def _error(array: Array, truth: Array) -> float:
    if array.shape != truth.shape:
        return float("inf")
    finite = np.isfinite(array) & np.isfinite(truth)
    return float(np.linalg.norm(array[finite].astype(np.float64) - truth[finite].astype(np.float64)))
