"""verify(reference, candidate) → Comparison: does the candidate compute what the reference computes?

interface.py      the same inputs and outputs
certificate/      every rewritten weight recomputed in float64, and nothing run
weights.py        what that comes to
oracle.py         the reference's function in float64, to judge both by; inference_ops.py, window_ops.py: its operators
neighbours.py     how far models that are as good as the reference lie from it
edges.py          inputs on which rounding decides
expense.py        how much of the oracle to take, by what folding/cost.py estimates
outputs.py        every output, by the rule
judging.py        the rule and its limits
channels.py       the same for each channel of an output
integers.py       the same for integers
likeness.py       what never decides
locating.py       where two models part, on demand; parts.py takes the nodes out that repro.py writes to files
running.py        runs all of these in child processes
settings.py       the same on other execution providers and at other levels
comparison.py     the result
"""

from __future__ import annotations

import tempfile
import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import onnx
import onnx_ir as ir

from bnfold.agreement import EXACT_KINDS, nonfinite_mismatches
from bnfold.errors import BnfoldError, ExecutionError
from bnfold.runtime import sessions
from bnfold.runtime.input_files import given_inputs
from bnfold.runtime.inputs import only_tensors
from bnfold.runtime.isolation import TIMEOUT
from bnfold.runtime.sessions import Refusal
from bnfold.runtime.sources import opened
from bnfold.verifying.certificate import Certificate, GraphChange, certify
from bnfold.verifying.comparison import Check, Comparison, Divergence, OutputFigures, Verdict
from bnfold.verifying.expense import Oracle
from bnfold.verifying.interface import compare_interfaces
from bnfold.verifying.locating import locate, worst_of
from bnfold.verifying.outputs import judge_outputs
from bnfold.verifying.repro import Repro
from bnfold.verifying.running import LEVEL, Runner, naming, run_oracle
from bnfold.verifying.settings import Setting, compare_there, further_settings, side_by_side
from bnfold.verifying.weights import changed_in_place, check_structure, check_weights

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bnfold.folding import FoldResult
    from bnfold.runtime.input_files import Source
    from bnfold.runtime.sessions import Array, Feeds, Outputs
    from bnfold.runtime.sources import Opened
    from bnfold.verifying.locating import Located
    from bnfold.verifying.settings import Compared

__all__ = ["Check", "Comparison", "Divergence", "GraphChange", "OutputFigures", "Verdict", "VerifyOptions", "verify"]


class VerifyOptions(TypedDict, total=False):
    """Options of ``verify`` that whoever calls it may hand on."""

    memory_limit: int | None
    providers: Sequence[str]
    levels: Sequence[str]
    jobs: int
    oracle: str
    tolerances: Mapping[str, float] | float | None
    inputs: Source | Sequence[Source] | None


