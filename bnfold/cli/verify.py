"""``bnfold verify``: does one model compute what another computes?"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from bnfold.cli.options import (
    FormatOption,
    InputsOption,
    JobsOption,
    LevelOption,
    MemoryLimitOption,
    Oracle,
    OracleOption,
    ProviderOption,
    ReportOption,
    ToleranceOption,
    emit,
    parse_reports,
    parse_tolerances,
)
from bnfold.reporting import Format, Report

__all__ = ["verify"]


def verify(
    reference: Annotated[
        Path, typer.Argument(metavar="REFERENCE", readable=False, help="The .onnx file that is right.")
    ],
    candidate: Annotated[Path, typer.Argument(metavar="CANDIDATE", readable=False, help="The .onnx file to judge.")],
    inputs: InputsOption = None,
    provider: ProviderOption = None,
    level: LevelOption = None,
    oracle: OracleOption = Oracle.AUTO,
    tolerance: ToleranceOption = None,
    jobs: JobsOption = 1,
    memory_limit: MemoryLimitOption = None,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How long one run may take.")] = 600,
    bisect: Annotated[
        bool,
        typer.Option("--bisect", help="If they differ, find the first tensor that the candidate computes otherwise."),
    ] = False,
    save_repro: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="If they differ, write an input and the nodes that part to a new folder. Does --bisect."
        ),
    ] = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the option's name
    report: ReportOption = None,
) -> None:
    """Compare two models in onnxruntime, judged by the reference computed in float64; and weight by weight.

    Exits with 0 when they are equivalent, 1 when not, 2 when a file cannot be used, 3 when a model cannot be run,
    or not where it was asked for.
    """
    files = parse_reports(report, protected=(reference, candidate))
    limits = parse_tolerances(tolerance)
    from bnfold import verifying
    from bnfold.reporting.comparison import document, suite

    result = verifying.verify(
        reference,
        candidate,
        timeout=timeout,
        memory_limit=memory_limit and memory_limit << 20,
        providers=provider or (),
        levels=level or (),
        jobs=jobs,
        oracle=oracle,
        tolerances=limits,
        inputs=inputs or None,
        bisect=bisect,
        save_repro=save_repro,
    )
    emit(Report("comparison", result, document(result), (suite(result),)), format, files)
    if save_repro is not None and not result:
        typer.echo(f"{save_repro / 'README.md'} tells how to show it again", err=True)
    if not result:
        raise typer.Exit(1)
