"""``bnfold lint``: what goes wrong with BatchNormalization in this network?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnfold.cli.options import (
    ArgumentsOption,
    FormatOption,
    ReportOption,
    emit,
    files_of,
    parse_arguments,
    parse_reports,
    say,
)
from bnfold.errors import BnfoldError
from bnfold.reporting import Format, Report

if TYPE_CHECKING:
    from bnfold.linting import ModuleSource

__all__ = ["lint"]

_CODES = "CODE,…"
_CODE = (".py", ".pt2")  # the first lacks its factory, the second its training mode: what is wrong is said there


def lint(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="The .onnx file, which is never changed; or a PyTorch module as export names it: FILE.py:FACTORY, "
            "PACKAGE.MODULE:FACTORY (their code is run), a network of the zoo.",
        ),
    ] = None,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(
            "--input-shape",
            metavar="[NAME:]SHAPE[:TYPE]",
            help="Of a module: Nx3x224x224, with a name for each axis of any size. Once for each input.",
        ),
    ] = None,
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="Of a module: the weights to load.")] = None,
    arg: ArgumentsOption = None,
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
        say(_about(explain))
        return
    if model is None:
        raise BnfoldError("lint what? Give a .onnx file, a module such as net.py:Net, --list, or --explain CODE")
    files = parse_reports(report, protected=(*files_of(model), *([weights] if weights else ())))
    from bnfold import linting
    from bnfold.reporting.linting import document, suite

    settings = linting.find_configuration(Path.cwd())
    result = linting.examine(
        _source(model, input_shape, weights, arg),
        select=_codes(select) if select is not None else settings.select,
        ignore=(*(_codes(ignore) if ignore is not None else settings.ignore), *settings.ignored_in(model)),
        ignore_at=settings.per_node,
        export_dtype=dtype or settings.export_dtype,
    )
    emit(Report("lint", result, document(result), (suite(result),)), format, files)
    if not result:
        raise typer.Exit(1)


def _source(
    model: str, input_shape: list[str] | None, weights: Path | None, arg: list[str] | None
) -> str | ModuleSource:
    """The file, or the module that is named: what is for modules only is refused for a file."""
    from bnfold import linting
    from bnfold.zoo import NETWORKS

    is_named = not Path(model).exists() and (":" in model or model in NETWORKS)
    if Path(model).suffix in _CODE or (is_named and Path(model).suffix != ".onnx"):
        return linting.ModuleSource(model, input_shape or (), parse_arguments(arg), weights)
    given = {"--input-shape": input_shape, "--weights": weights, "--arg": arg}
    if unused := [name for name, value in given.items() if value]:
        raise BnfoldError(f"{unused[0]} is for a PyTorch module, such as net.py:Net; {model} is a file")
    return model


def _codes(options: list[str]) -> tuple[str, ...]:
    """``["BN1,BN2", "BN3"]`` one by one."""
    return tuple(code.strip() for option in options for code in option.split(","))


def _about(code: str | None) -> str:
    """One lint in full, or all of them on a line each."""
    from bnfold import linting
    from bnfold.reporting import console
    from bnfold.reporting.linting import document_lints, explained

    return explained(linting.find_lint(code)) if code is not None else console.render(document_lints(linting.LINTS))
