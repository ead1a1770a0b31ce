"""Networks whose inference is timed by ``inference.py``, with a BatchNormalization in every position that is in use.

Random weights, statistics as training leaves them, and the real shapes unless it says otherwise. Where other tools
leave affines behind:

    preact_resnet18   affine and Relu in front of each Conv (He et al. 2016, https://arxiv.org/abs/1603.05027)
    iresnet18         affine → Conv → affine → PRelu, as face recognition uses it (Deng et al. 2018,
                      https://arxiv.org/abs/1801.07698), with one affine behind the last Gemm
    dcgan             ConvTranspose → affine (Radford et al. 2015, https://arxiv.org/abs/1511.06434)
    pointnet          MatMul → Add → affine on points (Qi et al. 2016, https://arxiv.org/abs/1612.00593), no transforms
    crnn              Conv → affine, then a sequence of columns (Shi et al. 2015, https://arxiv.org/abs/1507.05717),
                      with a MatMul in place of its recurrent layers
    repvgg            three branches, each with its affine, in its training form (Ding et al. 2021,
                      https://arxiv.org/abs/2101.03697): RepVGG-A0
    levit             MatMul → reshape → affine in attention and MLP (Graham et al. 2021,
                      https://arxiv.org/abs/2104.01136): four blocks like those of LeViT-128S's first stage
    bn_mlp            an affine in front of each of four Gemm

And where they do not: ``resnet50`` of ``networks.py``, and

    mobilenet_v2      Conv → affine → Clip, depthwise (Sandler et al. 2018, https://arxiv.org/abs/1801.04381)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper

from benchmarks.networks import Builder, resnet50

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

__all__ = ["ARCHITECTURES"]


def mobilenet_v2() -> onnx.ModelProto:
    """As torchvision has it: 52 affines."""
    builder = _Net(3, 224)

    def clipped(data: str) -> str:
        return builder.op("Clip", [data, builder.constant(np.array(0.0)), builder.constant(np.array(6.0))])

    data, channels = clipped(builder.affine(builder.conv("image", 3, 32, 3, stride=2), 32)), 32
    for expand, outputs, blocks, first in (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    ):
        for number in range(blocks):
            stride, width = first if number == 0 else 1, channels * expand
            branch = data
            if expand > 1:
                branch = clipped(builder.affine(builder.conv(branch, channels, width, 1), width))
            branch = clipped(builder.affine(builder.depthwise(branch, width, 3, stride=stride), width))
            branch = builder.affine(builder.conv(branch, width, outputs, 1), outputs)
            data = builder.op("Add", [data, branch]) if stride == 1 and channels == outputs else branch
            channels = outputs
    data = clipped(builder.affine(builder.conv(data, channels, 1280, 1), 1280))
    return builder.finish(builder.gemm(builder.pooled(data), 1280, 1000), ["N", 1000])


def preact_resnet18() -> onnx.ModelProto:
    """On images of 32², as for CIFAR: 17 affines."""
    builder = _Net(3, 32)
    data, channels = builder.conv("image", 3, 64, 3), 64
    for width in (64, 128, 256, 512):
        for number in range(2):
            stride = 2 if number == 0 and width > 64 else 1
            active = builder.op("Relu", [builder.affine(data, channels)])
            branch = builder.conv(active, channels, width, 3, stride=stride)
            branch = builder.op("Relu", [builder.affine(branch, width)])
            branch = builder.conv(branch, width, width, 3)
            if channels != width:
                data = builder.conv(active, channels, width, 1, stride=stride)
            data, channels = builder.op("Add", [data, branch]), width
    data = builder.op("Relu", [builder.affine(data, channels)])
    return builder.finish(builder.gemm(builder.pooled(data), channels, 10), ["N", 10])


def iresnet18() -> onnx.ModelProto:
    """On faces of 112²: 31 affines."""
    builder = _Net(3, 112)

    def active(data: str, width: int) -> str:
        return builder.op("PRelu", [data, builder.constant(builder.rng.uniform(0.1, 0.4, (width, 1, 1)))])

    data, channels = active(builder.affine(builder.conv("image", 3, 64, 3), 64), 64), 64
    for width in (64, 128, 256, 512):
        for number in range(2):
            stride = 2 if number == 0 else 1
            branch = builder.conv(builder.affine(data, channels), channels, width, 3)
            branch = active(builder.affine(branch, width), width)
            branch = builder.affine(builder.conv(branch, width, width, 3, stride=stride), width)
            if number == 0:
                data = builder.affine(builder.conv(data, channels, width, 1, stride=stride), width)
            data, channels = builder.op("Add", [data, branch]), width
    data = builder.op("Flatten", [builder.affine(data, channels)])
    return builder.finish(builder.affine(builder.gemm(data, channels * 49, 512), 512), ["N", 512])


def dcgan() -> onnx.ModelProto:
    """The generator, from 100 numbers to an image of 64²: 4 affines."""
    builder = _Net(100, 1)
    data, channels = "image", 100
    for width, kernel in ((512, (4, 1, 0)), (256, (4, 2, 1)), (128, (4, 2, 1)), (64, (4, 2, 1))):
        data = builder.op("Relu", [builder.affine(builder.deconv(data, channels, width, *kernel), width)])
        channels = width
    return builder.finish(builder.op("Tanh", [builder.deconv(data, 64, 3, 4, 2, 1)]), ["N", 3, 64, 64])


def pointnet() -> onnx.ModelProto:
    """1024 points, layers shared among them as Conv of one tap, then Gemm: 7 affines."""
    builder = _Net(3, 1024, axes=1)
    data, channels = "image", 3
    for width in (64, 64, 64, 128, 1024):
        weight = builder.constant(builder.weight(width, channels, 1))
        data = builder.op("Conv", [data, weight, builder.constant(builder.rng.normal(0, 0.1, width))])
        data, channels = builder.op("Relu", [builder.affine(data, width)]), width
    data = builder.op("Flatten", [builder.op("GlobalMaxPool", [data])])
    for width in (512, 256):
        data = builder.op("Relu", [builder.affine(builder.gemm(data, channels, width), width)])
        channels = width
    return builder.finish(builder.gemm(data, channels, 40), ["N", 40])


def crnn() -> onnx.ModelProto:
    """A line of 32 by 100 grey pixels: 2 affines as in the paper, and one behind the sequence."""
    builder = _Net(1, 32, width=100)
    data, channels = "image", 1
    for number, width in enumerate((64, 128, 256, 256, 512, 512)):
        data = builder.conv(data, channels, width, 3, bias=True)
        data = builder.op("Relu", [builder.affine(data, width) if number in (4, 5) else data])
        if number in (0, 1):
            data = builder.op("MaxPool", [data], kernel_shape=[2, 2], strides=[2, 2])
        elif number in (3, 5):
            data = builder.op("MaxPool", [data], kernel_shape=[2, 1], strides=[2, 1])
        channels = width
    # N×512×2×25 → N×1024×25 → N×25×1024: what a layer on sequences reads.
    shape = builder.numbers([0, 1024, -1])
    data = builder.op("Transpose", [builder.op("Reshape", [data, shape])], perm=[0, 2, 1])
    data = builder.op("MatMul", [data, builder.constant(builder.weight(256, 1024).T)])
    data = builder.op("Transpose", [data], perm=[0, 2, 1])
    data = builder.op("Relu", [builder.op("Transpose", [builder.affine(data, 256)], perm=[0, 2, 1])])
    data = builder.op("MatMul", [data, builder.constant(builder.weight(37, 256).T)])
    return builder.finish(data, ["N", 25, 37])


def repvgg() -> onnx.ModelProto:
    """RepVGG-A0 in its training form: 61 affines."""
    builder = _Net(3, 224)
    data, channels = "image", 3
    for width, blocks in ((48, 1), (48, 2), (96, 4), (192, 14), (1280, 1)):
        for number in range(blocks):
            stride = 2 if number == 0 else 1
            branches = [builder.affine(builder.conv(data, channels, width, k, stride=stride), width) for k in (3, 1)]
            if channels == width and stride == 1:
                branches.append(builder.affine(data, width))
            total = branches[0]
            for branch in branches[1:]:
                total = builder.op("Add", [total, branch])
            data, channels = builder.op("Relu", [total]), width
    return builder.finish(builder.gemm(builder.pooled(data), channels, 1000), ["N", 1000])


def levit(width: int = 128, heads: int = 4, key: int = 16, blocks: int = 4) -> onnx.ModelProto:
    """A stem of four Conv and four blocks on 196 tokens: 20 affines."""
    builder = _Net(3, 224)
    data, channels = "image", 3
    for outputs in (width // 8, width // 4, width // 2, width):
        data, channels = builder.affine(builder.conv(data, channels, outputs, 3, stride=2), outputs), outputs
        if outputs < width:
            data = builder.op("HardSwish", [data])
    tokens = builder.op("Transpose", [builder.op("Reshape", [data, builder.numbers([0, width, -1])])], perm=[0, 2, 1])
    for _ in range(blocks):
        tokens = builder.op("Add", [tokens, builder.attention(tokens, width, heads, key)])
        hidden = builder.op("HardSwish", [builder.linear(tokens, width, 2 * width)])
        tokens = builder.op("Add", [tokens, builder.linear(hidden, 2 * width, width)])
    return builder.finish(builder.op("ReduceMean", [tokens], axes=[1], keepdims=0), ["N", width])


def bn_mlp(features: int = 256, width: int = 1024) -> onnx.ModelProto:
    """A table's columns, normalised in front of each layer: 4 affines."""
    builder = _Net(features, 0, axes=0)
    data, channels = "image", features
    for outputs in (width, width, width, 10):
        data, channels = builder.gemm(builder.affine(data, channels), channels, outputs), outputs
        if outputs == width:
            data = builder.op("Relu", [data])
    return builder.finish(data, ["N", 10])


