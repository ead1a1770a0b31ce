"""How fast a fold is, whole process, beside ``cp`` and all other tools that fold: run ``python benchmarks/fold.py``.

The networks (``networks.py``) are built here, and need no download. What is compared:

    cp             copies the file: no tool can write its result faster
    bnfold         bnfold fold --no-verify
    onnxruntime    offline optimisation at its BASIC level
    onnxscript     optimizer.optimize_ir, which torch.onnx.export runs by default
    onnxslim       slim
    onnxoptimizer  optimize, with fuse_bn_into_conv as the only pass
    onnxsim        simplify

Tools that are not installed are left out, and named. Of the ways to run one of the others the fastest is taken: a
Python process that imports nothing else, not the command, which checks or prints more, and no pass that can be spared.

Each run is a process of its own (``launch.py``). One run of each tool warms the page cache, counts for nothing, and
shows how many BatchNormalizations are left. Then the tools take turns, and the order rotates from turn to turn, so
that what drifts on the machine hits all alike. Before each run, outside of its time, old outputs are removed and all
that waits to be written to disk is written. bnfold waits until the disk has its result before it gives it its name;
the others do not. In the end ``bnfold verify`` judges what bnfold wrote. A tool that fails, or takes longer than
``--timeout``, is not run again, and is shown with the reason.

The file of results begins with the environment, as ``# name: value``. Its columns:

    model                   the network
    file_bytes              its size on disk, external data included
    batch_norms             how many BatchNormalizations it has
    tool, version           what ran
    status                  ok, or why it failed
    seconds                 wall time, the median of all runs
    seconds_of_runs         of each run
    peak_mib                the most memory that was resident, the median of all runs
    ratio_to_cp             seconds, relative to those of cp
    ratio_to_bnfold         seconds, relative to those of bnfold: above 1, bnfold is faster
    nodes_left              how many nodes the result has
    batch_norms_left        how many of them are BatchNormalizations
    equivalent              what bnfold verify said of bnfold's result: yes, no, or not checked
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import onnx

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
REPEATS = 5
TIMEOUT = 60.0  # seconds of a run that is measured
_CHECK_TIMEOUT = 3600  # of bnfold verify
MODELS = ("vgg16_bn", "resnet50", "affines", "startup")
EXTERNAL = "external"

_PEERS = {
    "onnxruntime": """
import onnxruntime as ort
options = ort.SessionOptions()
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
options.optimized_model_filepath = target
ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
""",
    "onnxscript": """
import onnx_ir as ir
from onnxscript import optimizer
model = ir.load(source)
optimizer.optimize_ir(model)
ir.save(model, target)
""",
    "onnxslim": """
import onnxslim
onnxslim.slim(source, target)
""",
    "onnxoptimizer": """
import onnx, onnxoptimizer
onnx.save(onnxoptimizer.optimize(onnx.load(source), ["fuse_bn_into_conv"]), target)
""",
    "onnxsim": """
