"""The ``bnfold`` command: one command a file, each parses, calls one public function, and reports.

Exit codes, the same everywhere:

    0   yes
    1   the answer is no: not equivalent, accuracy missed, PyTorch and ONNX disagree, a lint warns
    2   usage, or an input that cannot be used
    3   could not check: a runtime crashed or took too long, a provider was not really used
    70  a bug in bnfold
    130 interrupted (Ctrl-C)
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import inspect as inspection
import itertools
import signal
import sys
import traceback
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from bnfold.cli import bench, check, doctor, export, fold, inspect, lint, study, train, verify
from bnfold.cli.lists import spread
from bnfold.cli.options import forget_output
from bnfold.errors import BnfoldError
from bnfold.startup import start_fast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["app", "main"]

app = typer.Typer(
    name="bnfold",
    help="Move every BatchNormalization of an ONNX model into the weights around it, exactly, and prove it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _help(command: Callable[..., None]) -> str:
    """What a command's docstring says, a line for each paragraph, so that it wraps where the terminal ends.

    Its brackets are text: rich would take ``[tool.bnfold.lint]`` for a style, and show nothing.
    """
    paragraphs = inspection.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs).replace("[", r"\[")


for command in (
    train.train,
    export.export,
    inspect.inspect,
    fold.fold,
    verify.verify,
    bench.bench,
    check.check,
    lint.lint,
    study.study,
    doctor.doctor,
):
    app.command(help=_help(command))(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from bnfold import __version__

        typer.echo(f"bnfold {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Move every BatchNormalization of an ONNX model into the weights around it, exactly, and prove it."""


def main() -> NoReturn:
    """Run the command line and exit; a user's mistake is one line on stderr, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console that has no arrow must not end the command
    for name in ("SIGTERM", "SIGHUP"):  # so that temporary files go; what nohup ignores stays ignored
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda received, _: sys.exit(128 + received))
    start_fast()
    atexit.register(gc.freeze)  # what is still there goes with the process: no need to look for cycles in it
    try:
        app(args=spread(sys.argv[1:]))
    except BnfoldError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except OSError as error:  # no space, no permission, a name too long: not ours to mend
        _complain(str(error))
        forget_output()
        sys.exit(2)
    except MemoryError:
        _complain("not enough memory")
        sys.exit(3)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:  # whatever is no BnfoldError is ours, and says so
        traceback.print_exc()
        print("bnfold: this is a bug in bnfold; please report it with the lines above", file=sys.stderr)  # noqa: T201
        sys.exit(70)
    sys.exit(0)


def _complain(message: str) -> None:
    """One line, the only place where errors are printed; names in it may hold anything."""
    from bnfold.reporting import github
    from bnfold.reporting.document import printable

    if _annotates(sys.argv):  # a failing step without an annotation tells nobody why
        with contextlib.suppress(OSError, ValueError):
            print(github.error(message), end="", flush=True)  # noqa: T201
    print(f"bnfold: {printable(message)}", file=sys.stderr)  # noqa: T201


def _annotates(arguments: list[str]) -> bool:
    return "--format=github" in arguments or ("--format", "github") in itertools.pairwise(arguments)
