"""Random graphs of every op that has a rule, and one that has none: whatever is folded is folded exactly."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st

import bnfold
from tests.helpers import oracle
from tests.helpers.models import affines, serialised, set_constant

SCALES = np.array([1.0, 0.5, 2.0, 0.1, -1.0, -0.3, 0.0, 1e-3, 1e3])


class Builder:
    """Grows a graph of float64 from a seed: each step reads any earlier tensor."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        rank = self.rng.integers(2, 5)
        sizes = [int(size) for size in self.rng.integers(2, 5, rank - 1)]
        data = ir.val("x", dtype=ir.DataType.DOUBLE, shape=["N", *sizes])
        self.graph = ir.Graph([data], [], nodes=[], opset_imports={"": 20}, name="random")
        self.model = ir.Model(self.graph, ir_version=10)
        self.tensors: list[tuple[ir.Value, list[int]]] = [(data, sizes)]  # sizes without the batch

    def choice(self, options: list) -> object:
        return options[self.rng.integers(len(options))]

    def constant(self, array: np.ndarray) -> ir.Value:
        value = ir.Value(name=f"c{len(self.graph.initializers)}")
        set_constant(self.model, value, array)
        return value

    def integers(self, *numbers: int) -> ir.Value:
        return self.constant(np.array(numbers, np.int64))

    def weights(self, *shape: int) -> ir.Value:
        return self.constant(self.rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape))

    def op(self, op_type: str, inputs: list, sizes: list[int], **attributes: object) -> None:
        node = ir.node(op_type, inputs, attributes=attributes)
        node.outputs[0].name = f"t{len(self.tensors)}"
        self.graph.append(node)
        self.tensors.append((node.outputs[0], sizes))

    def step(self) -> None:
        value, sizes = self.tensors[-1] if self.rng.random() < 0.7 else self.choice(self.tensors[-4:])
        steps = [self.batch_norm, self.batch_norm, self.relu, self.unary, self.transpose, self.bias, self.matmul]
        steps += {1: [self.gemm, self.unsqueeze], 2: [self.conv, self.flatten], 3: [self.conv, self.flatten]}[
            len(sizes)
        ]
        steps += [self.transposed_conv] if len(sizes) > 1 else []
        steps += [self.sum, self.sum, self.concat] + ([self.pool] if len(sizes) > 1 else [])
        steps += (
            [self.quantised_weight, self.attention, self.einsum]
            if len(sizes) > 1
            else [self.quantised_weight, self.einsum]
        )
        steps += [self.normalise] if len(sizes) > 1 else []
        self.choice(steps)(value, sizes)

    def batch_norm(self, value: ir.Value, sizes: list[int]) -> None:
        count = sizes[0]
        kind = self.rng.integers(3)
        scale = self.rng.choice(SCALES, count) if kind == 0 else self.rng.uniform(0.5, 2, count)
        bias, mean = self.rng.normal(0, 1, (2, count)) * (kind != 1)
        var = self.rng.uniform(0.1, 3, count)
        self.op("BatchNormalization", [value, *map(self.constant, (scale, bias, mean, var))], sizes)

    def relu(self, value: ir.Value, sizes: list[int]) -> None:
        self.op("Relu", [value], sizes)

    def unary(self, value: ir.Value, sizes: list[int]) -> None:
        self.op(self.choice(["Identity", "Dropout", "Tanh"]), [value], sizes)

    def transpose(self, value: ir.Value, sizes: list[int]) -> None:
        order = self.rng.permutation(len(sizes))
        self.op("Transpose", [value], [sizes[i] for i in order], perm=[0, *(int(i) + 1 for i in order)])

    def bias(self, value: ir.Value, sizes: list[int]) -> None:
        shape = [size if self.rng.random() < 0.6 else 1 for size in sizes][self.rng.integers(len(sizes)) :]
        operands = [value, self.weights(*shape)]
        self.op("Add", operands if self.rng.random() < 0.5 else operands[::-1], sizes)

    def matmul(self, value: ir.Value, sizes: list[int]) -> None:
        out = int(self.rng.integers(1, 5))
        if len(sizes) > 1 and self.rng.random() < 0.3:
            self.op("MatMul", [self.weights(out, sizes[-2]), value], [*sizes[:-2], out, sizes[-1]])
        else:
            self.op("MatMul", [value, self.weights(sizes[-1], out)], [*sizes[:-1], out])

    def gemm(self, value: ir.Value, sizes: list[int]) -> None:
        out = int(self.rng.integers(1, 5))
        flip = bool(self.rng.integers(2))
        weight = self.weights(out, sizes[0]) if flip else self.weights(sizes[0], out)
        terms = [[], [self.weights(out)], [self.weights(1, out)], [self.weights(1)]]
        alpha, beta = self.choice([1.0, 0.5]), self.choice([1.0, 2.0, 0.0])
        self.op("Gemm", [value, weight, *self.choice(terms)], [out], transB=int(flip), alpha=alpha, beta=beta)

    def unsqueeze(self, value: ir.Value, sizes: list[int]) -> None:
        self.op("Unsqueeze", [value, self.integers(2)], [*sizes, 1])

    def flatten(self, value: ir.Value, sizes: list[int]) -> None:
        flat = [int(np.prod(sizes))]
        if self.rng.random() < 0.5:
            self.op("Flatten", [value], flat)
        else:
            self.op("Reshape", [value, self.integers(-1, *flat)], flat)

    def conv(self, value: ir.Value, sizes: list[int]) -> None:
        channels, *spatial = sizes
        group = channels if self.rng.random() < 0.3 else 1
        out = group * int(self.rng.integers(1, 3))
        kernel = [int(self.rng.integers(1, min(3, size) + 1)) for size in spatial]
        pad = int(self.rng.integers(2))
        bias = [self.weights(out)] if self.rng.random() < 0.5 else [None] if self.rng.random() < 0.5 else []
        result = [out, *(size + 2 * pad - k + 1 for size, k in zip(spatial, kernel, strict=True))]
        inputs = [value, self.weights(out, channels // group, *kernel), *bias]
        self.op("Conv", inputs, result, group=group, pads=[pad] * 2 * len(kernel))

    def transposed_conv(self, value: ir.Value, sizes: list[int]) -> None:
        channels, *spatial = sizes
        if np.prod(spatial) > 36:
            return
        kernel = [int(k) for k in self.rng.integers(1, 3, len(spatial))]
        out = int(self.rng.integers(1, 4))
        weight = self.weights(channels, out, *kernel)
        if self.rng.random() < 0.5:  # the same taps everywhere
            array = weight.const_value.numpy()
            set_constant(self.model, weight, np.broadcast_to(array[:, :, :1, ...][..., :1], array.shape).copy())
        result = [out, *(size * k for size, k in zip(spatial, kernel, strict=True))]
        self.op("ConvTranspose", [value, weight], result, strides=kernel)

    def sum(self, value: ir.Value, sizes: list[int]) -> None:
        others = [other for other, shape in self.tensors if shape == sizes and other is not value]
        if others:
            operands = [value, self.choice(others[-4:])]
            self.op(self.choice(["Add", "Add", "Sub", "Sum"]), operands[:: self.choice([1, -1])], sizes)
        else:
            self.conv_like(value, sizes)

    def conv_like(self, value: ir.Value, sizes: list[int]) -> None:
        """A branch of the same shape, so that sums have something to add."""
        if len(sizes) == 1:
            self.op("Gemm", [value, self.weights(sizes[0], sizes[0]), self.weights(sizes[0])], sizes)
        else:
            kernel = [1] * (len(sizes) - 1)
            self.op("Conv", [value, self.weights(sizes[0], sizes[0], *kernel)], sizes)

    def concat(self, value: ir.Value, sizes: list[int]) -> None:
        axis = int(self.rng.integers(len(sizes))) if self.rng.random() < 0.2 else 0
        fits = [(v, s) for v, s in self.tensors if len(s) == len(sizes) and _without(s, axis) == _without(sizes, axis)]
        chosen = [self.choice(fits[-4:]) for _ in range(int(self.rng.integers(1, 3)))]
        total = [*sizes]
        total[axis] += sum(shape[axis] for _, shape in chosen)
        if total[axis] <= 12:
            self.op("Concat", [value, *(other for other, _ in chosen)], total, axis=axis + 1)

    def pool(self, value: ir.Value, sizes: list[int]) -> None:
        channels, *spatial = sizes
        if self.rng.random() < 0.3:
            kind = self.choice(["GlobalAveragePool", "GlobalMaxPool"])
            self.op(kind, [value], [channels, *[1] * len(spatial)])
            return
        pad = int(self.rng.integers(2))
        kernel = [min(2 + pad, size + 2 * pad) for size in spatial]
        result = [channels, *(size + 2 * pad - k + 1 for size, k in zip(spatial, kernel, strict=True))]
        kind, extra = self.choice([("MaxPool", {}), ("AveragePool", {}), ("AveragePool", {"count_include_pad": 1})])
        self.op(kind, [value], result, kernel_shape=kernel, pads=[pad] * 2 * len(kernel), **extra)

    def quantised_weight(self, value: ir.Value, sizes: list[int]) -> None:
        """A Gemm, Conv or MatMul whose weight a DequantizeLinear writes, from 8 bits."""
        out = int(self.rng.integers(1, 5))
        kind = "Gemm" if len(sizes) == 1 else self.choice(["Conv", "MatMul"])
        shape = {"Conv": [out, sizes[0], *[1] * (len(sizes) - 1)]}.get(kind, [sizes[-1], out])
        codes = self.constant((2 * self.rng.integers(-9, 10, shape) + 1).astype(np.int8))  # none is the zero point
        axis = int(self.rng.integers(2))
        count = [shape[axis]] if self.rng.random() < 0.5 else []
        step = self.constant(self.rng.uniform(0.02, 0.1, count))
        zero = [self.constant(2 * self.rng.integers(-4, 5, count).astype(np.int8))] if self.rng.random() < 0.5 else []
        weight = ir.node("DequantizeLinear", [codes, step, *zero], attributes={"axis": axis})
        weight.outputs[0].name = f"w{len(self.tensors)}"
        self.graph.append(weight)
        result = [out, *sizes[1:]] if kind == "Conv" else [*sizes[:-1], out]
        self.op(kind, [value, weight.outputs[0]], result)

    def einsum(self, value: ir.Value, sizes: list[int]) -> None:
        """One label is summed over, or none is, and the constant may have another one as well."""
        labels = "bcde"[: len(sizes) + 1]
        summed = int(self.rng.integers(len(sizes)))
        out = int(self.rng.integers(1, 5))
        kept = [label for label in labels[1:] if label != labels[summed + 1]]
        extra = kept[:1] if self.rng.random() < 0.3 else []
        size = {"z": out, **dict(zip(labels[1:], sizes, strict=True))}
        weight = [labels[summed + 1], "z", *extra]
        result = [*kept, "z"] if self.rng.random() < 0.5 else ["z", *kept]
        equation = f"{labels},{''.join(weight)}->b{''.join(result)}"
        operands = [value, self.weights(*(size[label] for label in weight))]
        self.op("Einsum", operands, [size[label] for label in result], equation=equation)

    def attention(self, value: ir.Value, sizes: list[int]) -> None:
        """Softmax(x·W)·x, or the product without Softmax."""
        rows = sizes[-2]
        self.op("MatMul", [value, self.weights(sizes[-1], rows)], [*sizes[:-1], rows])
        if self.rng.random() < 0.7:
            self.op("Softmax", [self.tensors[-1][0]], [*sizes[:-1], rows])
        self.op("MatMul", [self.tensors[-1][0], value], sizes)

    def normalise(self, value: ir.Value, sizes: list[int]) -> None:
        """Statistics of its own: over the last axis, or over all behind the channels."""
        if self.rng.random() < 0.5:
            self.op("LayerNormalization", [value, self.weights(sizes[-1]), self.weights(sizes[-1])], sizes)
        else:
            self.op("InstanceNormalization", [value, self.weights(sizes[0]), self.weights(sizes[0])], sizes)

    def finish(self) -> ir.Model:
        """Every tensor without a reader is an output, and now and then another one."""
        for value, sizes in self.tensors[1:]:
            if not value.uses() or self.rng.random() < 0.05:
                value.dtype, value.shape = ir.DataType.DOUBLE, ir.Shape(["N", *sizes])
                self.graph.outputs.append(value)
        return self.model


def _without(sizes: list[int], axis: int) -> list[int]:
    return [*sizes[:axis], *sizes[axis + 1 :]]


def random_model(seed: int, steps: int) -> ir.Model:
    builder = Builder(seed)
    for _ in range(steps):
        builder.step()
    return builder.finish()


@settings(max_examples=250, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(2, 12))
def test_folding_is_exact_on_random_graphs(seed: int, steps: int) -> None:
    model = random_model(seed, steps)
    before = serialised(model)
    result = bnfold.fold(model)
    assert serialised(model) == before
    assert [v.name for v in result.model.graph.outputs] == [v.name for v in model.graph.outputs]
    assert affines(result.model) == len(result.kept) == affines(model) - len(result.folded)
    assert result.nodes_after <= result.nodes_before
    oracle.assert_equal(model, result.model, tolerance=1e-8, seeds=1)
    assert serialised(bnfold.fold(result.model).model) == serialised(result.model)


def test_the_random_graphs_reach_every_rule_and_every_route() -> None:
    """A property test that folds nothing would pass as well: look at what it covers."""
    routes, absorbers, carriers = set(), set(), set()
    for seed in range(600):
        model = random_model(seed, 8)
        names = {node.name: node.op_type for node in model.graph}
        for entry in bnfold.fold(model).folded:
            routes.add(entry.route)
            absorbers.update(absorption.op_type for absorption in entry.into)
            carriers.update(names[name] for name in entry.through)
    assert routes == {"back", "forward", "shift back, scale forward"}
    assert absorbers >= {"Add", "BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul"}
    assert carriers >= {"Dropout", "Flatten", "Identity", "Relu", "Reshape", "Transpose", "Unsqueeze"}
    assert carriers >= {"AveragePool", "Concat", "GlobalAveragePool", "MaxPool", "Sub", "Sum"}
