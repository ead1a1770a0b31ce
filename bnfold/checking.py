"""check(model) → CheckResult: fold it, verify the fold, time it; one answer."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold import benchmarking, folding, modelfile, verifying
from bnfold.errors import BnfoldError, VerificationError
from bnfold.runtime import sessions
from bnfold.runtime.isolation import TIMEOUT
from bnfold.runtime.sessions import Level
from bnfold.verifying.comparison import Check, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Unpack

    import onnx_ir as ir

    from bnfold.benchmarking import Benchmark, Cell, Gate
    from bnfold.folding import FoldResult
    from bnfold.verifying import Comparison, VerifyOptions

__all__ = ["CheckResult", "check"]


@dataclass(frozen=True)
class CheckResult:
    """What became of a model; true in a condition if every question was answered with yes.

    Attributes:
        model: Its path, or its graph's name.
        output: Where the folded model was written; None if nobody asked for that, or if it is not equivalent.
        passed: No question was answered with no.
        checks: The questions: ``fold``, ``verify``, and of what is equivalent ``size`` and, where it was timed,
            ``bench``.
        fold: Where each BatchNormalization went, or why it stayed.
        comparison: Whether the folded model computes what the model computes.
        benchmark: How much faster that is; None if it was not timed, as a fold that is not equivalent never is.
        size_before: Bytes of the model and of the files that hold its weights; None for a model that is no file.
        size_after: The same of the folded model; None if it is not equivalent.
    """

    model: str
    output: str | None
    passed: bool
    checks: tuple[Check, ...]
    fold: FoldResult
    comparison: Comparison
    benchmark: Benchmark | None = None
    size_before: int | None = None
    size_after: int | None = None

    def __bool__(self) -> bool:
        return self.passed


def check(
    model: str | os.PathLike[str] | ir.Model,
    *,
    output: str | os.PathLike[str] | None = None,
    keep: Sequence[str] = (),
    merge_branches: bool | None = None,
    repairs: bool = False,
    strict: bool = False,
    bench: bool = True,
    pairs: int = 7,
    min_speedup: str | float | Sequence[str | float] = (),
    timeout: float = TIMEOUT,
    progress: Callable[[str], None] | None = None,
    **verification: Unpack[VerifyOptions],
) -> CheckResult:
    """Fold a model, verify the result against it, and time the two.

    The answer is no if the two are not equivalent; with ``strict``, if a BatchNormalization was kept; and with
    ``min_speedup``, unless the whole 95 % interval of the speed-up lies above it.

    Args:
        model: A path, or a model, which is left untouched.
        output: Where to write the folded model. Only one that is equivalent is ever there, whatever else the answer is.
        keep: As for ``fold``.
        merge_branches: As for ``fold``.
        repairs: As for ``fold``.
        strict: Whether a BatchNormalization that was kept is a no.
        bench: Whether to time the two at all, on the execution providers on which they are verified.
        pairs: How many pairs of fresh sessions are timed, as for ``benchmark``.
        min_speedup: Least speed-ups, as for ``benchmark``: ``1.05@disabled``, or ``1.05`` at onnxruntime's default.
        timeout: Seconds that each child process may take.
        progress: Told what is about to be done.
        **verification: How the two are compared: ``providers``, ``levels``, ``inputs``, … as for ``verify``.

    Raises:
        ModelError: The model cannot be used, or the output not be written.
        BnfoldError: A pattern of ``keep`` matches no node, or a speed-up is asked for and not to be measured.
        ExecutionError: A model could not be run: crashed, refused by onnxruntime, took too long.
        MissingDependencyError: onnxruntime is not installed.
    """
    if benchmarking.parse_demands(min_speedup) and not bench:
        raise BnfoldError("a least speed-up is asked for, and nothing is to be timed: leave out one of the two")
    sessions.require()
    tell = progress or (lambda _: None)
    tell("folding")
    result = folding.fold(model, keep=keep, merge_branches=merge_branches, repairs=repairs)
    comparison, benchmark, after = None, None, None
    is_file = isinstance(model, (str, os.PathLike))
    before = sum(file.stat().st_size for file in result.sources) if is_file else None

    def judge(candidate: Path) -> None:
        """Look at the folded file before it is put in place."""
        nonlocal comparison, benchmark, after
        tell("verifying")
        comparison = replace(
            verifying.verify(model, candidate, timeout=timeout, certificate=result, **verification), candidate=name
        )
        modelfile.check_unchanged(result.model)  # it was read a second time
        if not comparison:
            raise VerificationError(f"{name}: not equivalent", comparison)
        after = modelfile.size_of(candidate)
        if bench:
            timed = benchmarking.benchmark(
                model,
                candidate,
                providers=verification.get("providers") or ("cpu",),
                pairs=pairs,
                min_speedup=min_speedup,
                timeout=timeout,
                progress=tell,
            )
            benchmark = replace(timed, candidate=replace(timed.candidate, name=name))

    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        name = os.fspath(output) if output is not None else "the folded model"
        try:
            result.save(Path(folder, "folded.onnx") if output is None else output, accept=judge)
        except VerificationError as error:
            comparison = error.comparison
    assert comparison is not None  # noqa: S101 - it was judged, or save has raised
    checks = (_folded(result, strict=strict), _verified(comparison), *_sized(before, after), *_timed(benchmark))
    return CheckResult(
        model=comparison.reference,
        output=name if output is not None and comparison else None,
        passed=all(question.verdict is not Verdict.FAIL for question in checks),
        checks=checks,
        fold=result,
        comparison=comparison,
        benchmark=benchmark,
        size_before=before,
        size_after=after,
    )


def _folded(result: FoldResult, *, strict: bool) -> Check:
    kept = sum(entry.is_batch_norm for entry in result.kept)
    all_of_them = kept + sum(entry.is_batch_norm for entry in result.folded)
    verdict = Verdict.PASS if not kept else Verdict.FAIL if strict else Verdict.NOTE
    message = f"{all_of_them - kept} of {all_of_them} BatchNormalizations folded"
    if verdict is Verdict.FAIL:
        message += "".join(f"; {entry.node}: {entry.reason}" for entry in result.kept if entry.is_batch_norm)
    return Check("fold", verdict, message)


def _verified(comparison: Comparison) -> Check:
    failed = list(dict.fromkeys(entry.name for entry in comparison.checks if entry.verdict is Verdict.FAIL))
    if failed:
        return Check("verify", Verdict.FAIL, f"not equivalent: {', '.join(failed)}")
    if any(entry.verdict is Verdict.WARN for entry in comparison.checks):
        return Check("verify", Verdict.WARN, "equivalent, with warnings")
    return Check("verify", Verdict.PASS, "equivalent")


def _sized(before: int | None, after: int | None) -> list[Check]:
    if after is None:
        return []
    if before is None:
        return [Check("size", Verdict.NOTE, f"{after:,} bytes")]
    words = f"{before:,} → {after:,} bytes"
    if after - before < modelfile.NOTABLE_GROWTH:
        return [Check("size", Verdict.NOTE, words)]
    return [
        Check("size", Verdict.WARN, f"{words}: weights that the file computed, or shared, are stored each by itself")
    ]


def _timed(benchmark: Benchmark | None) -> list[Check]:
    if benchmark is None:
        return []
    if benchmark.gates:
        return [_demanded(gate) for gate in benchmark.gates]
    return [_told(cell) for cell in benchmark.cells if cell.level is Level.ALL]


def _told(cell: Cell) -> Check:
    latency, where = cell.latency, f"on {cell.provider}, at onnxruntime's default level"
    words = f"{latency.change}, {latency.low:.2f} to {latency.high:.2f} times as fast {where}"
    return Check("bench", Verdict.NOTE, words)


def _demanded(gate: Gate) -> Check:
    words = f"{gate.low:.3f} times as fast is sure at level {gate.level}; {gate.ratio:g} is demanded"
    return Check("bench", Verdict.PASS if gate.passed else Verdict.FAIL, words, gate.low)
