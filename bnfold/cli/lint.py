"""``bnfold lint``: what goes wrong with BatchNormalization in this network?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnfold.cli.options import FormatOption, ReportOption, emit, parse_reports
from bnfold.errors import BnfoldError
from bnfold.reporting import Format, Report

__all__ = ["lint"]

_CODES = "CODE,…"


def lint(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="The .onnx file; it is never changed.")] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(
            metavar=_CODES, help="Only these lints: codes such as BN103, or beginnings such as BN2. Repeatable."
        ),
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option(metavar=_CODES, help="Not these lints. Repeatable.")] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="DTYPE",
            help="Judge as if the weights were stored so: float16, bfloat16, float32 or float64.",
            show_default="as they are stored",
        ),
    ] = None,
    explain: Annotated[
        str | None, typer.Option(metavar="CODE", help="Print why a lint warns and what to do instead, and exit.")
    ] = None,
    list_lints: Annotated[bool, typer.Option("--list", help="Print all lints, and exit.")] = False,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the option's name
    report: ReportOption = None,
) -> None:
    """Warn of what goes wrong with BatchNormalization, in a network as it is built, trained or deployed.

    [tool.bnfold.lint] in the nearest pyproject.toml is read first; options replace what it says. Exits with 0 when
    nothing is found, 1 when something is, and 2 when the file cannot be used.
    """
    if explain is not None or list_lints:
        typer.echo(_about(explain), nl=False)
        return
    if model is None:
        raise BnfoldError("lint what? Give a .onnx file, or --list, or --explain CODE")
    files = parse_reports(report, protected=(Path(model),))
    from bnfold import linting
    from bnfold.reporting.linting import document, suite

    settings = linting.find_configuration(Path.cwd())
    result = linting.examine(
        model,
        select=_codes(select) if select is not None else settings.select,
        ignore=(*(_codes(ignore) if ignore is not None else settings.ignore), *settings.ignored_in(model)),
        ignore_at=settings.per_node,
        export_dtype=dtype or settings.export_dtype,
    )
    emit(Report("lint", result, document(result), (suite(result),)), format, files)
    if not result:
        raise typer.Exit(1)


def _codes(options: list[str]) -> tuple[str, ...]:
    """``["BN1,BN2", "BN3"]`` one by one."""
    return tuple(code.strip() for option in options for code in option.split(","))


def _about(code: str | None) -> str:
    """One lint in full, or all of them on a line each."""
    from bnfold import linting
    from bnfold.reporting import console
    from bnfold.reporting.linting import document_lints, explained

    return explained(linting.find_lint(code)) if code is not None else console.render(document_lints(linting.LINTS))