import onnx, onnxsim
onnx.save(onnxsim.simplify(source)[0], target)
""",
}
TOOLS = ("cp", "bnfold", *_PEERS)
_TITLES = {
    "vgg16_bn": "VGG-16-BN",
    "resnet50": "ResNet-50",
    "affines": "3000 nodes",
    "startup": "start-up",
    EXTERNAL: "external data",
}
_VERDICTS = {True: "met", False: "not met", None: "not measured"}
_COLUMNS = (
    *("model", "file_bytes", "batch_norms", "tool", "version", "status"),
    *("seconds", "seconds_of_runs", "peak_mib", "ratio_to_cp", "ratio_to_bnfold"),
    *("nodes_left", "batch_norms_left", "equivalent"),
)
_RIVALS = ("onnxsim", "onnxslim", "onnxoptimizer", "onnxscript")  # whom a ResNet-50 must be folded faster than


@dataclass(frozen=True)
class Row:
    """One tool on one network; the columns are explained on top.

    Attributes:
        seconds: Of each run.
        peaks: MiB, of each run.
        nodes_left: None where the tool failed, as ``batch_norms_left``.
    """

    model: str
    file_bytes: int
    batch_norms: int
    tool: str
    version: str
    status: str = "ok"
    seconds: tuple[float, ...] = ()
    peaks: tuple[float, ...] = ()
    nodes_left: int | None = None
    batch_norms_left: int | None = None
    equivalent: str = ""

    @property
    def median(self) -> float:
        """Seconds; NaN for a tool that failed."""
        return statistics.median(self.seconds) if self.seconds and self.status == "ok" else float("nan")

    @property
    def peak(self) -> float:
        """MiB; NaN for a tool that failed."""
        return statistics.median(self.peaks) if self.peaks and self.status == "ok" else float("nan")


class Goal(NamedTuple):
    """What was aimed at, and what came out; ``met`` is None where it was not measured."""

    model: str
    text: str
    figure: str
    met: bool | None


class Run(NamedTuple):
    """One process: wall seconds, MiB, and why it failed, or nothing."""

    seconds: float
    peak: float
    failure: str


class Workplace:
    """The folder in which tools are run, each for at most ``limit`` seconds."""

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder = folder
        self.limit = limit

    def build(self, model: str) -> Path:
        """Write a network, in a process of its own for the memory that it takes."""
        path = self.folder / model / "model.onnx"
        path.parent.mkdir()
        subprocess.run([sys.executable, HERE / "networks.py", model, path], check=True)
        return path

    def target(self, tool: str) -> Path:
        """What a tool writes."""
        return self.folder / f"by_{tool}" / "model.onnx"

    def clear(self, tool: str) -> None:
        """Remove what a tool has written."""
        shutil.rmtree(self.target(tool).parent, ignore_errors=True)

    def fold(self, tool: str, source: Path) -> Run:
        """Run a tool, on a disk that has nothing left to write."""
        self.clear(tool)
        target = self.target(tool)
        target.parent.mkdir()
        os.sync()
        run = self.launch(command(tool, source, target), self.limit)
        return run if run.failure or target.exists() else run._replace(failure="wrote no file")

    def launch(self, command: Sequence[str], limit: float) -> Run:
        """Run a command in a process of its own, as ``launch.py`` does."""
        launcher = [sys.executable, "-I", "-S", os.fspath(HERE / "launch.py"), str(limit)]
        surroundings = {**os.environ, "PYTHONPATH": os.fspath(HERE.parent)}  # this bnfold, and no other
        done = subprocess.run(
            [*launcher, *command], cwd=self.folder, env=surroundings, capture_output=True, text=True, check=True
        )
        result = json.loads(done.stdout)
        said = done.stderr.replace(f"{self.folder}{os.sep}", "")
        return Run(result["seconds"], result["peak_kib"] / 1024, _failure(result["code"], said, limit))

    def equivalent(self, source: Path) -> str:
        """Whether ``bnfold verify`` finds that what bnfold wrote computes the same."""
        if source.parent.name == EXTERNAL:
            return "not checked"  # in float64 it would need twelve GiB
        judge = [sys.executable, "-m", "bnfold", "verify", "--timeout", str(_CHECK_TIMEOUT)]
        failure = self.launch([*judge, str(source), str(self.target("bnfold"))], _CHECK_TIMEOUT).failure
        return "no" if failure.startswith("exit 1:") else "not checked" if failure else "yes"


def _failure(code: int | None, said: str, limit: float) -> str:
    """Why a process failed, in one line; nothing if it did not."""
    if code is None:
        return f"took more than {limit:g} s"
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")
    return f"exit {code}: {last}"[:200] if code else ""


def command(tool: str, source: Path, target: Path) -> list[str]:
    """How a tool is run: ``source`` lies in a folder of its own, and the folder of ``target`` is empty."""
    if tool == "cp":
        return ["cp", *map(str, sorted(source.parent.iterdir())), str(target.parent)]
    if tool == "bnfold":
        return [sys.executable, "-m", "bnfold", "fold", "--no-verify", str(source), "-o", str(target)]
    return [sys.executable, "-c", f"import sys\nsource, target = sys.argv[1:]{_PEERS[tool]}", str(source), str(target)]


def measure(model: str, tools: Sequence[str], place: Workplace, repeats: int, *, check: bool = True) -> list[Row]:
    """Build one network, and let the tools take turns."""
    source = place.build(model)
    size = sum(file.stat().st_size for file in source.parent.iterdir())
    _, batch_norms = count(source)
    rows = {tool: Row(model, size, batch_norms, tool, tool_version(tool) or "") for tool in tools}
    for tool, row in rows.items():
        rows[tool] = _warm_up(row, place, source)
    for turn in range(repeats):
        for tool in rotated(tools, turn):
            if rows[tool].status == "ok":
                rows[tool] = _with_run(rows[tool], place.fold(tool, source))
            if tool != "bnfold":
                place.clear(tool)
    if "bnfold" in rows and rows["bnfold"].status == "ok":
        equivalent = place.equivalent(source) if check else "not checked"
        rows["bnfold"] = replace(rows["bnfold"], equivalent=equivalent)
    place.clear("bnfold")
    shutil.rmtree(source.parent)
    return list(rows.values())


def _warm_up(row: Row, place: Workplace, source: Path) -> Row:
    run = place.fold(row.tool, source)
    if run.failure:
        return replace(row, status=run.failure)
    nodes, batch_norms = count(place.target(row.tool))
    place.clear(row.tool)
    return replace(row, nodes_left=nodes, batch_norms_left=batch_norms)


def _with_run(row: Row, run: Run) -> Row:
    status = run.failure or row.status
    return replace(row, seconds=(*row.seconds, run.seconds), peaks=(*row.peaks, run.peak), status=status)


def rotated(tools: Sequence[str], turn: int) -> list[str]:
    """The tools in the order of a turn: each turn another is the first."""
    first = turn % len(tools)
    return [*tools[first:], *tools[:first]]


def count(path: Path) -> tuple[int, int]:
    """How many nodes a model has, in bodies and functions too, and how many BatchNormalizations among them."""
    model = onnx.load(path, load_external_data=False)
    op_types = [node.op_type for owner in (model.graph, *model.functions) for node in _nodes(owner.node)]
    return len(op_types), op_types.count("BatchNormalization")


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph.node)


def goals(rows: Sequence[Row]) -> list[Goal]:
    """What is aimed at for the networks that were measured."""
    by_model: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_model.setdefault(row.model, {})[row.tool] = row
    return [goal for model, by_tool in by_model.items() if "bnfold" in by_tool for goal in _goals(model, by_tool)]


def _goals(model: str, rows: dict[str, Row]) -> Iterator[Goal]:
    own = rows["bnfold"]
    if model == "vgg16_bn":
        limit = 2 * rows["cp"].median + 0.7 if "cp" in rows else float("nan")
        yield _at_most(model, "at most 2 × `cp` + 0.7 s", own.median, limit, "{:.2f} s")
        installed = [tool for tool in _PEERS if tool in rows]
        yield _faster(model, rows, installed, 3, "at least 3 times as fast as the fastest other tool")
        third = own.file_bytes / 3 / 2**20
        yield _at_most(model, "memory at most a third of the file", own.peak, third, "{:.0f} MiB")
    elif model == "resnet50":
        yield _at_most(model, "at most 0.9 s", own.median, 0.9, "{:.2f} s")
        yield _faster(model, rows, _RIVALS, 1, f"faster than {', '.join(_RIVALS[:-1])} and {_RIVALS[-1]}")
    elif model == "affines":
        yield _at_most(model, "at most 3 s", own.median, 3, "{:.2f} s")
    elif model == "startup":
        yield _at_most(model, "at most 0.7 s", own.median, 0.7, "{:.2f} s")
    elif model == EXTERNAL:
        yield _at_most(model, "memory at most 500 MiB", own.peak, 500, "{:.0f} MiB")


def _at_most(model: str, text: str, value: float, limit: float, form: str) -> Goal:
    if math.isnan(value) or math.isnan(limit):
        return Goal(model, text, "", None)
    return Goal(model, text, f"{form.format(value)} of {form.format(limit)}", value <= limit)


def _faster(model: str, rows: dict[str, Row], rivals: Sequence[str], times: float, text: str) -> Goal:
    """Who fails, or leaves every BatchNormalization, is no rival; with one of the rivals missing nothing is met."""
    ready = {tool: rows[tool].median for tool in rivals if tool in rows and _has_folded(rows[tool])}
    own = rows["bnfold"].median
    if not ready or math.isnan(own):
        return Goal(model, text, "", None)
    fastest = min(ready, key=ready.__getitem__)
    ratio = ready[fastest] / own
    missing = [tool for tool in rivals if tool not in ready]
    without = f", without {' and '.join(missing)}" if missing else ""
    met = ratio >= times and ratio > 1
    return Goal(model, text, f"{ratio:.1f} times as fast as {fastest}{without}", None if met and missing else met)


def _has_folded(row: Row) -> bool:
    return row.status == "ok" and row.batch_norms_left is not None and row.batch_norms_left < row.batch_norms


def wrong(rows: Iterable[Row]) -> list[str]:
    """What makes the figures of bnfold worthless: it failed, or its result is not equivalent."""
    own = [row for row in rows if row.tool == "bnfold"]
    return [
        f"{row.model}: {row.status if row.status != 'ok' else 'not equivalent'}"
        for row in own
        if row.status != "ok" or row.equivalent == "no"
    ]


def markdown(environment: dict[str, str], rows: Sequence[Row]) -> str:
    """The README's two tables: every tool on every network, and the goals."""
    sizes = {row.model: row.file_bytes for row in rows}
    heads = [f"{_TITLES.get(model, model)}, {_size(size)}" for model, size in sizes.items()]
    cells = {(row.tool, row.model): _cell(row, rows) for row in rows}
    names = {row.tool: f"`cp` {row.version}" if row.tool == "cp" else f"{row.tool} {row.version}" for row in rows}
    surroundings = "{cpu} ({cpus}), {system}, {file_system}, Python {python}, onnx {onnx}; median of {repeats}."
    lines = [
        _line("", *heads),
        "|---|" + "---:|" * len(heads),
        *(_line(name, *(cells.get((tool, model), "") for model in sizes)) for tool, name in names.items()),
        "",
        surroundings.format(**environment),
        "",
        _line("", "goal", "measured", ""),
        "|---|---|---|---|",
        *(_line(_TITLES.get(goal.model, goal.model), *goal[1:3], _VERDICTS[goal.met]) for goal in goals(rows)),
    ]
    return "\n".join(lines) + "\n"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(row: Row, rows: Iterable[Row]) -> str:
    if row.status != "ok":
        return f"failed: {row.status}"
    ratio = ratio_to("bnfold", row, rows)
    compared = "" if row.tool in ("cp", "bnfold") or math.isnan(ratio) else f", {ratio:.1f}×"
    left = f", {row.batch_norms_left} left" if row.tool != "cp" and row.batch_norms_left else ""
    return f"{_duration(row.median)}{compared}, {row.peak:.0f} MiB{left}"


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{seconds * 1000:.0f} ms"