def verify(
    reference: str | os.PathLike[str] | ir.Model,
    candidate: str | os.PathLike[str] | ir.Model,
    *,
    timeout: float = TIMEOUT,
    memory_limit: int | None = None,
    providers: Sequence[str] = (),
    levels: Sequence[str] = (),
    jobs: int = 1,
    oracle: str = Oracle.AUTO,
    tolerances: Mapping[str, float] | float | None = None,
    inputs: Source | Sequence[Source] | None = None,
    certificate: FoldResult | None = None,
    bisect: bool = False,
    save_repro: str | os.PathLike[str] | None = None,
) -> Comparison:
    """Compare two models: their interfaces and weights, then their outputs, judged by the reference in float64.

    Where the graphs are alike, each weight that differs is recomputed in float64 from the reference: a certificate.
    Both run in onnxruntime on the CPU, with its optimisations off, and then wherever else was asked for, in child
    processes. Models that are not equivalent are a result, not an error.

    Args:
        reference: The model that is right: a path or an ``onnx_ir.Model``.
        candidate: The model to judge.
        timeout: Seconds that each child process may take.
        memory_limit: Bytes that each child process may take; by default most of the machine's. On Linux only.
        providers: Execution providers to run on as well: ``cuda``, ``openvino``, ``NAME:key=value,key=value``. To ask
            for one is a demand that it really runs the models.
        levels: How much onnxruntime may optimise, beside nothing: ``basic``, ``extended``, ``all``.
        jobs: How many providers and levels run side by side; the verdict is the same.
        oracle: Whether to compute the reference in float64: ``auto``, where it is affordable; ``always``; ``never``.
        tolerances: What an output of floats may differ by, over its largest value: by name, or for all. It decides
            then instead of float64, and instead of the certificate.
        inputs: What to feed instead of what can be made up: arrays by name, a .npz file, a folder of .npy or .pb files
            (the layout of ONNX's own tests), or several of these, each a set.
        certificate: The account of the fold that made the candidate: then no weight may be rounded more than once, and
            nothing may differ that it does not name. Without it, what was folded where is found out.
        bisect: Where the two are not equivalent, find the first tensor that the candidate computes otherwise.
        save_repro: A folder, new or empty, for an input on which they differ and the nodes that part, with the command
            that shows it; written only if they are not equivalent. Implies ``bisect``.

    Returns:
        A ``Comparison``, which is true if the candidate is equivalent.

    Raises:
        ModelError: A model cannot be read, or has inputs or outputs that are no tensors of numbers or strings; or the
            inputs that were given are not for it.
        ExecutionError: A model could not be run: crashed, refused by onnxruntime, took too long. Or nothing can be
            told from running it: the reference is random, or both give nothing but NaN and Inf.
        ProviderError: An execution provider that was asked for is missing, does not load, or did not run a Conv,
            ConvTranspose, Gemm, MatMul or BatchNormalization of a model.
        BnfoldError: There is no such level, oracle or output, or a provider's options cannot be read; or ``save_repro``
            is a file, or a folder with something in it.
        MissingDependencyError: onnxruntime is not installed.
    """
    sessions.require()
    settings = further_settings(providers, levels)
    limits = {"": float(tolerances)} if isinstance(tolerances, (int, float)) else dict(tolerances or {})
    if oracle not in [*Oracle]:
        raise BnfoldError(f"oracle: {oracle} is none of {', '.join(Oracle)}")
    repro = None if save_repro is None else Repro(save_repro)
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        left = opened(reference, Path(folder, "reference.onnx"))
        right = opened(candidate, Path(folder, "candidate.onnx"))
        only_tensors(left.model, left.name, are_given=inputs is not None)
        _check_names(limits, left)
        checks = compare_interfaces(left.model, right.model)
        weights = _certified(left.model, right.model)
        if _failed(checks):
            checks += check_structure(weights, None)
            checks.append(Check("outputs", Verdict.NOTE, "not compared: the interfaces differ"))
            return Comparison(left.name, right.name, equivalent=False, checks=tuple(checks), changes=weights.changes)
        checks += check_structure(weights, certificate)
        checks += check_weights(weights, is_ours=certificate is not None, decides=not limits)
        given = () if inputs is None else given_inputs(inputs, left.model)
        stop = threading.Event()
        runner = Runner(timeout, memory_limit, stop=stop)
        runners = [replace(runner, provider=setting.provider, level=setting.level) for setting in settings]
        for there in {there.provider: there for there in runners}.values():
            there.probe()  # what is not there is told before any work
        with naming("reference"):
            sets, expected, notes = runner.run_reference(left.path, left.model, given)
        with naming("candidate"), _hinting(weights):
            results, failures = runner.run_candidate(right.path, sets)
        taken = [index for index, result in enumerate(results) if not isinstance(result, Refusal)]
        sets, expected = [sets[index] for index in taken], [expected[index] for index in taken]
        got = [result for result in results if not isinstance(result, Refusal)]
        if _nothing_to_compare(expected, got):
            raise ExecutionError(
                f"{left.name}: could not be checked: its outputs hold no number, or nothing but NaN and Inf"
            )
        exact, how = run_oracle(runner, Oracle(oracle), left, sets, expected)
        checks += [Check("inputs", Verdict.NOTE, note) for note in notes]
        checks += [Check("inputs", Verdict.FAIL, failure) for failure in failures]
        checks += how
        witnesses = runner.witnesses(left.path, right.path)
        tasks: list[Callable[[], Compared]] = [
            partial(judge_outputs, sets, expected, got, exact, witnesses, limits),
            *(
                partial(compare_there, *place, (left.path, right.path), sets, exact, limits)
                for place in zip(settings, runners, strict=True)
            ),
        ]
        compared = side_by_side(jobs, tasks, stop)
        checks += [check for found, _ in compared for check in found]
        located = None
        if _failed(checks) and (bisect or repro is not None):
            feeds = sets[worst_of(expected, got)].feeds
            located = _locate(left, right, weights, feeds, runner, checks)
            if repro is not None:
                options = [
                    *_options(providers, levels, oracle, limits),
                    *_limits(timeout, memory_limit),
                    *(("--jobs", str(jobs)) if jobs != 1 else ()),
                ]
                repro.write(left.name, right.name, options, _limits(timeout, memory_limit), feeds, located)
    figures = tuple(figure for _, found in compared for figure in found)
    return Comparison(
        reference=left.name,
        candidate=right.name,
        equivalent=not _failed(checks),
        checks=tuple(checks),
        outputs=figures,
        needed_tolerance=max(figure.needed_tolerance for figure in figures),
        oracle="tolerance" if all(one is None for one in exact) else "float64",
        level=LEVEL,
        inputs=tuple(map(str, sets)),
        seeds=tuple(one.seed for one in sets if one.seed is not None),
        settings=tuple(map(str, [Setting(), *settings])),
        divergence=None if located is None else located.divergence,
        changes=weights.changes,
    )


