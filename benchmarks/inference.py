"""How fast folded networks run, by bnfold and by other tools that fold: run ``python -m benchmarks.inference``.

The networks (``architectures.py``) are built here, and need no download; those called ``models/…`` are the trained
ones that lie there. Each tool of ``fold.py`` folds each of them;
then ``bnfold.benchmark`` times bnfold's result against the unfolded network, and against what each other tool wrote:
pairs of fresh sessions in turns, at each of onnxruntime's levels, on one thread. So each figure is a ratio with its
95 % interval: above 1, bnfold's result is faster.

``gpu.py`` does the same on a GPU, against the unfolded networks alone.

The file of results begins with the environment, as ``# name: value``. Its columns:

    network             which, and
    batch_norms         how many BatchNormalizations it has
    against             ``unfolded``; ``repairs``, which is bnfold's own ``--repairs`` where something is left; or the
                        tool whose result bnfold's is timed against
    batch_norms_left    how many of them that one has left
    own_left            how many bnfold's has left
    status              ok, or why the other tool's result could not be timed
    provider, batch, level   where both ran
    reference_ms        the median latency of the other one
    speedup, low, high  of bnfold's result, with its interval
    detectable          the least speed-up that could have been found, by a control
    change              faster, slower, no change, or inconclusive; what came out slower was timed again, with three
                        times the pairs, for one ratio in forty is slower by chance
    load_speedup        of making a session in a fresh process; empty without ``--loads``
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import onnx

import bnfold
from benchmarks import fold
from benchmarks.architectures import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from benchmarks import gpu
    from bnfold.benchmarking import Cell

T = TypeVar("T")

LEVELS = ("disabled", "basic", "extended", "all")
UNFOLDED = "unfolded"
REPAIRS = "repairs"
_TRAINED = sorted(Path(__file__).parents[1].glob("models/*/model.onnx"))
NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    **ARCHITECTURES,
    **{f"models/{file.parent.name}": partial(onnx.load, file) for file in _TRAINED},
}
RIVALS = ("onnxruntime", "onnxscript", "onnxslim", "onnxsim")
_AGAIN = 3
_TIMEOUT = 120.0  # seconds that a tool may fold


@dataclass(frozen=True)
class Row:
    """bnfold's result against one other, at one level; the columns are explained on top."""

    network: str
    batch_norms: int
    against: str
    batch_norms_left: int
    own_left: int
    status: str
    provider: str
    batch: int
    level: str
    reference_ms: float
    speedup: float
    low: float
    high: float
    detectable: float
    change: str
    load_speedup: float


def measure(network: str, rivals: Sequence[str], grid: Mapping[str, Any], folder: Path) -> Iterator[Row]:
    """Fold one network with every tool, and time bnfold's result against the others at all places of a grid."""
    place = fold.Workplace(folder, _TIMEOUT)
    source = folder / "network" / "model.onnx"
    source.parent.mkdir()
    onnx.save(NETWORKS[network](), source)
    _, total = fold.count(source)
    failure = place.fold("bnfold", source).failure
    if failure:
        raise SystemExit(f"{network}: bnfold: {failure}")
    own = place.target("bnfold")
    if not bnfold.verify(source, own):
        raise SystemExit(f"{network}: what bnfold wrote is not equivalent")
    _, own_left = fold.count(own)
    for rival in (UNFOLDED, *([REPAIRS] if own_left else []), *rivals):
        other, status = source, "ok"
        if rival == REPAIRS:
            other = place.target(rival)
            other.parent.mkdir()
            bnfold.fold(source, repairs=True).save(other)
        elif rival != UNFOLDED:
            status = place.fold(rival, source).failure or "ok"
            other = place.target(rival)
        left = fold.count(other)[1] if status == "ok" else total
        known = (network, total, rival, left, own_left)
        yield from _against(known, other, own, grid) if status == "ok" else [_failed(known, status)]
        place.clear(rival)


