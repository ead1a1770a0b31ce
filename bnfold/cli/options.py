"""The options that several commands share, and what they do."""

from __future__ import annotations

import ast
import os
import sys
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnfold.cli.summary import append_summary
from bnfold.errors import BnfoldError
from bnfold.reporting import Format, Picture
from bnfold.runtime.sessions import Level

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from bnfold.reporting import Report

__all__ = [
    "ArgumentsOption",
    "FormatOption",
    "InputsOption",
    "JobsOption",
    "KeepOption",
    "LevelOption",
    "MemoryLimitOption",
    "MergeOption",
    "MinSpeedupOption",
    "Oracle",
    "OracleOption",
    "PicturedReportOption",
    "ProviderOption",
    "RepairsOption",
    "ReportFile",
    "ReportOption",
    "ToleranceOption",
    "emit",
    "files_of",
    "forget_output",
    "parse_arguments",
    "parse_reports",
    "parse_tolerances",
    "progress",
    "refuse_overwriting",
    "say",
    "show",
    "write_files",
]


class Oracle(StrEnum):
    """As ``bnfold.verifying`` has it, which takes long to load."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


FormatOption = Annotated[Format, typer.Option("--format", help="How the report is printed.")]
KeepOption = Annotated[
    list[str] | None,
    typer.Option("--keep", metavar="PATTERN", help=r"Leave nodes of this name alone (* ? \[a-z]). Repeatable."),
]
MergeOption = Annotated[
    bool | None,
    typer.Option(
        "--merge-branches/--no-merge-branches",
        help="Branches of a sum that convolve one tensor become one Conv.",
        show_default="where nodes get fewer",
    ),
]
RepairsOption = Annotated[
    bool,
    typer.Option("--repairs", help="Fold behind zero padding too, for a node or a channel more. Measure if it pays."),
]
ProviderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--provider",
        metavar="NAME[:KEY=VALUE,…]",
        help="Compare on this execution provider too: cuda, tensorrt, openvino, coreml, … Exit 3 unless it really runs "
        "the Conv, ConvTranspose, Gemm, MatMul and BatchNormalization of both models. Repeatable.",
    ),
]
LevelOption = Annotated[
    list[Level] | None,
    typer.Option("--level", help="How much onnxruntime may optimise, beside nothing at all; one or several."),
]
ArgumentsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--arg",
        metavar="KEY=VALUE",
        help="What the factory is called with: a literal of Python, or text. Repeatable.",
    ),
]
InputsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--inputs",
        metavar="PATH",
        readable=False,
        help="Feed these instead of made-up numbers: a .npz, or a folder of .npz, .npy or .pb files, as in ONNX's own "
        "tests. Matched by name, or in order. Repeatable.",
    ),
]
MinSpeedupOption = Annotated[
    list[str] | None,
    typer.Option(
        "--min-speedup",
        metavar="RATIO[@LEVEL]",
        help="Exit 1 unless the lower end of the 95 % interval of the latency's speed-up is at least this, such as "
        "1.05@disabled; without a level, at all, onnxruntime's default. Repeatable.",
    ),
]
JobsOption = Annotated[int, typer.Option("--jobs", min=1, help="How many providers and levels run side by side.")]
MemoryLimitOption = Annotated[
    int | None,
    typer.Option(
        "--memory-limit",
        min=64,
        metavar="MIB",
        help="How much memory one run may take, on Linux.",
        show_default="most of the machine's",
    ),
]
OracleOption = Annotated[
    Oracle,
    typer.Option(
        "--oracle", help="Compute the reference in float64: where it is affordable, whatever it costs, or not at all."
    ),
]
ToleranceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tolerance",
        metavar="[OUTPUT:]NUMBER",
        help="What an output of floats may differ by, over its largest value; decides instead of float64. Repeatable.",
    ),
]
ReportOption = Annotated[
    list[str] | None,
    typer.Option("--report", metavar="FORMAT=PATH", help="Also write the report to a file. Repeatable."),
]


PicturedReportOption = Annotated[
    list[str] | None,
    typer.Option(
        "--report",
        metavar="FORMAT=PATH",
        help="Also write the report to a file; svg and png draw the ratio of every pair. Repeatable.",
    ),
]

ReportFile = tuple[Format | Picture, Path]


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """What is being done, on stderr, and only on a terminal."""
    from rich.console import Console

    with Console(stderr=True).status("opening the models") as status:
        yield status.update


def parse_reports(
    reports: list[str] | None, *, protected: Collection[Path] = (), pictures: bool = False
) -> tuple[ReportFile, ...]:
    """``["json=out.json"]`` as pairs; called before any work, so that a typing error costs none.

    Args:
        reports: As given on the command line.
        protected: The command's own inputs and outputs, which a report must not overwrite.
        pictures: Whether the command has something to draw.

    Raises:
        BnfoldError: An unknown format, no path, a folder that does not exist, or a file that is needed.
        MissingDependencyError: A picture is asked for, and nothing here can draw one.
    """
    files = tuple(_parse(report, pictures=pictures) for report in reports or ())
    refuse_overwriting(files, protected)
    for index, (_, path) in enumerate(files):
        refuse_overwriting(files[:index], (path,))
    return files


def parse_tolerances(tolerances: list[str] | None) -> dict[str, float]:
    """``["1e-3", "logits:1e-2"]`` by output, ``""`` for all others; the name may hold colons.

    Raises:
        BnfoldError: What is given is no number.
    """
    found = {}
    for text in tolerances or ():
        name, _, number = text.rpartition(":")
        try:
            found[name] = float(number)
        except ValueError:
            raise BnfoldError(f"--tolerance {text}: give NUMBER or OUTPUT:NUMBER") from None
    return found


def refuse_overwriting(files: tuple[ReportFile, ...], protected: Collection[Path]) -> None:
    """See that no report takes the place of another file of the command.

    Raises:
        BnfoldError: One does, or no file can be at one of the paths.
    """
    if not files:
        return
    from bnfold.modelfile import resolved

    taken = {resolved(path) for path in protected}
    for format, path in files:  # noqa: A001 - as on the command line
        if resolved(path) in taken:
            raise BnfoldError(f"--report {format}={path}: would overwrite another file of this command")


def files_of(source: str) -> tuple[Path, ...]:
    """Where the code or the program of a SOURCE is, if it is in a file: in that of ``net.py:Net``, or in itself."""
    return Path(source), Path(source.rpartition(":")[0])


def _parse(report: str, *, pictures: bool) -> ReportFile:
    name, _, path = report.partition("=")
    if name in [*Picture] and not pictures:
        raise BnfoldError(f"--report {report}: only bench has a picture to draw")
    formats = [*Format, *Picture] if pictures else [*Format]
    if name not in formats or not path:
        raise BnfoldError(f"--report {report}: give FORMAT=PATH with FORMAT one of {', '.join(formats)}")
    if path == "-":
        raise BnfoldError(f"--report {report}: give the path of a file; --format {name} prints to stdout")
    if not Path(path).parent.is_dir() or (Path(path).exists() and not Path(path).is_file()):
        raise BnfoldError(f"--report {report}: cannot write a file there")
    if name not in [*Picture]:
        return Format(name), Path(path)
    from bnfold.reporting.pictures import require

    require()
    return Picture(name), Path(path)


def emit(report: Report, format: Format, files: tuple[ReportFile, ...]) -> None:  # noqa: A002
    """Write the report to the files that ``--report`` asked for, and print it to stdout."""
    write_files(report, files)
    show(report, format)


def write_files(report: Report, files: tuple[ReportFile, ...]) -> None:
    """Write the report to files, each all or nothing.

    Raises:
        ModelFileError: One cannot be written.
    """
    from bnfold.modelfile import staged

    for format, path in files:  # noqa: A001 - as on the command line
        with staged(path) as temporary:
            if isinstance(format, Picture):
                temporary.write_bytes(report.draw(format))
                continue
            # Names of files may hold bytes that are no text.
            temporary.write_text(report.render(format), encoding="utf-8", errors="backslashreplace")


def show(report: Report, format: Format) -> None:  # noqa: A002
    """Print the report to stdout, and append it to the summary of the step where GitHub runs this."""
    from rich.console import Console

    terminal = Console()
    if format is Format.TABLE and terminal.is_terminal:
        report.show(terminal)
    else:
        say(report.render(format))
    append_summary(report)


def say(text: str) -> None:
    """Print to stdout. A reader that has gone, as ``| head -1`` does, changes no answer and no exit code."""
    try:
        typer.echo(text, nl=False)
    except BrokenPipeError:
        forget_output()


def forget_output() -> None:
    """What stdout did not take it will not take at the end either, where it would be a traceback."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parse_arguments(options: list[str] | None) -> dict[str, object]:
    """What ``--arg`` gives a factory.

    Raises:
        BnfoldError: One is no KEY=VALUE.
    """
    return dict(map(_parse_argument, options or ()))


def _parse_argument(text: str) -> tuple[str, object]:
    """``width=0.5`` as a name and a value: a literal of Python where it is one, else the text."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise BnfoldError(f"--arg {text}: give KEY=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return name, value
