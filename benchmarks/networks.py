"""The networks that ``fold.py`` folds: run ``python benchmarks/networks.py NAME FILE`` to write one.

Real shapes and random weights, so that nothing is downloaded. All keep every BatchNormalization:

    startup    three Conv → BatchNormalization → Relu, 50 kB
    affines    a thousand of them, 3000 nodes, small weights
    resnet50   He et al. 2015 (https://arxiv.org/abs/1512.03385), the stride in the 3×3 Conv, 102 MB
    vgg16_bn   Simonyan and Zisserman 2014 (https://arxiv.org/abs/1409.1556) with BatchNormalization, 553 MB
    external   two of them, then six Gemm of 1 GiB in FILE.data, which has holes for their zeros and needs no disk
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable

OPSET = 17
_PAGE = 4096  # bytes; external data begin at a multiple of it


class Builder:
    """Grows a graph of float32, node by node."""

    def __init__(self, channels: int, size: int) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.input = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", channels, size, size])

    def op(self, op_type: str, inputs: list[str], **attributes: object) -> str:
        """A node behind all others; the name of its output."""
        name = f"{op_type}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def constant(self, array: np.ndarray) -> str:
        """The name of a new initializer."""
        name = f"weight_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array.astype(np.float32, copy=False), name))
        return name

    def weight(self, *shape: int) -> np.ndarray:
        """Random numbers that neither blow the signal up nor, with the biases of the affines, let it die."""
        weight = self.rng.standard_normal(shape, np.float32)
        weight /= math.sqrt(math.prod(shape[1:]))
        return weight

    def conv(self, data: str, inputs: int, outputs: int, kernel: int, *, stride: int = 1, bias: bool = False) -> str:
        """A Conv that pads by half its kernel."""
        weights = [self.constant(self.weight(outputs, inputs, kernel, kernel))]
        if bias:
            weights.append(self.constant(self.rng.normal(0, 0.1, outputs)))
        return self.op("Conv", [data, *weights], pads=[kernel // 2] * 4, strides=[stride] * 2)

    def affine(self, data: str, channels: int) -> str:
        """A BatchNormalization with statistics as training leaves them: none of them 0 or 1."""
        scale, var = self.rng.uniform(0.5, 1.5, (2, channels))
        bias, mean = self.rng.normal(0, 0.1, (2, channels))
        return self.op("BatchNormalization", [data, *map(self.constant, (scale, bias, mean, var))])

    def block(self, data: str, inputs: int, outputs: int, *, bias: bool = False) -> str:
        """Conv3×3 → BatchNormalization → Relu."""
        return self.op("Relu", [self.affine(self.conv(data, inputs, outputs, 3, bias=bias), outputs)])

    def gemm(self, data: str, inputs: int, outputs: int) -> str:
        """A fully connected layer as PyTorch exports it."""
        weights = [self.constant(self.weight(outputs, inputs)), self.constant(self.rng.normal(0, 0.1, outputs))]
        return self.op("Gemm", [data, *weights], transB=1)

    def pooled(self, data: str) -> str:
        """The mean of the image, as a vector."""
        return self.op("Flatten", [self.op("GlobalAveragePool", [data])])

    def finish(self, output: str, shape: list[int | str]) -> onnx.ModelProto:
        """The model."""
        outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)]
        graph = helper.make_graph(self.nodes, "benchmark", [self.input], outputs, self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def startup() -> onnx.ModelProto:
    """So small that the time is that of starting up."""
    builder = Builder(3, 16)
    data, channels = "image", 3
    for width in (16, 24, 34):
        data, channels = builder.block(data, channels, width), width
    return builder.finish(builder.gemm(builder.pooled(data), channels, 10), ["N", 10])


def affines(count: int = 1000) -> onnx.ModelProto:
    """So many nodes, with weights so small, that the time is that of the nodes."""
    builder = Builder(8, 8)
    data = "image"
    for _ in range(count):
        data = builder.block(data, 8, 8)
    return builder.finish(data, ["N", 8, 8, 8])


def resnet50() -> onnx.ModelProto:
    """ResNet-50 as torchvision has it: 53 BatchNormalizations, 25.6 million weights."""
    builder = Builder(3, 224)
    data = builder.op("Relu", [builder.affine(builder.conv("image", 3, 64, 7, stride=2), 64)])
    data, channels = builder.op("MaxPool", [data], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]), 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for number in range(blocks):
            stride = 2 if number == 0 and width > 64 else 1
            data, channels = _bottleneck(builder, data, channels, width, stride), 4 * width
    return builder.finish(builder.gemm(builder.pooled(data), channels, 1000), ["N", 1000])


def _bottleneck(builder: Builder, data: str, inputs: int, width: int, stride: int) -> str:
    outputs = 4 * width
    branch = builder.op("Relu", [builder.affine(builder.conv(data, inputs, width, 1), width)])
    branch = builder.op("Relu", [builder.affine(builder.conv(branch, width, width, 3, stride=stride), width)])
    branch = builder.affine(builder.conv(branch, width, outputs, 1), outputs)
    if inputs != outputs:
        data = builder.affine(builder.conv(data, inputs, outputs, 1, stride=stride), outputs)
    return builder.op("Relu", [builder.op("Add", [branch, data])])


def vgg16_bn() -> onnx.ModelProto:
    """VGG-16 with BatchNormalization as torchvision has it: 13 of them, 138 million weights."""
    builder = Builder(3, 224)
    data, channels = "image", 3
    for width, blocks in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(blocks):
            data, channels = builder.block(data, channels, width, bias=True), width
        data = builder.op("MaxPool", [data], kernel_shape=[2, 2], strides=[2, 2])
    data, features = builder.op("Flatten", [data]), 7 * 7 * channels
    for width in (4096, 4096):
        data, features = builder.op("Relu", [builder.gemm(data, features, width)]), width
    return builder.finish(builder.gemm(data, features, 1000), ["N", 1000])


def external(path: Path, width: int = 16384, layers: int = 6) -> None:
    """Write a model whose weights lie in ``path``.data: ``layers`` of zeros, each of ``width``² float32, as holes."""
    builder = Builder(3, 16)
    data = builder.gemm(builder.pooled(builder.block(builder.block("image", 3, 32), 32, 64)), 64, width)
    bias = builder.constant(builder.rng.normal(0, 0.1, width))
    large = [f"large_{layer}" for layer in range(layers)]
    for name in large:
        data = builder.op("Gemm", [builder.op("Relu", [data]), name, bias], transB=1)
    model = builder.finish(data, ["N", width])
    with path.with_name(f"{path.name}.data").open("wb") as stream:
        for tensor in model.graph.initializer:
            content = tensor.raw_data
            tensor.ClearField("raw_data")
            _refer(tensor, path, stream.tell(), len(content))
            stream.write(content)
            stream.seek(-stream.tell() % _PAGE, 1)
        for name in large:
            tensor = model.graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=[width, width])
            _refer(tensor, path, stream.tell(), 4 * width**2)
            stream.seek(4 * width**2 + -(4 * width**2) % _PAGE, 1)
        stream.truncate()
    path.write_bytes(model.SerializeToString(deterministic=True))


def _refer(tensor: onnx.TensorProto, path: Path, offset: int, length: int) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", f"{path.name}.data"), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


INLINE: dict[str, Callable[[], onnx.ModelProto]] = {
    "startup": startup,
    "affines": affines,
    "resnet50": resnet50,
    "vgg16_bn": vgg16_bn,
}


def write(name: str, path: Path) -> None:
    """Write a network to a file, which ``onnx.checker`` accepts."""
    if name == "external":
        external(path)
    else:
        path.write_bytes(INLINE[name]().SerializeToString(deterministic=True))
    onnx.checker.check_model(path)


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]))
