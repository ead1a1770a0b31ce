"""What folding gains on a GPU, and whether it stays exact there: run ``python -m benchmarks.gpu``.

Everything in one command, for a machine that is at hand for a short time: each network is folded, verified on the
provider (``bnfold.verify``), and timed against itself unfolded (``bnfold.benchmark``): pairs of fresh sessions in
turns, at each batch and level, from host to host and on the device alone, with TF32 as onnxruntime has it and without.
Session creation and the first inference come from fresh processes, at the first batch and the last level only: on a
GPU these take seconds each. The networks are those of ``models/`` and, generated with random weights in their real
shapes (``architectures.py``), ResNet-50, MobileNetV2, LeViT, the generator of DCGAN, and PointNet.

The file of results is written anew after each network, and keeps what it has of others if it was measured in the same
environment: a run that was cut off goes on with ``--networks`` and the rest of them. It begins with the environment,
as ``# name: value``. Its columns:

    network             which, and
    batch_norms         how many BatchNormalizations it has
    left                how many of them are left after the fold
    equivalent          what ``bnfold verify`` said on the provider: yes, no, or not checked
    error_ratio         error of the folded network over that of the unfolded, both against float64, where it is worst
    status              ok, or what went wrong
    provider            where it was timed; without TF32 it ends with ``use_tf32=0``
    algo_search         how cuDNN chose its algorithms: ``cudnn_conv_algo_search``, as the session tells it
    batch, level        where else
    what                latency, from host to host; on the device; load, which makes a session; or first run
    reference_ms        the median of the unfolded network
    candidate_ms        and of the folded one
    speedup, low, high  with its interval: above 1, the folded network is faster
    detectable          the least speed-up that could have been found, by a control
    change              faster, slower, no change, or inconclusive
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

import bnfold
from benchmarks import fold, inference
from benchmarks.architectures import ARCHITECTURES
from bnfold.reporting.timing import timings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bnfold.benchmarking import Cell

_TRAINED = [name for name in inference.NETWORKS if name not in ARCHITECTURES]
NETWORKS = (*_TRAINED, "resnet50", "mobilenet_v2", "levit", "dcgan", "pointnet")
_NOTHING = float("nan")
_LIBRARIES = r"nvidia-(cuda-runtime|cudnn|cublas)\b"
_GPU = ("gpu", "driver", "gpu_memory")


@dataclass(frozen=True)
class Row:
    """One quantity at one place of the grid; the columns are explained on top."""

    network: str
    batch_norms: int
    left: int
    equivalent: str
    error_ratio: float
    status: str = "ok"
    provider: str = ""
    algo_search: str = ""
    batch: int = 0
    level: str = ""
    what: str = ""
    reference_ms: float = _NOTHING
    candidate_ms: float = _NOTHING
    speedup: float = _NOTHING
    low: float = _NOTHING
    high: float = _NOTHING
    detectable: float = _NOTHING
    change: str = ""


def measure(network: str, options: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Fold a network, verify what came out, and time it; what goes wrong is a row, too."""
    source, own = folder / "network.onnx", folder / "folded.onnx"
    onnx.save(inference.NETWORKS[network](), source)
    bnfold.fold(source).save(own)
    row = Row(network, fold.count(source)[1], fold.count(own)[1], "not checked", _NOTHING)
    known = _verified(row, source, own, options)
    if known.status != "ok":
        yield known
    for part in _parts(options):  # apart: a batch that does not fit into the memory of the device costs no other
        try:
            cells = bnfold.benchmark(source, own, **part).cells
        except bnfold.BnfoldError as error:
            yield replace(known, status=_line(error))
        else:
            for cell in cells:
                yield from _rows(replace(known, status="ok"), cell)


def _verified(row: Row, source: Path, own: Path, options: argparse.Namespace) -> Row:
    """The row with the verdict of the provider at all levels."""
    try:
        result = bnfold.verify(source, own, providers=[options.provider], levels=options.levels)
    except bnfold.BnfoldError as error:
        return replace(row, status=_line(error))
    ratios = [one.error_ratio for one in result.outputs if one.error_ratio is not None]
    failed = "; ".join(f"{check.name}: {check.message}" for check in result.checks if check.verdict == "fail")
    verdict = {"equivalent": "yes" if result else "no", "error_ratio": max(ratios, default=_NOTHING)}
    return replace(row, **verdict, status=f"not equivalent: {failed}" if failed else "ok")


