"""``bnfold doctor``: what is installed here, and what of it works?"""

from __future__ import annotations

from typing import Annotated

import typer

from bnfold.cli.options import FormatOption, ReportOption, emit, parse_reports
from bnfold.reporting import Format, Report

__all__ = ["doctor"]


def doctor(
    provider: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="An execution provider that has to work: cuda, openvino, … Repeatable."),
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How long one trial may take.")] = 120,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the option's name
    report: ReportOption = None,
) -> None:
    """Say what is installed, which execution providers really load, and how to repair what is broken.

    Exits with 0 when nothing is, and 1 when something is, a --provider that does not work included.
    """
    files = parse_reports(report)
    from bnfold import diagnosing
    from bnfold.reporting.diagnosing import document, suite

    result = diagnosing.doctor(providers=provider or (), timeout=timeout)
    emit(Report("doctor", result, document(result), (suite(result),)), format, files)
    if not result:
        raise typer.Exit(1)