def _against(known: tuple[str, int, str, int, int], other: Path, own: Path, grid: Mapping[str, Any]) -> Iterator[Row]:
    try:
        cells = list(_cells(other, own, grid))
    except bnfold.BnfoldError as error:
        yield _failed(known, str(error)[:200])
        return
    for one in cells:
        latency = one.latency
        yield Row(
            *known,
            status="ok",
            provider=one.provider,
            batch=one.batch,
            level=str(one.level),
            reference_ms=latency.reference.median * 1000,
            speedup=latency.speedup,
            low=latency.low,
            high=latency.high,
            detectable=latency.detectable,
            change=str(latency.change),
            load_speedup=one.load.speedup if one.load else float("nan"),
        )


def _cells(other: Path, own: Path, grid: Mapping[str, Any]) -> Iterator[Cell]:
    """Of hundreds of cells some are slower by chance: those are timed again, longer, and that is what counts."""
    for one in bnfold.benchmark(other, own, **grid).cells:
        if one.latency.change != "slower":
            yield one
            continue
        place = {"levels": [one.level], "providers": [one.provider], "batches": [one.batch]}
        yield from bnfold.benchmark(other, own, **grid | place | {"pairs": _AGAIN * grid["pairs"]}).cells


def _failed(known: tuple[str, int, str, int, int], status: str) -> Row:
    nothing = float("nan")
    return Row(*known, status, "", 0, "", nothing, nothing, nothing, nothing, nothing, "", nothing)


def slower(rows: Iterable[Row]) -> list[str]:
    """Where bnfold's result is slower than another's, beyond the noise."""
    return [
        f"{row.network}, {row.provider}, batch {row.batch}, {row.level}: "
        f"{row.speedup:.2f}× by {row.against} ({row.low:.2f} to {row.high:.2f})"
        for row in rows
        if row.status == "ok" and row.change == "slower"
    ]


def environment(rivals: Sequence[str], pairs: int) -> dict[str, str]:
    """What the figures depend on."""
    known = fold.environment(Path.cwd(), pairs)
    own = ("cpu", "cpus", "memory_gib", "system", "python", "numpy", "onnx", "onnx-ir", "onnxruntime", "bnfold")
    names = dict.fromkeys((*own, *rivals))
    return {**{name: known[name] for name in names if name in known}, "pairs": str(pairs)}


def save(path: Path, surroundings: dict[str, str], rows: Iterable[T], kind: type[T] = Row) -> None:
    """Write the file of results, in columns that are the fields of a row."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.writelines(f"# {name}: {value}\n" for name, value in surroundings.items())
        writer = csv.DictWriter(stream, [field.name for field in fields(kind)], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _text(value) for name, value in asdict(row).items()} for row in rows)


def load(path: Path, kind: type[T] = Row) -> tuple[dict[str, str], list[T]]:
    """Read a file of results: the environment and the rows."""
    lines = path.read_text(encoding="utf-8").splitlines()
    surroundings = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    kinds = {field.name: {"int": int, "float": _number}.get(str(field.type), str) for field in fields(kind)}
    records = csv.DictReader(line for line in lines if not line.startswith("# "))
    return surroundings, [kind(**{name: kinds[name](text) for name, text in record.items()}) for record in records]


def _number(text: str) -> float:
    return float(text or "nan")


def markdown(surroundings: dict[str, str], rows: Sequence[Row]) -> str:
    """A table: for each network what is left, and how fast bnfold's result is against the unfolded and the others."""
    levels = list(dict.fromkeys(row.level for row in rows if row.level))
    asked = [level for level in ("disabled", "all") if level in levels]
    heads = ["network", "affines", "left by bnfold", "by the others"]
    heads += [f"{what}, {level}" for what in ("unfolded", "the others") for level in asked]
    lines = [
        f"{surroundings['cpu']} ({surroundings['cpus']}), onnxruntime {surroundings['onnxruntime']}, "
        f"{', '.join(dict.fromkeys(row.provider for row in rows if row.provider))}, "
        f"{surroundings['pairs']} pairs for each ratio.",
        "",
        line(*heads),
        "|---|" + "---:|" * (len(heads) - 1),
        *(_network(name, rows, asked) for name in dict.fromkeys(row.network for row in rows)),
    ]
    return "\n".join(lines) + "\n"