def _parts(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The latencies at each batch, and one place in fresh processes, for what only these can tell."""
    grid = {"providers": [options.provider], "pairs": options.pairs, "progress": _tell}
    for batch in options.batches:
        yield {**grid, "batches": [batch], "levels": options.levels, "loads": False}
    if options.loads:
        yield {**grid, "batches": options.batches[:1], "levels": options.levels[-1:]}


def _rows(known: Row, cell: Cell) -> Iterator[Row]:
    """What was timed there; with loads, only these: the latencies of that place come with the others."""
    for what, timing in timings(cell):
        if cell.load is not None and timing in (cell.latency, cell.on_device):
            continue
        yield replace(
            known,
            provider=cell.provider,
            algo_search=cell.settings.get("cudnn_conv_algo_search", ""),
            batch=cell.batch,
            level=str(cell.level),
            what=what,
            reference_ms=timing.reference.median * 1000,
            candidate_ms=timing.candidate.median * 1000,
            speedup=timing.speedup,
            low=timing.low,
            high=timing.high,
            detectable=timing.detectable,
            change=str(timing.change),
        )


def wrong(rows: Sequence[Row]) -> list[str]:
    """What was not equivalent, and what could not be measured."""
    return list(dict.fromkeys(f"{row.network}: {row.status}" for row in rows if row.status != "ok"))


def environment(options: argparse.Namespace) -> dict[str, str]:
    """What the figures depend on: the GPU with its driver and libraries, if there is one, and the machine around it."""
    return {**_gpu(), **inference.environment([], options.pairs), **_libraries(), "provider": options.provider}


def _gpu() -> dict[str, str]:
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(_GPU, (word.strip() for word in said.partition("\n")[0].split(",")), strict=False))


def _libraries() -> dict[str, str]:
    """The packages of Python that bring what CUDA's provider loads."""
    found = {distribution.name.lower(): distribution.version for distribution in metadata.distributions()}
    return {name: found[name] for name in sorted(found) if re.match(_LIBRARIES, name)}


def file_name(surroundings: dict[str, str]) -> str:
    """The name of the file of results of an environment."""
    words = f"{surroundings.get('gpu', surroundings['cpu'])} {surroundings['provider']} {platform.system()}"
    words = re.sub(r"\((R|TM)\)", " ", words, flags=re.IGNORECASE)
    return f"gpu-{re.sub('[^a-z0-9]+', '-', words.lower()).strip('-')}.csv"


def markdown(surroundings: dict[str, str], rows: Sequence[Row]) -> str:
    """A table: a line for each network, provider and batch, with the speed-ups at each level."""
    timed = [row for row in rows if row.what]
    heads = list(dict.fromkeys(_head(row) for row in timed))
    places = dict.fromkeys((row.network, row.provider, row.batch) for row in timed)
    lines = [
        f"{surroundings.get('gpu', surroundings['cpu'])}, onnxruntime {surroundings['onnxruntime']}, "
        f"{surroundings['pairs']} pairs for each ratio.",
        "",
        inference.line("network", "affines", "left", "equivalent", "provider", "batch", *heads),
        "|---|---:|---:|---|---|---:|" + "---:|" * len(heads),
        *(_place([row for row in timed if (row.network, row.provider, row.batch) == place], heads) for place in places),
    ]
    return "\n".join(lines) + "\n"


def _head(row: Row) -> str:
    return f"{row.what}, {row.level}"


def _place(rows: Sequence[Row], heads: Sequence[str]) -> str:
    found = {_head(row): inference.ratio(row) for row in rows}
    one = rows[0]
    facts = (one.network, str(one.batch_norms), str(one.left), one.equivalent, one.provider, str(one.batch))
    return inference.line(*facts, *(found.get(head, "") for head in heads))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _kept(output: Path, surroundings: dict[str, str], networks: Sequence[str]) -> list[Row]:
    """What the file has of other networks, measured as now."""
    known, rows = inference.load(output, Row) if output.exists() else ({}, [])
    return [row for row in rows if known == surroundings and row.network not in networks]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("--provider", default="cuda", help="such as cuda:device_id=1, or cpu to try this program")
    parser.add_argument("--networks", nargs="+", choices=list(inference.NETWORKS), default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--levels", nargs="+", choices=inference.LEVELS, default=["disabled", "all"])
    parser.add_argument("--pairs", type=int, default=7, help="pairs of sessions, for each ratio")
    parser.add_argument("--no-loads", dest="loads", action="store_false", help="start no fresh processes")
    parser.add_argument("--output", type=Path, help="default: a file in benchmarks/results that is named after the GPU")
    parser.add_argument("--markdown", type=Path, metavar="RESULTS", help="only print the table of a file of results")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fold, verify and time, and write a file and its table."""
    options = parse(arguments)
    if options.markdown is not None:
        print(markdown(*inference.load(options.markdown, Row)), end="")
        return
    surroundings = environment(options)
    print(", ".join(f"{name} {value}" for name, value in surroundings.items()))
    output: Path = options.output or fold.RESULTS / file_name(surroundings)
    rows = _kept(output, surroundings, options.networks)
    for network in options.networks:
        _tell(network)
        with tempfile.TemporaryDirectory(prefix="bnfold-benchmark-") as folder:
            rows += measure(network, options, Path(folder).resolve())
        inference.save(output, surroundings, rows, Row)
    print(markdown(surroundings, rows), end="")
    _tell(f"wrote {output}")
    if wrong(rows):
        raise SystemExit("\n".join(wrong(rows)))


if __name__ == "__main__":
    main()