def _certified(reference: ir.Model, candidate: ir.Model) -> Certificate:
    """The certificate; of a graph that makes no sense, which onnxruntime then refuses with a reason, there is none."""
    try:
        return certify(reference, candidate)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return Certificate(reason=f"the graphs cannot be compared: {type(error).__name__}: {error}")


@contextmanager
def _hinting(certificate: Certificate) -> Iterator[None]:
    """A candidate that does not run may have been changed where it fails: say how."""
    try:
        yield
    except ExecutionError as error:
        changed = changed_in_place(certificate)
        raise ExecutionError(f"{error}; it is not built as the reference: {changed}") if changed else error from error


def _locate(
    left: Opened, right: Opened, weights: Certificate, feeds: Feeds, runner: Runner, checks: list[Check]
) -> Located | None:
    """Where the two part; why that is not known becomes a check."""
    try:
        located = locate(left.model, right.model, weights, feeds, name=right.name, runner=runner)
        message = "no tensor parts by more than rounding from those in front of it"
    except ExecutionError as error:
        located, message = None, str(error)
    if located is None:
        checks.append(Check("where", Verdict.NOTE, f"not found: {message}"))
        return None
    passes = _rest_passes(left, located, runner)
    return replace(located, divergence=replace(located.divergence, rest_passes=passes))


def _rest_passes(left: Opened, located: Located, runner: Runner) -> bool | None:
    """Whether the candidate is equivalent with the reference's own nodes where it parts."""
    if located.hybrid is None:
        return None
    try:
        hybrid = ir.from_proto(onnx.ModelProto.FromString(located.hybrid))
        for value, like in zip(hybrid.graph.outputs, left.model.graph.outputs, strict=True):
            value.shape = like.shape  # it was inferred in more detail
        return bool(verify(left.model, hybrid, timeout=runner.timeout, memory_limit=runner.memory_limit))
    except ExecutionError:
        return None


def _options(
    providers: Sequence[str], levels: Sequence[str], oracle: str, tolerances: Mapping[str, float]
) -> list[str]:
    """The same on the command line."""
    options = [("--provider", provider) for provider in providers]
    options += [("--level", str(level)) for level in levels]
    options += [("--oracle", str(oracle))] if oracle != Oracle.AUTO else []
    options += [("--tolerance", f"{name}:{limit}" if name else str(limit)) for name, limit in tolerances.items()]
    return [word for option in options for word in option]


def _limits(timeout: float, memory_limit: int | None) -> list[str]:
    """The limits of a child process on the command line; memory in whole MiB, no less than it was."""
    words = [] if timeout == TIMEOUT else ["--timeout", f"{timeout:g}"]
    return words if memory_limit is None else [*words, "--memory-limit", str(max(64, -(-memory_limit >> 20)))]


def _check_names(tolerances: Mapping[str, float], model: Opened) -> None:
    names = [value.name or "" for value in model.model.graph.outputs]
    for name, tolerance in tolerances.items():
        if name and name not in names:
            raise BnfoldError(f"tolerance: {model.name} has no output '{name}', only {', '.join(names)}")
        if not tolerance >= 0:
            raise BnfoldError(f"tolerance: {tolerance} is less than nothing")


def _failed(checks: Sequence[Check]) -> bool:
    return any(check.verdict is Verdict.FAIL for check in checks)


def _nothing_to_compare(reference: Sequence[Outputs], candidate: Sequence[Outputs]) -> bool:
    """Whether there are no values, or all are the same NaN and Inf in both."""
    pairs = [
        (array, right[name]) for left, right in zip(reference, candidate, strict=True) for name, array in left.items()
    ]
    return all(
        array.shape == other.shape and (not array.size or _are_the_same_nothing(array, other)) for array, other in pairs
    )


def _are_the_same_nothing(array: Array, other: Array) -> bool:
    return (
        array.dtype.kind not in EXACT_KINDS and not np.isfinite(array).any() and not nonfinite_mismatches(array, other)
    )
