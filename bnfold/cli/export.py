"""``bnfold export``: PyTorch to ONNX, every BatchNormalization kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnfold.cli.options import FormatOption, ReportOption, emit, parse_reports
from bnfold.reporting import Format, Report

__all__ = ["export"]


def export(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The network: digits_cnn.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The file to write (default: model.onnx beside the weights)."
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The weights to load (default: models/SOURCE/weights.safetensors)."),
    ] = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the option's name
    report: ReportOption = None,
) -> None:
    """Export a trained network to ONNX with its BatchNormalizations kept, and check it against PyTorch."""
    source_file = weights or Path("models") / source / "weights.safetensors"
    files = parse_reports(report, protected=(source_file, output or source_file.with_name("model.onnx")))
    from bnfold import exporting
    from bnfold.reporting.exporting import document, suite

    result = exporting.export(source, output=output, weights=weights)
    emit(Report("export", result, document(result), (suite(result),)), format, files)
