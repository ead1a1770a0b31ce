"""``bnfold bench``: is one model faster than another, here?"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from bnfold.cli.options import FormatOption, PicturedReportOption, emit, parse_reports, progress
from bnfold.reporting import Format, Report
from bnfold.runtime.sessions import Level

__all__ = ["bench"]


def bench(
    reference: Annotated[
        Path, typer.Argument(metavar="REFERENCE", readable=False, help="The .onnx file to measure against.")
    ],
    candidate: Annotated[Path, typer.Argument(metavar="CANDIDATE", readable=False, help="The .onnx file in question.")],
    level: Annotated[
        list[Level] | None,
        typer.Option(
            help="How much onnxruntime may optimise. Repeatable. Default: disabled, and all, its own default."
        ),
    ] = None,
    pairs: Annotated[int, typer.Option(min=2, help="Pairs of fresh sessions a level.")] = 7,
    batch: Annotated[int, typer.Option(min=1, help="What symbolic batch dimensions become.")] = 1,
    profile: Annotated[
        bool, typer.Option("--profile", help="Tell where the time goes, operator by operator, at each level.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How long one level may take.")] = 600,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the option's name
    report: PicturedReportOption = None,
) -> None:
    """Time two models in turns, in onnxruntime on one thread: the speed-up, with its 95 % interval.

    Exits with 2 when a file cannot be used, 3 when a model cannot be run, and else with 0.
    """
    files = parse_reports(report, protected=(reference, candidate), pictures=True)
    from bnfold import benchmarking
    from bnfold.reporting.distributions import distributions
    from bnfold.reporting.timing import document, suite

    with progress() as show:
        result = benchmarking.benchmark(
            reference,
            candidate,
            levels=tuple(level or (Level.DISABLED, Level.ALL)),
            pairs=pairs,
            batch=batch,
            profile=profile,
            timeout=timeout,
            progress=show,
        )
    made = Report("benchmark", result, document(result), (suite(result),), distributions=distributions(result))
    emit(made, format, files)
