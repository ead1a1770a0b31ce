"""``bnfold fold``: fold a model, verify the result, and only then keep it."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from bnfold.cli.options import (
    FormatOption,
    KeepOption,
    MergeOption,
    RepairsOption,
    ReportOption,
    parse_reports,
    refuse_overwriting,
    show,
    write_files,
)
from bnfold.errors import BnfoldError, ExecutionError, MissingDependencyError, ModelFileError, VerificationError
from bnfold.reporting import Format, Report
from bnfold.reporting.document import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bnfold.folding import FoldResult
    from bnfold.modelfile import Saved
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
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when a BatchNormalization was kept.")] = False,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the option's name
    report: ReportOption = None,
) -> None:
    """Move every BatchNormalization that can be moved exactly into the weights around it.

    The result is verified in onnxruntime against the input, with a float64 oracle, before it is kept.
    """
    from bnfold import folding

    if in_place and output is not None:
        raise BnfoldError("--in-place and --output: give one of them")
    target = model if in_place else output or _beside(model)
    if not in_place:
        _refuse_overwriting(model, target)
    files = parse_reports(report, protected=(model, target, target.with_name(f"{target.name}.data")))
    if verify:
        _require_runtime()
    result = folding.fold(model, keep=keep or (), merge_branches=merge_branches, repairs=repairs)
    refuse_overwriting(files, result.sources)
    from bnfold.reporting.fold import document

    def report_on(comparison: Comparison | None) -> Report:
        title = f"{model}, in place" if in_place else f"{model} → {target}"
        return Report("fold", result, document(result, title, _verdict(comparison)))

    saved, account = _save(result, model, target, in_place=in_place, verify=verify, report_on=report_on, files=files)
    show(account, format)
    for line in _remarks(saved):
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


def _save(
    result: FoldResult,
    model: Path,
    target: Path,
    *,
    in_place: bool,
    verify: bool,
    report_on: Callable[[Comparison | None], Report],
    files: tuple[tuple[Format, Path], ...],
) -> tuple[Saved, Report]:
    """Verify and report before the file is put in place: a result that fails, or cannot be told of, is never there."""
    reports: list[Report] = []

    def accept(temporary: Path) -> None:
        reports.append(report_on(_checked(result, model, temporary, target) if verify else None))
        write_files(reports[0], files)

    return result.save(target, accept=accept, in_place=in_place), reports[0]


def _remarks(saved: Saved) -> Iterator[str]:
    """What is not as the user may expect."""
    if saved.reason:
        yield f"{saved.path}: its weights are in {saved.external}, since {saved.reason}"
    if saved.unread:
        yield f"{saved.path}: its weights are in {saved.external} now, no more in {', '.join(map(str, saved.unread))}"


def _checked(result: FoldResult, model: Path, temporary: Path, target: Path) -> Comparison:
    from bnfold import modelfile, verifying

    try:
        comparison = verifying.verify(model, temporary, certificate=result)
        modelfile.check_unchanged(result.model)  # it was read a second time to be compared
    except ExecutionError as error:
        raise type(error)(f"{error}; --no-verify writes the result unchecked") from error
    if not comparison:
        failed = (check for check in comparison.checks if check.verdict == "fail")
        broken = "; ".join(f"{check.name}: {check.message}" for check in failed)
        message = f"{target}: not written, for the result is not equivalent: {broken}"
        raise VerificationError(f"{message}; --keep leaves a node alone, bnfold inspect names them", comparison)
    return comparison


def _verdict(comparison: Comparison | None) -> Text:
    if comparison is None:
        return Text("not verified", "warning")
    text = f"verified in onnxruntime: equivalent on {len(comparison.inputs)} inputs"
    if comparison.oracle != "float64":
        return Text(f"{text}, by a tolerance only: there was no float64 to judge by", "warning")
    ratios = [output.error_ratio for output in comparison.outputs if output.error_ratio is not None]
    figure = f", {max(ratios):.2f} times the error of the original against float64" if ratios else ""
    return Text(text + figure, "warning" if any(c.verdict == "warn" for c in comparison.checks) else "good")
