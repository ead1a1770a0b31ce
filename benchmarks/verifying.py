"""How long it takes to verify a fold of ResNet-50: run ``python benchmarks/verifying.py``.

The network has random weights and random statistics, and takes images of 224² in any batch. Seconds belong to one
machine; the share of the float64 oracle does not.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import bnfold
from bnfold import modelfile
from bnfold.runtime.inputs import default_inputs
from bnfold.verifying import oracle

if TYPE_CHECKING:
    from collections.abc import Sequence


class Builder:
    """Writes nodes and their weights; every method gives the name of what it writes."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, array: np.ndarray) -> str:
        """An initializer of float32."""
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def node(self, op_type: str, *inputs: str, **attributes: object) -> str:
        """A node of one output."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name, **attributes))
        return name

    def conv(self, data: str, into: int, out: int, kernel: int, stride: int, group: int = 1) -> str:
        """Conv and BatchNormalization."""
        read = into // group
        weight = self.rng.normal(size=(out, read, kernel, kernel)) * np.sqrt(2 / (read * kernel**2))
        attributes = {"pads": [kernel // 2] * 4, "strides": [stride] * 2, "group": group}
        value = self.node("Conv", data, self.constant(weight), **attributes)
        return self.node("BatchNormalization", value, *map(self.constant, self.statistics(out)))

    def statistics(self, channels: int) -> tuple[np.ndarray, ...]:
        """scale, bias, mean and var of a BatchNormalization."""
        return (
            self.rng.uniform(0.5, 1.5, channels),
            self.rng.normal(size=channels) * 0.1,
            self.rng.normal(size=channels) * 0.1,
            self.rng.uniform(0.5, 2, channels),
        )

    def model(self, value: str, inputs: Sequence[int], outputs: Sequence[int]) -> onnx.ModelProto:
        """All of it: from ``x`` to ``value``, in any batch."""
        data = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *inputs])
        result = helper.make_tensor_value_info(value, TensorProto.FLOAT, ["N", *outputs])
        graph = helper.make_graph(self.nodes, "network", [data], [result], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def resnet50(size: int = 224, widths: Sequence[int] = (64, 128, 256, 512), seed: int = 0) -> onnx.ModelProto:
    """Of 53 convolutions, as He et al. have it (https://arxiv.org/abs/1512.03385), with the stride in the 3×3."""
    net = Builder(seed)
    value = net.node("Relu", net.conv("x", 3, widths[0], 7, 2))
    value = net.node("MaxPool", value, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = widths[0]
    for stage, (width, blocks) in enumerate(zip(widths, (3, 4, 6, 3), strict=True)):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            inner = net.node("Relu", net.conv(value, channels, width, 1, 1))
            inner = net.node("Relu", net.conv(inner, width, width, 3, stride))
            inner = net.conv(inner, width, 4 * width, 1, 1)
            side = value if block else net.conv(value, channels, 4 * width, 1, stride)
            value, channels = net.node("Relu", net.node("Add", inner, side)), 4 * width
    value = net.node("Flatten", net.node("GlobalAveragePool", value))
    dense = net.constant(net.rng.normal(size=(1000, channels)) / np.sqrt(channels)), net.constant(np.zeros(1000))
    return net.model(net.node("Gemm", value, *dense, transB=1), [3, size, size], [1000])


def main(arguments: Sequence[str] | None = None) -> bnfold.Comparison:
    """Fold, verify, and print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--widths", type=int, nargs=4, default=(64, 128, 256, 512))
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        reference, candidate = Path(folder, "reference.onnx"), Path(folder, "candidate.onnx")
        onnx.save(resnet50(options.size, options.widths), reference)
        result = bnfold.fold(reference)
        result.save(candidate)
        begin = perf_counter()
        comparison = bnfold.verify(reference, candidate)
        total = perf_counter() - begin
        feeds = [one.feeds for one in default_inputs(modelfile.load(reference))]
        begin = perf_counter()
        oracle.evaluate(reference, feeds)
        alone = perf_counter() - begin
    samples = sum(len(feed["x"]) for feed in feeds)
    print(f"{len(result.folded)} folded; {'equivalent' if comparison else 'NOT equivalent'}; {os.cpu_count()} cores")
    print(f"verify: {total:.1f} s; the float64 oracle alone, on {samples} images of {options.size}²: {alone:.1f} s")
    return comparison


if __name__ == "__main__":
    main()