def _size(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def ratio_to(tool: str, row: Row, rows: Iterable[Row]) -> float:
    """The median seconds of a row relative to those of a tool on the same network; NaN where one is missing."""
    other = next((other.median for other in rows if (other.model, other.tool) == (row.model, tool)), float("nan"))
    return row.median / other


def save(path: Path, environment: dict[str, str], rows: Sequence[Row]) -> None:
    """Write the file of results."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.writelines(f"# {name}: {value}\n" for name, value in environment.items())
        writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_record(row, rows) for row in rows)


def _record(row: Row, rows: Sequence[Row]) -> dict[str, object]:
    fields = asdict(row)
    del fields["peaks"]
    return {
        **fields,
        "seconds": _number(row.median, 4),
        "seconds_of_runs": " ".join(f"{seconds:.4f}" for seconds in row.seconds),
        "peak_mib": _number(row.peak, 1),
        "ratio_to_cp": _number(ratio_to("cp", row, rows), 3),
        "ratio_to_bnfold": _number(ratio_to("bnfold", row, rows), 3),
    }


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def load(path: Path) -> tuple[dict[str, str], list[Row]]:
    """Read a file of results: the environment and the rows."""
    lines = path.read_text(encoding="utf-8").splitlines()
    environment = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    records = csv.DictReader(line for line in lines if not line.startswith("# "))
    return environment, [_row(record) for record in records]


def _row(record: dict[str, str]) -> Row:
    left = (int(record[name]) if record[name] else None for name in ("nodes_left", "batch_norms_left"))
    return Row(
        record["model"],
        int(record["file_bytes"]),
        int(record["batch_norms"]),
        record["tool"],
        record["version"],
        record["status"],
        tuple(map(float, record["seconds_of_runs"].split())),
        (float(record["peak_mib"]),) if record["peak_mib"] else (),
        *left,
        record["equivalent"],
    )


def tool_version(tool: str) -> str | None:
    """The version of a tool; None if it is not installed."""
    if tool == "cp":
        if shutil.which("cp") is None:
            return None
        said = subprocess.run(["cp", "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S607
        return next(iter(re.findall(r"\d+\.\d[\d.]*", said.partition("\n")[0])), "")
    for distribution in (tool, f"{tool}-gpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def environment(folder: Path, repeats: int) -> dict[str, str]:
    """What the figures depend on."""
    return {
        "cpu": _cpu(),
        "cpus": str(os.cpu_count()),
        "memory_gib": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f}",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "file_system": file_system(folder),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "onnx", "onnx-ir", "protobuf")},
        **{tool: tool_version(tool) or "not installed" for tool in TOOLS},
        "repeats": str(repeats),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def file_system(folder: Path) -> str:
    """The type of the file system that a folder lies on."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    over = [(Path(point), kind) for _, point, kind, *_ in mounts if folder.resolve().is_relative_to(point)]
    return max(over, key=lambda mount: len(mount[0].parts), default=(None, "unknown"))[1]


def file_name(cpu: str, system: str) -> str:
    """The name of the file of results of an environment."""
    words = re.sub(r"\((R|TM)\)|@.*", " ", cpu, flags=re.IGNORECASE)
    return f"fold-{re.sub('[^a-z0-9]+', '-', f'{words} {system}'.lower()).strip('-')}.csv"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print tables, and write a file."""
    options = _parse(arguments)
    if options.markdown is not None:
        print(markdown(*load(options.markdown)), end="")
        return
    models = [*options.models, *([EXTERNAL] if options.external else [])]
    tools = [tool for tool in options.tools if tool_version(tool) is not None]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bnfold-benchmark-", dir=options.folder) as folder:
        surroundings = environment(Path(folder), options.repeats)
        print(", ".join(f"{name} {value}" for name, value in surroundings.items()))
        for model in models:
            place = Workplace(Path(folder).resolve(), options.timeout)
            able = [tool for tool in tools if model != EXTERNAL or tool in ("cp", "bnfold")]
            measured = measure(model, able, place, options.repeats, check=options.check)
            rows += measured
            _show(measured)
    for goal in goals(rows):
        print(f"{goal.model}: {goal.text}: {goal.figure}: {_VERDICTS[goal.met]}")
    if options.output is not None:
        save(options.output, surroundings, rows)
    if wrong(rows):
        raise SystemExit(f"not right: {'; '.join(wrong(rows))}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast the fold is, whole process, beside cp and other tools.")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS)
    parser.add_argument("--external", action="store_true", help="also fold 6 GB of external data, for its memory")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="how often each tool runs; the median counts")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help="seconds that one run may take")
    parser.add_argument("--no-check", dest="check", action="store_false", help="leave what bnfold writes unverified")
    parser.add_argument("--folder", type=Path, help="where to work; it decides which disk is measured")
    parser.add_argument("--output", type=Path, help=f"default, if all is measured: {_default_output()}")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="measure nothing; print the tables of a file")
    options = parser.parse_args(arguments)
    if options.output is None and options.models == MODELS and options.tools == TOOLS:
        options.output = RESULTS / _default_output()
    return options


def _default_output() -> str:
    return file_name(_cpu(), platform.system())


def _show(rows: Sequence[Row]) -> None:
    print(f"{'network':10}{'tool':15}{'seconds':>9}{'× cp':>8}{'× bnfold':>10}{'MiB':>7}{'nodes':>7}{'left':>6}")
    for row in rows:
        if row.status != "ok":
            print(f"{row.model:10}{row.tool:15} {row.status}", flush=True)
            continue
        to_cp, to_own = (ratio_to(tool, row, rows) for tool in ("cp", "bnfold"))
        print(
            f"{row.model:10}{row.tool:15}{row.median:9.3f}{to_cp:8.1f}{to_own:10.2f}"
            f"{row.peak:7.0f}{row.nodes_left:7}{row.batch_norms_left:6}"
            f"{f'  equivalent: {row.equivalent}' if row.equivalent else ''}",
            flush=True,
        )


if __name__ == "__main__":
    main()
