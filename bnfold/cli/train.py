"""``bnfold train``: train a small network of the zoo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnfold.cli.options import FormatOption, ReportOption, emit, parse_reports
from bnfold.reporting import Format, Report

__all__ = ["train"]


def train(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A network of the zoo, such as digits_cnn; an unknown name lists them."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where to write (default: models/NAME)."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|folder:PATH",
            help="breast_cancer, digits, fashion, mnist5k, wine, or a directory of pictures per class.",
            show_default="the network's own",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="FOLDER", help="Where the IDX files of fashion are.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training data.", show_default="the network's own, mostly 20")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    lr: Annotated[
        float | None,
        typer.Option(help="Learning rate of the first epoch.", show_default="the network's own, mostly 0.05"),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows a step, all processes together.", show_default="mostly 64")
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            metavar="sgd|adamw",
            help="SGD with momentum 0.9, or AdamW.",
            show_default="the network's own, mostly sgd",
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            metavar="cosine|constant",
            help="A cosine from the learning rate to 0, or no change.",
            show_default="mostly cosine",
        ),
    ] = None,
    norm: Annotated[
        str,
        typer.Option(
            metavar="batch|none|ghost:N",
            help="What stands where the network has BatchNorm; ghost takes the statistics of groups of N rows.",
        ),
    ] = "batch",
    placement: Annotated[
        str | None,
        typer.Option(
            metavar="pre|post|input",
            help="Linear-BN-activation, Linear-activation-BN or BN-Linear-activation, where the network has them.",
            show_default="the network's own",
        ),
    ] = None,
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
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="Only cpu promises the same bytes.")] = "cpu",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace weights or a checkpoint that are there.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint of a run that was interrupted, if there is one.")
    ] = False,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the option's name
    report: ReportOption = None,
) -> None:
    """Train a small network with BatchNorm; write its weights, metrics, curve and card.

    With several GPUs or machines: torchrun --nproc-per-node 2 -m bnfold train NAME …
    """
    from bnfold import training
    from bnfold.reporting.training import document, suite
    from bnfold.training.files import NAMES
    from bnfold.training.processes import is_first

    folder = output or Path("models") / name
    files = parse_reports(report, protected=[folder / name for name in NAMES])

    result = training.train(
        name,
        output=output,
        data=data,
        data_dir=data_dir,
        epochs=epochs,
        seed=seed,
        lr=lr,
        batch_size=batch_size,
        optimizer=optimizer,
        schedule=schedule,
        norm=norm,
        placement=placement,
        momentum=momentum,
        eps=eps,
        exact_stats=exact_stats,
        target=target,
        device=device,
        overwrite=overwrite,
        resume=resume,
        progress=True,
    )
    if is_first():
        emit(Report("training", result, document(result), (suite(result),)), format, files)
    raise typer.Exit(0 if result else 1)
