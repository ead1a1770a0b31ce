"""verify(reference, candidate) → Comparison: does the candidate compute what the reference computes?

interface.py      the same inputs and outputs
certificate/      every rewritten weight recomputed in float64, and nothing run
weights.py        what that comes to
oracle.py         the reference's function in float64, to judge both by
neighbours.py     how far models that are as good as the reference lie from it
judging.py        the rule and its limits
channels.py       the same for each channel of an output
integers.py       the same for integers
locating.py       where two models part, on demand; parts.py takes the nodes out that repro.py writes to files
running.py        runs all of these in child processes
comparison.py     the result
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir

from bnfold.agreement import nonfinite_mismatches
from bnfold.errors import ExecutionError
from bnfold.runtime import sessions
from bnfold.runtime.inputs import only_tensors
from bnfold.runtime.isolation import TIMEOUT
from bnfold.runtime.sessions import Refusal
from bnfold.runtime.sources import opened
from bnfold.verifying.certificate import certify
from bnfold.verifying.comparison import Check, Comparison, Divergence, OutputFigures, Verdict
from bnfold.verifying.interface import compare_interfaces
from bnfold.verifying.judging import NEIGHBOURS, OutputRuns, judge
from bnfold.verifying.locating import locate, worst_of
from bnfold.verifying.repro import Repro
from bnfold.verifying.running import LEVEL, Runner, naming
from bnfold.verifying.weights import check_structure, check_weights

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from bnfold.folding import FoldResult
    from bnfold.runtime.inputs import InputSet
    from bnfold.runtime.sessions import Feeds, Outputs
    from bnfold.runtime.sources import Opened
    from bnfold.verifying.certificate import Certificate
    from bnfold.verifying.locating import Located

__all__ = ["Check", "Comparison", "Divergence", "OutputFigures", "Verdict", "verify"]


def verify(
    reference: str | os.PathLike[str] | ir.Model,
    candidate: str | os.PathLike[str] | ir.Model,
    *,
    timeout: float = TIMEOUT,
    certificate: FoldResult | None = None,
    bisect: bool = False,
    save_repro: str | os.PathLike[str] | None = None,
) -> Comparison:
    """Compare two models: their interfaces and weights, then their outputs, judged by the reference in float64.

    Where the graphs are alike, each weight that differs is recomputed in float64 from the reference: a certificate.
    Both run in onnxruntime on the CPU, with its optimisations off, in child processes. Models that are not
    equivalent are a result, not an error.

    Args:
        reference: The model that is right: a path or an ``onnx_ir.Model``.
        candidate: The model to judge.
        timeout: Seconds that each child process may take.
        certificate: The account of the fold that made the candidate: then no weight may be rounded more than once, and
            nothing may differ that it does not name. Without it, what was folded where is found out.
        bisect: Where the two are not equivalent, find the first tensor that the candidate computes otherwise.
        save_repro: A folder, new or empty, for an input on which they differ and the nodes that part, with the command
            that shows it; written only if they are not equivalent. Implies ``bisect``.

    Returns:
        A ``Comparison``, which is true if the candidate is equivalent.

    Raises:
        ModelError: A model cannot be read, or has inputs or outputs that are no tensors of numbers.
        ExecutionError: A model could not be run: crashed, refused by onnxruntime, took too long. Or nothing can be
            told from running it: the reference is random, or both give nothing but NaN and Inf.
        MissingDependencyError: onnxruntime is not installed.
        BnfoldError: ``save_repro`` is a file, or a folder with something in it.
    """
    sessions.require()
    repro = None if save_repro is None else Repro(save_repro)
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        left = opened(reference, Path(folder, "reference.onnx"))
        right = opened(candidate, Path(folder, "candidate.onnx"))
        only_tensors(left.model, left.name)
        checks = compare_interfaces(left.model, right.model)
        if _failed(checks):
            checks.append(Check("outputs", Verdict.NOTE, "not compared: the interfaces differ"))
            return Comparison(left.name, right.name, equivalent=False, checks=tuple(checks))
        weights = certify(left.model, right.model)
        checks += check_structure(weights, certificate) + check_weights(weights, is_ours=certificate is not None)
        runner = Runner(timeout)
        with naming("reference"):
            inputs, expected, notes = runner.run_reference(left.path, left.model)
        with naming("candidate"):
            results, failures = runner.run_candidate(right.path, inputs)
        taken = [index for index, result in enumerate(results) if not isinstance(result, Refusal)]
        inputs, expected = [inputs[index] for index in taken], [expected[index] for index in taken]
        got = [result for result in results if not isinstance(result, Refusal)]
        if _nothing_to_compare(expected, got):
            raise ExecutionError(f"{left.name}: could not be checked: its outputs hold nothing but NaN and Inf")
        exact, reason = runner.run_exactly(left.path, inputs, expected)
        checks += [Check("inputs", Verdict.NOTE, note) for note in notes]
        checks += [Check("inputs", Verdict.FAIL, failure) for failure in failures]
        if exact is None:
            checks.append(Check("float64 oracle", Verdict.WARN, f"a tolerance decides, for there is none: {reason}"))
        neighbours = cache(lambda: runner.run_neighbours(left.path, inputs, NEIGHBOURS))
        judged = [judge(_runs(name, inputs, expected, got, exact, neighbours)) for name in expected[0]]
        checks += [check for found, _ in judged for check in found]
        divergence = None
        if _failed(checks) and (bisect or repro is not None):
            feeds = inputs[worst_of(expected, got)].feeds
            located = _locate(left, right, weights, feeds, timeout, checks)
            if located is not None:
                divergence = replace(located.divergence, rest_passes=_rest_passes(left, located, timeout))
            if repro is not None:
                repro.write(left.name, right.name, feeds, located)
    figures = tuple(figure for _, figure in judged)
    return Comparison(
        reference=left.name,
        candidate=right.name,
        equivalent=not _failed(checks),
        checks=tuple(checks),
        outputs=figures,
        needed_tolerance=max(figure.needed_tolerance for figure in figures),
        oracle="tolerance" if exact is None else "float64",
        level=LEVEL,
        inputs=tuple(map(str, inputs)),
        seeds=tuple(one.seed for one in inputs),
        divergence=divergence,
    )


def _locate(
    left: Opened, right: Opened, weights: Certificate, feeds: Feeds, timeout: float, checks: list[Check]
) -> Located | None:
    """Where the two part; why that is not known becomes a check."""
    try:
        located = locate(left.model, right.model, weights, feeds, name=right.name, timeout=timeout)
        message = "no tensor parts by more than rounding from those in front of it"
    except ExecutionError as error:
        located, message = None, str(error)
    if located is None:
        checks.append(Check("where", Verdict.NOTE, f"not found: {message}"))
    return located


def _rest_passes(left: Opened, located: Located, timeout: float) -> bool | None:
    """Whether the candidate is equivalent with the reference's own nodes where it parts."""
    if located.hybrid is None:
        return None
    try:
        hybrid = ir.from_proto(onnx.ModelProto.FromString(located.hybrid))
        return bool(verify(left.model, hybrid, timeout=timeout))
    except ExecutionError:
        return None


