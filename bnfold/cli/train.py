"""``bnfold train``: train a small network of the zoo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnfold.cli.options import FormatOption, ReportOption, emit, parse_reports
from bnfold.reporting import Format, Report

__all__ = ["train"]


def train(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The network: digits_cnn.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where to write (default: models/NAME)."),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training data.")] = 20,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    lr: Annotated[float, typer.Option(help="Learning rate of the first epoch.")] = 0.05,
    batch_size: Annotated[int, typer.Option(help="Rows a step.")] = 64,
    optimizer: Annotated[str, typer.Option(metavar="sgd|adamw", help="SGD with momentum 0.9, or AdamW.")] = "sgd",
    schedule: Annotated[
        str, typer.Option(metavar="cosine|constant", help="A cosine from the learning rate to 0, or no change.")
    ] = "cosine",
    norm: Annotated[
        str,
        typer.Option(
            metavar="batch|none|ghost:N",
            help="What stands where the network has BatchNorm; ghost takes the statistics of groups of N rows.",
        ),
    ] = "batch",
    momentum: Annotated[
        float | None, typer.Option(help="How far a batch moves the running statistics, 0 to 1.")
    ] = None,
    eps: Annotated[float | None, typer.Option(help="What BatchNorm adds to the variance.")] = None,
    exact_stats: Annotated[
        bool, typer.Option("--exact-stats", help="Compute the running statistics anew at the end, from all data.")
    ] = False,
    target: Annotated[
        float | None,
        typer.Option(help="End at this held-out accuracy, 0 to 1; exit 1 when it is not reached."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace weights that are there.")] = False,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the option's name
    report: ReportOption = None,
) -> None:
    """Train a small network with BatchNorm; write its weights, metrics and card."""
    folder = output or Path("models") / name
    names = ("weights.safetensors", "metrics.json", "card.md", "model.onnx")
    files = parse_reports(report, protected=[folder / name for name in names])
    from bnfold import training
    from bnfold.reporting.training import document, suite

    result = training.train(
        name,
        output=output,
        epochs=epochs,
        seed=seed,
        lr=lr,
        batch_size=batch_size,
        optimizer=optimizer,
        schedule=schedule,
        norm=norm,
        momentum=momentum,
        eps=eps,
        exact_stats=exact_stats,
        target=target,
        overwrite=overwrite,
        progress=True,
    )
    emit(Report("training", result, document(result), (suite(result),)), format, files)
    raise typer.Exit(0 if result else 1)