def _network(name: str, rows: Sequence[Row], levels: Sequence[str]) -> str:
    own = [row for row in rows if row.network == name]
    others = [row for row in own if row.against not in (UNFOLDED, REPAIRS) and row.status == "ok"]
    left = sorted({row.batch_norms_left for row in others})
    cells = [name, str(own[0].batch_norms), str(own[0].own_left), _range(*map(str, left[:1] + left[-1:]))]
    for level in levels:
        cells += [ratio(row) for row in own if row.against == UNFOLDED and row.level == level]
    for level in levels:
        there = sorted((row for row in others if row.level == level), key=lambda row: row.speedup)
        cells.append(_range(*map(ratio, there[:1] + there[-1:])))
    return line(*cells)


def _range(*ends: str) -> str:
    return " to ".join(dict.fromkeys(ends))


def ratio(row: Row | gpu.Row) -> str:
    """In bold where it is faster beyond the noise."""
    text = f"{row.speedup:.2f}×"
    return f"**{text}**" if row.change == "faster" else f"{text} slower" if row.change == "slower" else text


def line(*cells: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def _text(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.4f}" if value == value else ""
    return value


def _show(row: Row) -> None:
    named = f"{row.network:16s} {row.against:12s} {row.batch_norms_left:3d} left of {row.batch_norms:3d}"
    if row.status != "ok":
        print(f"{named}  {row.status}")
        return
    load = f"  load {row.load_speedup:.2f}×" if row.load_speedup == row.load_speedup else ""
    print(
        f"{named}  {row.provider} {row.batch} {row.level:9s} {row.reference_ms:8.3f} ms  "
        f"{row.speedup:5.2f}× ({row.low:.2f} to {row.high:.2f}) "
        f"{row.change}{load}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Fold, time, print a line a row, and write a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument(
        "--tools", nargs="*", choices=RIVALS, default=list(RIVALS), help="whose results to time against"
    )
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=list(LEVELS))
    parser.add_argument("--providers", nargs="+", default=["cpu"], help="such as openvino or cuda")
    parser.add_argument("--batches", nargs="+", type=int, default=[1])
    parser.add_argument("--loads", action="store_true", help="time making a session, too, in fresh processes")
    parser.add_argument("--pairs", type=int, default=7, help="pairs of sessions, for each ratio")
    parser.add_argument("--folder", type=Path, help="where to work")
    parser.add_argument("--output", type=Path, help="where to write the results")
    parser.add_argument("--markdown", type=Path, metavar="RESULTS", help="only print the table of a file of results")
    options = parser.parse_args(arguments)
    if options.markdown is not None:
        print(markdown(*load(options.markdown)), end="")
        return
    rivals = [tool for tool in options.tools if fold.tool_version(tool) is not None]
    surroundings = environment(rivals, options.pairs)
    print(", ".join(f"{name} {value}" for name, value in surroundings.items()))
    grid = {name: getattr(options, name) for name in ("levels", "providers", "batches", "loads", "pairs")}
    rows: list[Row] = []
    for network in options.networks:
        with tempfile.TemporaryDirectory(prefix="bnfold-benchmark-", dir=options.folder) as folder:
            for row in measure(network, rivals, grid, Path(folder).resolve()):
                _show(row)
                rows.append(row)
    missing = [tool for tool in options.tools if tool not in rivals]
    if missing:
        print(f"not installed: {', '.join(missing)}")
    for line in slower(rows) or ["bnfold's result is never slower beyond the noise"]:
        print(line)
    if options.output is not None:
        save(options.output, surroundings, rows)
        print(f"wrote {os.fspath(options.output)}", file=sys.stderr)


if __name__ == "__main__":
    main()
