"""``bnfold bench``: is one model faster than another, here?"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from bnfold.cli.options import FormatOption, MinSpeedupOption, PicturedReportOption, emit, parse_reports, progress
from bnfold.reporting import Format, Report
from bnfold.runtime.sessions import Level  # noqa: TC001 - typer reads the annotations

__all__ = ["bench"]


def bench(
    reference: Annotated[
        Path, typer.Argument(metavar="REFERENCE", readable=False, help="The .onnx file to measure against.")
    ],
    candidate: Annotated[Path, typer.Argument(metavar="CANDIDATE", readable=False, help="The .onnx file in question.")],
    level: Annotated[
        list[Level] | None,
        typer.Option(
            help="How much onnxruntime may optimise; one or several. Default: disabled, and all, its own default."
        ),
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="What symbolic batch dimensions become; one or several. Default: 1.")
    ] = None,
    threads: Annotated[
        list[int] | None, typer.Option(min=1, help="Threads of one inference on the CPU; one or several. Default: 1.")
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:KEY=VALUE,…]",
            help="Time on this execution provider: cpu, cuda, openvino, … Exit 3 unless it really runs the Conv, "
            "ConvTranspose, Gemm, MatMul and BatchNormalization of both models. Repeatable. Default: cpu.",
        ),
    ] = None,
    pairs: Annotated[int, typer.Option(min=2, help="Pairs of fresh sessions at each place of the grid, at least.")] = 7,
    warmup: Annotated[int, typer.Option(min=0, help="Inferences of each session that are not timed.")] = 3,
    time_budget: Annotated[
        float | None,
        typer.Option(min=1, metavar="SECONDS", help="More pairs while time lasts; equal parts for all places."),
    ] = None,
    loads: Annotated[
        bool, typer.Option("--loads/--no-loads", help="Time loading and the first inference too, in fresh processes.")
    ] = True,
    processes: Annotated[
        bool, typer.Option("--processes", help="Take the latencies, too, in fresh processes: four for a pair, A B B A.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Tell where the time goes, operator by operator, at each place.")
    ] = False,
    min_speedup: MinSpeedupOption = None,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How long one process may take.")] = 600,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the option's name
    report: PicturedReportOption = None,
) -> None:
    """Time two models in turns, in onnxruntime: the speed-up, its 95 % interval, and what this machine can tell apart.

    Exits with 1 when a --min-speedup is not shown, 2 when a file or an option cannot be used, 3 when a model cannot be
    run, or not where it was asked for, and else with 0, whatever is faster.
    """
    files = parse_reports(report, protected=(reference, candidate), pictures=True)
    from bnfold import benchmarking
    from bnfold.reporting.distributions import distributions
    from bnfold.reporting.timing import document, suite

    with progress() as show:
        result = benchmarking.benchmark(
            reference,
            candidate,
            levels=level or None,
            batches=batch or (1,),
            threads=threads or (1,),
            providers=provider or ("cpu",),
            pairs=pairs,
            warmup=warmup,
            time_budget=time_budget,
            loads=loads,
            processes=processes,
            profile=profile,
            min_speedup=min_speedup or (),
            timeout=timeout,
            progress=show,
        )
    made = Report("benchmark", result, document(result), (suite(result),), distributions=distributions(result))
    emit(made, format, files)
    if not result:
        raise typer.Exit(1)
