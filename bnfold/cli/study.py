"""``bnfold study``: is what a lecture says of BatchNorm so?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnfold.cli.options import FormatOption, ReportOption, emit, parse_reports
from bnfold.reporting import Format, Report

__all__ = ["study"]


def study(
    claims: Annotated[
        list[int] | None, typer.Argument(metavar="[CLAIM]…", help="Their numbers, 1 to 12; all if there are none.")
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where the page, its Markdown and the numbers go."),
    ] = Path("study"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer seeds, shorter training, and wider limits: about a minute.")
    ] = False,
    seed: Annotated[int, typer.Option(help="The first seed; the same one gives the same numbers.")] = 0,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Runs side by side.", show_default="one a core")
    ] = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the option's name
    report: ReportOption = None,
) -> None:
    """Try what a lecture on BatchNorm claims, on real data, and write a page about it.

    The page is study.html; beside it are study.md with its figures, study.json, and every finished run: the same
    command goes on where it was interrupted. Exits with 0 whatever the verdicts are.
    """
    files = parse_reports(report, protected=[output / f"study.{suffix}" for suffix in ("html", "md", "json")])
    from bnfold import studying
    from bnfold.reporting.study import document, suite
    from bnfold.reporting.study_files import write

    try:
        result = studying.study(claims or (), folder=output, quick=quick, seed=seed, jobs=jobs, progress=True)
    except KeyboardInterrupt:
        typer.echo(f"bnfold: interrupted; what is finished is in {output}, and the same command goes on", err=True)
        raise
    write(result, output)
    emit(Report("study", result, document(result, output / "study.html"), (suite(result),)), format, files)
