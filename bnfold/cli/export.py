"""``bnfold export``: PyTorch to ONNX, every BatchNormalization kept."""

from __future__ import annotations

import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnfold.cli.options import (
    ArgumentsOption,
    FormatOption,
    InputsOption,
    ReportOption,
    files_of,
    parse_arguments,
    parse_reports,
    show,
    write_files,
)
from bnfold.errors import BnfoldError, VerificationError
from bnfold.reporting import Format, Report

if TYPE_CHECKING:
    from bnfold.verifying import Comparison

__all__ = ["export"]

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A network of the zoo, FILE.py:FACTORY, PACKAGE.MODULE:FACTORY (their code is run), "
            "timm:NAME, torchvision:NAME, hf:FOLDER, or an exported program FILE.pt2.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The file to write (for the zoo: model.onnx beside the weights)."
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The weights to load: .safetensors, or .pt, of which tensors alone are read (for the zoo: "
            "models/SOURCE/weights.safetensors).",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict/--no-strict", help="Weights that are missing or left over are an error.")
    ] = True,
    arg: ArgumentsOption = None,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(
            "--input-shape",
            metavar="[NAME:]SHAPE[:TYPE]",
            help="1x3x224x224, or with a name for each axis of any size: batchx3xHxW, H=224 for one to try. "
            "tokens:batchx16:int64 is an input of integers. Once for each input.",
        ),
    ] = None,
    output_name: Annotated[
        list[str] | None,
        typer.Option("--output-name", metavar="NAME", help="What the graph calls an output. Once for each output."),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Convert the weights first: float16, float32 or float64.")
    ] = None,
    opset: Annotated[int | None, typer.Option(metavar="N", help="The version of ONNX's operators.")] = None,
    inputs: InputsOption = None,
    fold: Annotated[
        bool, typer.Option("--fold", help="Fold the BatchNormalizations at once, and verify that.")
    ] = False,
    simplify: Annotated[
        bool, typer.Option("--simplify", help="Let onnxsim simplify the graph, BatchNormalizations excepted.")
    ] = False,
    external_data_above: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Put weights of more than this, 100MB say, into a file beside the model (above 2 GiB: always).",
        ),
    ] = None,
    allow_download: Annotated[
        bool, typer.Option("--allow-download", help="Hubs may download, and give pretrained weights.")
    ] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Load a .pt2, which can run code.")] = False,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the option's name
    report: ReportOption = None,
) -> None:
    """Export a network of PyTorch to ONNX with its BatchNormalizations kept, and check it against PyTorch.

    Exits with 1 and leaves no file when ONNX and PyTorch disagree, or a fold is not equivalent; with 2 when the
    network, its weights or its inputs cannot be used, 3 when the model cannot be run.
    """
    source_file = weights or Path("models") / source / "weights.safetensors"
    target = output or source_file.with_name("model.onnx")
    needed = (*files_of(source), source_file, target, Path(f"{target}.data"), *(inputs or ()))
    files = parse_reports(report, protected=needed)
    arguments = parse_arguments(arg)
    limit = None if external_data_above is None else _size(external_data_above)
    from bnfold import exporting
    from bnfold.reporting.exporting import document, suite

    try:
        with redirect_stdout(sys.stderr):  # what the user's own code prints is no part of the report
            result = exporting.export(
                source,
                output=output,
                weights=weights,
                strict=strict,
                arguments=arguments,
                input_shape=input_shape or (),
                output_names=output_name or (),
                dtype=dtype,
                opset=opset,
                inputs=inputs or None,
                fold=fold,
                simplify=simplify,
                external_data_above=limit,
                allow_download=allow_download,
                trust=trust,
            )
    except VerificationError as error:
        refused = _refused(error.comparison)
        show(refused, format)
        write_files(refused, files)
        raise
    done = Report("export", result, document(result), suite(result))
    write_files(done, files)
    show(done, format)


def _refused(comparison: Comparison) -> Report:
    """All that was checked of a fold that is not equivalent."""
    from bnfold.reporting.comparison import document, suite

    return Report("comparison", comparison, document(comparison), (suite(comparison),))


def _size(text: str) -> int:
    """``100MB`` in bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if found is None or found[2].upper() not in _UNITS:
        raise BnfoldError(f"--external-data-above {text}: give a number of bytes, or 100MB, 1GiB")
    return int(float(found[1]) * _UNITS[found[2].upper()])