class _Net(Builder):
    """With the layers that ``networks.py`` does not need."""

    def __init__(self, channels: int, size: int, *, axes: int = 2, width: int | None = None) -> None:
        super().__init__(channels, size)
        sizes = [size] * (axes - 1) + [width or size] if axes else []
        self.input = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", channels, *sizes])

    def numbers(self, numbers: list[int]) -> str:
        """An initializer of integers, such as a shape."""
        name = f"weight_{len(self.initializers)}"
        self.initializers.append(helper.make_tensor(name, TensorProto.INT64, [len(numbers)], numbers))
        return name

    def depthwise(self, data: str, channels: int, kernel: int, *, stride: int) -> str:
        weight = self.constant(self.weight(channels, 1, kernel, kernel))
        return self.op("Conv", [data, weight], pads=[kernel // 2] * 4, strides=[stride] * 2, group=channels)

    def deconv(self, data: str, inputs: int, outputs: int, kernel: int, stride: int, pad: int) -> str:
        """A ConvTranspose; each output sums ``inputs`` times (kernel / stride)² products."""
        weight = self.rng.standard_normal((inputs, outputs, kernel, kernel), np.float32)
        weight = self.constant(weight / math.sqrt(inputs * (kernel / stride) ** 2))
        return self.op("ConvTranspose", [data, weight], pads=[pad] * 4, strides=[stride] * 2)

    def linear(self, tokens: str, inputs: int, outputs: int) -> str:
        """MatMul, and an affine on what it gives as a table, one row a token: LeViT's Linear_BN, of 196 tokens."""
        rows = self.op("MatMul", [tokens, self.constant(self.weight(outputs, inputs).T)])
        table = self.affine(self.op("Reshape", [rows, self.numbers([-1, outputs])]), outputs)
        return self.op("Reshape", [table, self.numbers([-1, 196, outputs])])

    def attention(self, tokens: str, width: int, heads: int, key: int) -> str:
        """Queries and keys of ``key`` numbers, values of twice as many."""
        value = 2 * key
        every = self.linear(tokens, width, heads * (2 * key + value))
        split = self.op("Reshape", [every, self.numbers([0, 196, heads, 2 * key + value])])
        outputs = [f"{part}_{len(self.nodes)}" for part in "qkv"]
        sizes = self.numbers([key, key, value])
        self.nodes.append(helper.make_node("Split", [split, sizes], outputs, name=f"Split_{len(self.nodes)}", axis=3))
        q = self.op("Transpose", [outputs[0]], perm=[0, 2, 1, 3])
        k = self.op("Transpose", [outputs[1]], perm=[0, 2, 3, 1])
        v = self.op("Transpose", [outputs[2]], perm=[0, 2, 1, 3])
        scores = self.op("Mul", [self.op("MatMul", [q, k]), self.constant(np.array(key**-0.5))])
        biased = self.op("Add", [scores, self.constant(self.rng.normal(0, 0.1, (heads, 196, 196)))])
        mixed = self.op("MatMul", [self.op("Softmax", [biased], axis=-1), v])
        rows = self.op("Reshape", [self.op("Transpose", [mixed], perm=[0, 2, 1, 3]), self.numbers([0, 196, -1])])
        return self.linear(self.op("HardSwish", [rows]), heads * value, width)


ARCHITECTURES: dict[str, Callable[[], onnx.ModelProto]] = {
    "preact_resnet18": preact_resnet18,
    "iresnet18": iresnet18,
    "dcgan": dcgan,
    "pointnet": pointnet,
    "crnn": crnn,
    "repvgg": repvgg,
    "levit": levit,
    "bn_mlp": bn_mlp,
    "resnet50": resnet50,
    "mobilenet_v2": mobilenet_v2,
}
