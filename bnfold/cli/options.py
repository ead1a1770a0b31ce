"""The options that several commands share, and what they do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnfold.errors import BnfoldError
from bnfold.reporting import Format

if TYPE_CHECKING:
    from bnfold.reporting import Report

__all__ = ["FormatOption", "ReportOption", "emit", "parse_reports"]

FormatOption = Annotated[Format, typer.Option("--format", help="How the report is printed.")]
ReportOption = Annotated[
    list[str] | None,
    typer.Option("--report", metavar="FORMAT=PATH", help="Also write the report to a file. Repeatable."),
]


def parse_reports(reports: list[str] | None) -> tuple[tuple[Format, Path], ...]:
    """``["json=out.json"]`` as pairs; called before any work, so that a typing error costs none.

    Raises:
        BnfoldError: An unknown format, no path, or a folder that does not exist.
    """
    return tuple(_parse(report) for report in reports or ())


def _parse(report: str) -> tuple[Format, Path]:
    name, _, path = report.partition("=")
    if name not in [*Format] or not path:
        raise BnfoldError(f"--report {report}: give FORMAT=PATH with FORMAT one of {', '.join(Format)}")
    if not Path(path).parent.is_dir() or Path(path).is_dir():
        raise BnfoldError(f"--report {report}: cannot write a file there")
    return Format(name), Path(path)


def emit(report: Report, format: Format, files: tuple[tuple[Format, Path], ...]) -> None:  # noqa: A002
    """Print the report to stdout, and write it to the files that ``--report`` asked for."""
    from rich.console import Console

    terminal = Console()
    if format is Format.TABLE and terminal.is_terminal:
        report.show(terminal)
    else:
        typer.echo(report.render(format), nl=False)
    for file_format, path in files:
        path.write_text(report.render(file_format), encoding="utf-8")
