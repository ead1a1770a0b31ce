"""How long the search takes, and how that grows: run ``python benchmarks/search.py``.

Four kinds of graph, each in several sizes, with weights so small that the time is the search's:

    chain      Conv → BatchNormalization → Relu, one behind the other
    dense      DenseNet: each layer reads the Concat of all before it in its block (of 12 layers)
    residual   pre-activation ResNet: one stream, and BatchNormalization → Relu → Conv twice in each branch
    kept       the same with scales of either sign, so that half of them stay

Of each the script measures, in turn and several times over: to open the file; to fold it; to fold its twin that has
no BatchNormalization. Seconds belong to one machine. What may be compared is the power of the size with which they
grow (1 is linear), and the ratio of folding a model with nothing to fold to opening it. Every fold is checked in
float64 against the unfolded model.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

import bnfold
from bnfold import modelfile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SIZES = (100, 300, 1000)
REPEATS = 3

_CHANNELS = 4
_LAYERS = 12  # of a dense block
_MOST_ERROR = 1e-9  # relative, in float64


class Builder:
    """Grows a graph of float64; ``with_affines`` off leaves the BatchNormalizations out."""

    def __init__(self, *, with_affines: bool) -> None:
        self.rng = np.random.default_rng(0)
        self.with_affines = with_affines
        self.affines = 0
        self.data = ir.val("x", ir.DataType.DOUBLE, [1, _CHANNELS, 4, 4])
        self.graph = ir.Graph([self.data], [], nodes=[], opset_imports={"": 20}, name="benchmark")

    def op(self, op_type: str, inputs: Sequence[ir.Value], **attributes: object) -> ir.Value:
        """A node behind all others; its output."""
        node = ir.node(op_type, inputs, attributes=attributes)
        node.name = node.outputs[0].name = f"{op_type}_{len(self.graph)}"
        self.graph.append(node)
        return node.outputs[0]

    def constant(self, array: np.ndarray) -> ir.Value:
        """An initializer."""
        value = ir.Value(name=f"c{len(self.graph.initializers)}", const_value=ir.tensor(array))
        value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.DOUBLE
        self.graph.register_initializer(value)
        return value

    def conv(self, data: ir.Value, inputs: int, outputs: int = _CHANNELS, kernel: int = 1) -> ir.Value:
        """A Conv that keeps the size of the image."""
        shape = (outputs, inputs, kernel, kernel)
        weight = self.rng.normal(0, 1 / math.sqrt(inputs * kernel**2), shape)
        return self.op("Conv", [data, self.constant(weight)], pads=[kernel // 2] * 4)

    def affine(self, data: ir.Value, channels: int = _CHANNELS, *, negative: bool = False) -> ir.Value:
        """A BatchNormalization, which counts in the twin too; ``negative`` gives every other scale that sign."""
        self.affines += 1
        if not self.with_affines:
            return data
        scale, var = self.rng.uniform(0.5, 1.5, (2, channels))
        bias, mean = self.rng.normal(0, 0.1, (2, channels))
        if negative:
            scale[::2] *= -1
        return self.op("BatchNormalization", [data, *map(self.constant, (scale, bias, mean, var))])

    def finish(self, output: ir.Value) -> ir.Model:
        """The model."""
        output.dtype, output.shape = ir.DataType.DOUBLE, ir.Shape([1, None, 4, 4])
        self.graph.outputs.append(output)
        return ir.Model(self.graph, ir_version=10)


def chain(affines: int, builder: Builder) -> ir.Model:
    """A plain network."""
    data = builder.data
    while builder.affines < affines:
        data = builder.op("Relu", [builder.affine(builder.conv(data, _CHANNELS, kernel=3))])
    return builder.finish(data)


def dense(affines: int, builder: Builder) -> ir.Model:
    """Huang et al. 2017 (https://arxiv.org/abs/1608.06993), in blocks of one size, as many as it takes."""
    data = builder.data
    while builder.affines < affines:
        features = [data]
        while len(features) <= _LAYERS and builder.affines < affines:
            channels = _CHANNELS * len(features)
            joined = builder.op("Concat", features, axis=1)
            narrow = builder.conv(builder.op("Relu", [builder.affine(joined, channels)]), channels)
            features.append(builder.conv(builder.op("Relu", [builder.affine(narrow)]), _CHANNELS, kernel=3))
        data = builder.conv(builder.op("Concat", features, axis=1), _CHANNELS * len(features))
    return builder.finish(data)


def residual(affines: int, builder: Builder) -> ir.Model:
    """He et al. 2016 (https://arxiv.org/abs/1603.05027)."""
    stream = builder.conv(builder.data, _CHANNELS)
    while builder.affines < affines:
        branch = stream
        for _ in range(2):
            branch = builder.conv(builder.op("Relu", [builder.affine(branch)]), _CHANNELS, kernel=3)
        stream = builder.op("Add", [stream, branch])
    return builder.finish(stream)


def kept(affines: int, builder: Builder) -> ir.Model:
    """As ``residual``, with scales of either sign: the first affine of a branch stays, as no Relu carries its scale."""
    stream = builder.conv(builder.data, _CHANNELS)
    while builder.affines < affines:
        branch = builder.op("Relu", [builder.affine(stream, negative=True)])
        branch = builder.affine(builder.conv(branch, _CHANNELS, kernel=3), negative=True)
        branch = builder.conv(builder.op("Relu", [branch]), _CHANNELS, kernel=3)
        stream = builder.op("Add", [stream, branch])
    return builder.finish(stream)


GRAPHS: dict[str, Callable[[int, Builder], ir.Model]] = {
    "chain": chain,
    "dense": dense,
    "residual": residual,
    "kept": kept,
}


@dataclass(frozen=True)
class Row:
    """One graph.

    Attributes:
        graph: Its kind.
        affines: How many BatchNormalizations it has.
        nodes: How many nodes, these among them.
        folded: How many of them go.
        error: The largest difference that the fold makes in float64, relative to the largest output.
        open_s: Seconds to open the file, the median of all repeats.
        fold_s: Seconds to open and fold it, likewise.
        nothing_s: Seconds to open and fold its twin without BatchNormalizations, likewise.
        nothing_ratio: ``nothing_s`` relative to the seconds that opening the twin takes.
    """

    graph: str
    affines: int
    nodes: int
    folded: int
    error: float
    open_s: float
    fold_s: float
    nothing_s: float
    nothing_ratio: float


def measure(kind: str, affines: int, repeats: int) -> Row:
    """Build one graph and its twin, and time them in turn."""
    builder = Builder(with_affines=True)
    model = GRAPHS[kind](affines, builder)
    with tempfile.TemporaryDirectory(prefix="bnfold-benchmark-") as folder:
        path, twin = Path(folder, "model.onnx"), Path(folder, "twin.onnx")
        onnx.save(ir.to_proto(model), path)
        onnx.save(ir.to_proto(GRAPHS[kind](affines, Builder(with_affines=False))), twin)
        result = bnfold.fold(path)  # a first time, which pays for imports, counts for nothing
        modelfile.load(path)
        rounds = [
            (
                _seconds(modelfile.load, path),
                _seconds(bnfold.fold, path),
                _seconds(modelfile.load, twin),
                _seconds(bnfold.fold, twin),
            )
            for _ in range(repeats)
        ]
    open_s, fold_s, _, nothing_s = map(statistics.median, zip(*rounds, strict=True))
    ratio = statistics.median(nothing / opening for _, _, opening, nothing in rounds)
    error = _error(model, result.model)
    return Row(kind, builder.affines, len(model.graph), len(result.folded), error, open_s, fold_s, nothing_s, ratio)


def _seconds(function: Callable[[Path], object], path: Path) -> float:
    start = perf_counter()
    function(path)
    return perf_counter() - start


def _error(reference: ir.Model, candidate: ir.Model) -> float:
    feeds = {"x": np.random.default_rng(1).normal(0, 1, (1, _CHANNELS, 4, 4))}
    expected, got = (ReferenceEvaluator(ir.to_proto(model)).run(None, feeds)[0] for model in (reference, candidate))
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def growth(rows: Sequence[Row]) -> dict[str, float]:
    """By kind of graph, the power of its size with which the seconds of a fold grow: 1 is linear."""
    exponents = {}
    for kind in dict.fromkeys(row.graph for row in rows):
        sizes = sorted((row.affines, row.fold_s) for row in rows if row.graph == kind)
        (least, first), (most, last) = sizes[0], sizes[-1]
        if most > least:
            exponents[kind] = math.log(last / first) / math.log(most / least)
    return exponents


def environment() -> dict[str, object]:
    """What the seconds depend on."""
    return {
        "bnfold": bnfold.__version__,
        **{name: version(name) for name in ("numpy", "onnx", "onnx-ir")},
        "python": platform.python_version(),
        "system": platform.system(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write a file if asked to."""
    parser = argparse.ArgumentParser(description="How long the search takes, and how that grows.")
    parser.add_argument("--sizes", type=int, nargs="+", help="numbers of BatchNormalizations")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="how often each time is taken; the median counts")
    parser.add_argument("--graphs", nargs="+", choices=GRAPHS, default=list(GRAPHS))
    parser.add_argument("--output", type=Path, help="a JSON file, one for each environment")
    options = parser.parse_args(arguments)

    print(", ".join(f"{name} {value}" for name, value in environment().items()), f"· {options.repeats} repeats")
    print(
        f"{'graph':9}{'affines':>8}{'nodes':>7}{'folded':>7}{'error':>9}{'open':>9}{'fold':>9}{'nothing to fold':>22}"
    )
    rows = []
    for kind in options.graphs:
        for size in options.sizes or SIZES:
            row = measure(kind, size, options.repeats)
            rows.append(row)
            print(
                f"{row.graph:9}{row.affines:8}{row.nodes:7}{row.folded:7}{row.error:9.0e}"
                f"{row.open_s:8.2f}s{row.fold_s:8.2f}s{row.nothing_s:8.2f}s{row.nothing_ratio:7.1f}× open",
                flush=True,
            )
    for kind, exponent in growth(rows).items():
        print(f"{kind}: fold grows as size^{exponent:.2f}")
    if options.output is not None:
        content = {
            "schema_version": 1,
            "environment": environment(),
            "repeats": options.repeats,
            "growth": growth(rows),
            "rows": [asdict(row) for row in rows],
        }
        options.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    wrong = [f"{row.graph} of {row.affines}" for row in rows if not row.error <= _MOST_ERROR]
    if wrong:
        raise SystemExit(f"not exact: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
