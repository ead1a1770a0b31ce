"""``bnfold inspect``: what would go where, and what stops the rest; nothing is changed or run."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from bnfold.cli.options import (
    FormatOption,
    KeepOption,
    MergeOption,
    RepairsOption,
    ReportOption,
    emit,
    parse_reports,
    refuse_overwriting,
)
from bnfold.reporting import Format, Report

__all__ = ["inspect"]


def inspect(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", readable=False, help="The .onnx file; it is never changed.")
    ],
    keep: KeepOption = None,
    merge_branches: MergeOption = None,
    repairs: RepairsOption = False,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the option's name
    report: ReportOption = None,
) -> None:
    """Show what fold would do: where each BatchNormalization would go, or what blocks it on each route.

    Nothing is run and no model is written. Exits with 0, whatever would stay, and 2 when the file cannot be used.
    """
    files = parse_reports(report, protected=(model,))
    from bnfold import folding
    from bnfold.reporting.fold import document_plan, suite

    result = folding.inspect(model, keep=keep or (), merge_branches=merge_branches, repairs=repairs)
    refuse_overwriting(files, result.sources)
    document = document_plan(result, f"{model}: what fold would do")
    emit(Report("inspection", result, document, (suite(result),)), format, files)
