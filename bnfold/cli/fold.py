"""``bnfold fold``: fold a model, verify the result, and only then keep it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from bnfold.cli.options import (
    FormatOption,
    JobsOption,
    KeepOption,
    LevelOption,
    MergeOption,
    ProviderOption,
    RepairsOption,
    ReportOption,
    parse_reports,
    refuse_overwriting,
    show,
    write_files,
)
from bnfold.errors import BnfoldError, ExecutionError, MissingDependencyError, ModelFileError, VerificationError
from bnfold.reporting import Format, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bnfold.cli.options import ReportFile
    from bnfold.folding import FoldResult
    from bnfold.modelfile import Saved
    from bnfold.reporting.cases import Suite
    from bnfold.reporting.document import Block
    from bnfold.runtime.sessions import Level
    from bnfold.verifying import Comparison

__all__ = ["fold"]


def fold(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", readable=False, help="The .onnx file; it changes with --in-place only.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write. Default: MODEL.folded.onnx beside it.")
    ] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Replace MODEL, and its external data.")] = False,
    keep: KeepOption = None,
    merge_branches: MergeOption = None,
    repairs: RepairsOption = False,
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="Compare the result with the input.")] = True,
    provider: ProviderOption = None,
    level: LevelOption = None,
    jobs: JobsOption = 1,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when a BatchNormalization was kept.")] = False,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the option's name
    report: ReportOption = None,
) -> None:
    """Move every BatchNormalization that can be moved exactly into the weights around it.

    The result is verified in onnxruntime against the input, with a float64 oracle, before it is kept. Exits with 1
    when it is not equivalent, 2 when a file cannot be used, 3 when a model cannot be run.
    """
    from bnfold import folding, modelfile

    if in_place and output is not None:
        raise BnfoldError("--in-place and --output: give one of them")
    if not verify and (provider or level):
        raise BnfoldError("--provider and --level say where the result is verified: not with --no-verify")
    target = model if in_place else output or _beside(model)
    if not in_place:
        _refuse_overwriting(model, target)
    files = parse_reports(report, protected=(model, target, modelfile.data_file_of(target)))
    if verify:
        _require_runtime()
    result = folding.fold(model, keep=keep or (), merge_branches=merge_branches, repairs=repairs)
    before = sum(file.stat().st_size for file in result.sources)
    refuse_overwriting(files, result.sources)
    title = f"{model}, in place" if in_place else f"{model} → {target}"

    def report_on(comparison: Comparison | None) -> Report:
        return _report(result, comparison, title, strict=strict)

    def check(temporary: Path) -> Comparison | None:
        return _checked(result, model, temporary, target, provider, level, jobs) if verify else None

    try:
        saved, account = _save(result, target, in_place=in_place, check=check, report_on=report_on, files=files)
    except VerificationError as error:
        refused = report_on(error.comparison)
        show(refused, format)  # first: what it says must not depend on a file that cannot be written
        write_files(refused, files)
        raise
    show(account, format)
    for line in _remarks(saved, before):
        typer.echo(line, err=True)
    if strict and any(entry.is_batch_norm for entry in result.kept):
        raise typer.Exit(1)


def _beside(model: Path) -> Path:
    if not model.name or model.is_dir():
        raise ModelFileError(f"{model}: is a folder, not an ONNX file")
    return model.with_name(f"{model.stem}.folded.onnx")


def _refuse_overwriting(model: Path, target: Path) -> None:
    if target.exists() and model.exists() and target.samefile(model):
        raise BnfoldError(f"{target}: the output would overwrite the input; choose another -o, or --in-place")


def _require_runtime() -> None:
    """Say at once, not after the work, that the result could not be verified."""
    from bnfold.runtime import sessions

    try:
        sessions.require()
    except MissingDependencyError as error:
        raise BnfoldError(f"{error}, or leave the result unverified with --no-verify") from None


def _report(result: FoldResult, comparison: Comparison | None, title: str, *, strict: bool) -> Report:
    """What was folded, and in one line that it was verified; or all that was checked, where that came to a no."""
    from bnfold.reporting import comparison as verified
    from bnfold.reporting.document import Document, Text
    from bnfold.reporting.fold import document, suite

    extra = {"verification": comparison}
    account = document(result, title)
    suites: tuple[Suite, ...] = (suite(result, strict=strict),)
    if comparison is None:
        verdict: tuple[Block, ...] = (Text("not verified", "warning"),)
    else:
        verdict = (verified.summary(comparison),) if comparison else verified.document(comparison).blocks
        suites += (verified.suite(comparison),)
    return Report("fold", result, Document(account.title, (*account.blocks, *verdict)), suites, extra)


def _save(
    result: FoldResult,
    target: Path,
    *,
    in_place: bool,
    check: Callable[[Path], Comparison | None],
    report_on: Callable[[Comparison | None], Report],
    files: tuple[ReportFile, ...],
) -> tuple[Saved, Report]:
    """Verify and report before the file is put in place: a result that fails, or cannot be told of, is never there."""
    reports: list[Report] = []

    def accept(temporary: Path) -> None:
        reports.append(report_on(check(temporary)))
        write_files(reports[0], files)

    return result.save(target, accept=accept, in_place=in_place), reports[0]


def _remarks(saved: Saved, before: int) -> Iterator[str]:
    """What is not as the user may expect; ``before`` it had so many bytes."""
    from bnfold import modelfile

    after = sum(file.stat().st_size for file in (saved.path, saved.external) if file is not None)
    if after - before >= modelfile.NOTABLE_GROWTH:
        yield f"{saved.path}: {before:,} → {after:,} bytes: weights that the file computed, or shared, are stored now"
    if saved.reason:
        yield f"{saved.path}: its weights are in {saved.external}, since {saved.reason}"
    if saved.unread:
        yield f"{saved.path}: its weights are in {saved.external} now, no more in {', '.join(map(str, saved.unread))}"


def _checked(
    result: FoldResult,
    model: Path,
    temporary: Path,
    target: Path,
    providers: list[str] | None,
    levels: list[Level] | None,
    jobs: int,
) -> Comparison:
    from bnfold import modelfile, verifying

    try:
        found = verifying.verify(
            model, temporary, providers=providers or (), levels=levels or (), jobs=jobs, certificate=result
        )
        comparison = replace(found, candidate=str(target))
        modelfile.check_unchanged(result.model)  # it was read a second time to be compared
    except ExecutionError as error:
        raise type(error)(f"{error}; --no-verify writes the result unchecked") from error
    if not comparison:
        failed = (check for check in comparison.checks if check.verdict == "fail")
        broken = "; ".join(f"{check.name}: {check.message}" for check in failed)
        message = f"{target}: not written, for the result is not equivalent: {broken}"
        raise VerificationError(f"{message}; --keep leaves a node alone, bnfold inspect names them", comparison)
    return comparison
