"""``bnfold check``: fold a model, verify and time the result; one report and one exit code."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from bnfold.cli.options import (
    FormatOption,
    InputsOption,
    JobsOption,
    KeepOption,
    LevelOption,
    MemoryLimitOption,
    MergeOption,
    MinSpeedupOption,
    Oracle,
    OracleOption,
    ProviderOption,
    RepairsOption,
    ReportOption,
    ToleranceOption,
    emit,
    parse_reports,
    parse_tolerances,
    progress,
    refuse_overwriting,
)
from bnfold.reporting import Format, Report

__all__ = ["check"]


def check(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", readable=False, help="The .onnx file; it is never changed.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write the folded model, if it is equivalent.")
    ] = None,
    keep: KeepOption = None,
    merge_branches: MergeOption = None,
    repairs: RepairsOption = False,
    strict: Annotated[bool, typer.Option("--strict", help="A BatchNormalization that was kept is a no.")] = False,
    bench: Annotated[bool, typer.Option("--bench/--no-bench", help="Time the two models.")] = True,
    pairs: Annotated[int, typer.Option(min=2, help="Pairs of fresh sessions that are timed.")] = 7,
    min_speedup: MinSpeedupOption = None,
    inputs: InputsOption = None,
    provider: ProviderOption = None,
    level: LevelOption = None,
    oracle: OracleOption = Oracle.AUTO,
    tolerance: ToleranceOption = None,
    jobs: JobsOption = 1,
    memory_limit: MemoryLimitOption = None,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How long one run may take.")] = 600,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the option's name
    report: ReportOption = None,
) -> None:
    """Fold a model, verify the result against it, and time the two.

    Exits with 0 when every answer is yes, 1 when one is no, 2 when a file cannot be used, 3 when a model cannot be run,
    or not where it was asked for.
    """
    outputs = () if output is None else (output, output.with_name(f"{output.name}.data"))
    files = parse_reports(report, protected=(model, *outputs))
    limits = parse_tolerances(tolerance)
    from bnfold import checking
    from bnfold.reporting.checking import document, suites

    with progress() as tell:
        result = checking.check(
            model,
            output=output,
            keep=keep or (),
            merge_branches=merge_branches,
            repairs=repairs,
            strict=strict,
            bench=bench,
            pairs=pairs,
            min_speedup=min_speedup or (),
            timeout=timeout,
            inputs=inputs or None,
            providers=provider or (),
            levels=level or (),
            oracle=oracle,
            tolerances=limits,
            jobs=jobs,
            memory_limit=memory_limit and memory_limit << 20,
            progress=tell,
        )
    refuse_overwriting(files, result.fold.sources)
    emit(Report("check", result, document(result), suites(result)), format, files)
    if not result:
        raise typer.Exit(1)