def _failed(checks: Sequence[Check]) -> bool:
    return any(check.verdict is Verdict.FAIL for check in checks)


def _nothing_to_compare(reference: Sequence[Outputs], candidate: Sequence[Outputs]) -> bool:
    """Whether there are values, and all are the same NaN and Inf in both."""
    pairs = [
        (array, right[name])
        for left, right in zip(reference, candidate, strict=True)
        for name, array in left.items()
        if array.shape == right[name].shape and array.size
    ]
    return bool(pairs) and all(
        array.dtype.kind not in "iub" and not np.isfinite(array).any() and not nonfinite_mismatches(array, other)
        for array, other in pairs
    )


def _runs(
    name: str,
    inputs: Sequence[InputSet],
    reference: Sequence[Outputs],
    candidate: Sequence[Outputs],
    exact: Sequence[Outputs] | None,
    neighbours: Callable[[], Sequence[Sequence[Outputs]]],
) -> OutputRuns:
    """What is known about one output."""
    expected = [outputs[name] for outputs in reference]
    return OutputRuns(
        name=name,
        sets=[str(one) for one in inputs],
        reference=expected,
        candidate=[outputs[name] for outputs in candidate],
        exact=None if exact is None else [outputs[name] for outputs in exact],
        neighbours=lambda: [
            [outputs[name] for outputs in of_set if outputs[name].shape == array.shape]
            for of_set, array in zip(neighbours(), expected, strict=True)
        ],
    )
