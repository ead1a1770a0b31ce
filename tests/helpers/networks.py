"""Writes small networks in ONNX text, a layer at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import bnfold
from tests.helpers import oracle
from tests.helpers.models import affines, constant, example, set_constant

if TYPE_CHECKING:
    import onnx_ir as ir

_TYPES = {"Add", "Div", "Mul", "Sub"}


class Network:
    """Each layer is given the names of what it reads and returns the name of what it writes.

    A node has no name of its own, so that reports call it by what it writes.
    """

    def __init__(self, data: str, *, normalise=None) -> None:
        """``data`` is the graph input, as in ``float[N,3,8,8] x``; ``normalise`` writes its BatchNormalizations."""
        self._head = [data]
        self._body: list[str] = []
        self._normalise = normalise or batch_normalization

    def weight(self, *shape: int, name: str = "w") -> str:
        """A constant; its name says what its numbers are like: see ``example``."""
        name = f"{name}_{len(self._head)}"
        self._head.append(f"float[{','.join(map(str, shape))}] {name}")
        return name

    def op(self, call: str, *inputs: str, outputs: int = 1):
        """A node: its type and, behind that, its attributes as ONNX text has them."""
        names = [
            f"{call.split()[0].lower()}_{len(self._body)}{'abc'[i] if outputs > 1 else ''}" for i in range(outputs)
        ]
        self._body.append(f"{', '.join(names)} = {call} ({', '.join(inputs)})")
        return names[0] if outputs == 1 else names

    def integers(self, *numbers: int) -> str:
        return self.op(f"Constant <value_ints = [{', '.join(map(str, numbers))}]>")

    def number(self, number: float) -> str:
        return self.op(f"Constant <value = double {{{number}}}>")

    def conv(self, data: str, *shape: int, stride: int = 1, group: int = 1, pad: int | None = None) -> str:
        """Without a bias, as in front of BatchNormalization; padded to the same size unless ``pad`` says otherwise."""
        return self._conv("Conv", data, shape, stride, group, shape[2] // 2 if pad is None else pad)

    def conv_transpose(self, data: str, *shape: int, stride: int = 1, pad: int = 0) -> str:
        return self._conv("ConvTranspose", data, shape, stride, 1, pad)

    def _conv(self, op_type: str, data: str, shape: tuple[int, ...], stride: int, group: int, pad: int) -> str:
        axes = len(shape) - 2
        attributes = f"group = {group}, strides = {[stride] * axes}, pads = {[pad] * 2 * axes}"
        return self.op(f"{op_type} <{attributes}>", data, self.weight(*shape))

    def bn(self, data: str, channels: int, *, scale: str = "scale", bias: str = "bias") -> str:
        """A BatchNormalization; ``scale="positive"`` and ``bias="zero"`` say what its parameters are like."""
        parameters = [self.weight(channels, name=name) for name in (scale, bias, "mean", "var")]
        return self._normalise(self, data, parameters, channels)

    def linear(self, data: str, inputs: int, outputs: int) -> str:
        return self.op("Gemm", data, self.weight(inputs, outputs), self.weight(outputs))

    def relu(self, data: str) -> str:
        return self.op("Relu", data)

    def add(self, left: str, right: str) -> str:
        return self.op("Add", left, right)

    def reshape(self, data: str, *shape: int) -> str:
        return self.op("Reshape", data, self.integers(*shape))

    def transpose(self, data: str, *perm: int) -> str:
        return self.op(f"Transpose <perm = {list(perm)}>", data)

    def model(self, *outputs: str, seed: int = 0) -> ir.Model:
        """``outputs`` are declared as in ``[N,5] name``; the constants are random, and no layer makes its data grow."""
        body = "\n".join(self._body)
        declared = ", ".join(f"float{output}" for output in outputs)
        model = example(f"network ({', '.join(self._head)}) => ({declared}) {{\n{body}\n}}", seed=seed)
        for name, value in list(model.graph.initializers.items()):
            if name.startswith("w_"):
                set_constant(model, value, constant(model, name) / np.sqrt(max(constant(model, name)[0].size, 1)))
        return model


def batch_normalization(network: Network, data: str, parameters: list[str], channels: int) -> str:
    return network.op("BatchNormalization", data, *parameters)


def remaining(model: ir.Model) -> int:
    """How many affines there are: BatchNormalizations, and constants that are multiplied or added, biases apart."""
    nodes = [node for node in model.graph if node.op_type in _TYPES and not _is_bias(node)]
    return affines(model) + sum(any(_is_constant(value) for value in node.inputs) for node in nodes)


def assert_remain(model: ir.Model, reasons: dict[str, str]) -> bnfold.FoldResult:
    """Exactly these affines stay, by the name of what they write, and part of why; everything is exact."""
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model, tolerance=1e-10)
    assert remaining(result.model) == len(reasons)
    assert {kept.node for kept in result.kept} == set(reasons), [(kept.node, kept.reason) for kept in result.kept]
    for kept in result.kept:
        assert reasons[kept.node] in kept.reason
    return result


def _is_constant(value: ir.Value) -> bool:
    producer = value.producer()
    return value.is_initializer() or (producer is not None and producer.op_type == "Constant")


def _is_bias(node: ir.Node) -> bool:
    producers = [value.producer() for value in node.inputs]
    return node.op_type == "Add" and any(producer and producer.op_type == "MatMul" for producer in producers)
