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
        steps += [self.move, self.move, self.move]
        steps += [self.quantised_weight, self.attention, self.normalise] if len(sizes) > 1 else [self.quantised_weight]
        steps += [self.choice([self.elementwise, self.prelu, self.clip, self.where, self.product])]
        steps += [self.einsum]
        self.choice(steps)(value, sizes)

    def batch_norm(self, value: ir.Value, sizes: list[int]) -> None:
        count = sizes[0]
        kind = self.rng.integers(3)
        scale = self.rng.choice(SCALES, count) if kind == 0 else self.rng.uniform(0.5, 2, count)
        bias, mean = self.rng.normal(0, 1, (2, count)) * (kind != 1)
        var = self.rng.uniform(0.1, 3, count)
        if self.rng.random() < 0.1:  # one affine for the whole tensor
            scale, bias, mean, var = (np.full(count, array[0]) for array in (scale, bias, mean, var))
        self.op("BatchNormalization", [value, *map(self.constant, (scale, bias, mean, var))], sizes)

    def relu(self, value: ir.Value, sizes: list[int]) -> None:
        self.op("Relu", [value], sizes)

    def unary(self, value: ir.Value, sizes: list[int]) -> None:
        self.op(self.choice(["Identity", "Dropout", "Tanh"]), [value], sizes)

    def elementwise(self, value: ir.Value, sizes: list[int]) -> None:
        op_type = self.choice(["Abs", "Cast", "HardSigmoid", "LeakyRelu", "LeakyRelu", "Neg", "Neg"])
        self.op(op_type, [value], sizes, **({"to": 11} if op_type == "Cast" else {}))

    def prelu(self, value: ir.Value, sizes: list[int]) -> None:
        ones = [1] * (len(sizes) - 1)
        shape = self.choice([[sizes[0], *ones], [sizes[0], *ones], [1, *ones], [], [sizes[-1]]])
        slope = self.rng.uniform(0.1, 2, shape) if self.rng.random() < 0.8 else self.rng.normal(0, 1, shape)
        self.op("PRelu", [value, self.constant(np.array(slope))], sizes)

    def clip(self, value: ir.Value, sizes: list[int]) -> None:
        low, high = self.choice([(0, None), (None, 0), (None, None), (0, 1.5), (-0.5, 0.7), (-1, None)])
        limits = [None if limit is None else self.constant(np.array(float(limit))) for limit in (low, high)]
        self.op("Clip", [value, *limits], sizes)

    def where(self, value: ir.Value, sizes: list[int]) -> None:
        shape = [size if self.rng.random() < 0.7 else 1 for size in sizes]
        mask = self.constant(self.rng.random(shape) < 0.5)
        others = [other for other, other_sizes in self.tensors if other_sizes == sizes]
        fill = self.constant(np.array(self.choice([0.0, 0.0, 0.5]))) if self.rng.random() < 0.6 else self.choice(others)
        operands = [value, fill][:: self.choice([1, -1])]
        self.op("Where", [mask, *operands], sizes)

    def product(self, value: ir.Value, sizes: list[int]) -> None:
        """A gate, or a quotient whose denominator is never near 0."""
        others = [v for v, s in self.tensors if s == sizes or s == [sizes[0], *[1] * (len(sizes) - 1)]]
        other = self.choice(others[-4:])
        if self.rng.random() < 0.7:
            self.op("Mul", [value, other][:: self.choice([1, -1])], sizes)
            return
        own = sizes if (other, sizes) in self.tensors else [sizes[0], *[1] * (len(sizes) - 1)]
        self.op("Abs", [other], own)
        self.op("Add", [self.tensors[-1][0], self.constant(np.ones(1))], own)
        self.op("Div", [value, self.tensors[-1][0]], sizes)

    def transpose(self, value: ir.Value, sizes: list[int]) -> None:
        order = self.rng.permutation(len(sizes))
        self.op("Transpose", [value], [sizes[i] for i in order], perm=[0, *(int(i) + 1 for i in order)])

    def bias(self, value: ir.Value, sizes: list[int]) -> None:
        """A constant that is added or multiplied, on either side."""
        shape = [size if self.rng.random() < 0.6 else 1 for size in sizes][self.rng.integers(len(sizes)) :]
        kind = self.choice(["Add", "Add", "Sub", "Mul", "Mul", "Div"])
        flipped = kind != "Div" and self.rng.random() < 0.5
        operands = [value, self.weights(*shape)]
        self.op(kind, operands[::-1] if flipped else operands, sizes)

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

    def move(self, value: ir.Value, sizes: list[int]) -> None:
        """An op that selects, moves, pads, resizes or reduces, often between weights and an affine."""
        around = self.choice([(), (self.conv_like, self.batch_norm), (self.batch_norm, self.conv_like)])
        if around:
            around[0](value, sizes)
            value, sizes = self.tensors[-1]
        moves = [self.select, self.select, self.reduce, self.reduce, self.top, self.compare]
        moves += [self.repeat, self.pad, self.pad, self.resize] if np.prod(sizes) <= 64 else []
        moves += [self.blocks, self.sample] if np.prod(sizes) <= 64 and len(sizes) == 3 else []
        self.choice(moves)(value, sizes)
        if around and self.tensors[-1][0] is not value:
            around[1](*self.tensors[-1])

    def select(self, value: ir.Value, sizes: list[int]) -> None:
        """Now and then all of the axis, in two parts that are put together again the other way round."""
        axis = int(self.rng.integers(len(sizes)))
        size = sizes[axis]
        kind = self.rng.integers(4)
        if kind == 0 and size > 1:
            parts = []
            for start, end in ((1, size), (0, 1)):
                inputs = [value, self.integers(start), self.integers(end), self.integers(axis + 1)]
                self.op("Slice", inputs, _with(sizes, axis, end - start))
                parts.append(self.tensors[-1][0])
                if self.rng.random() < 0.3:
                    self.batch_norm(*self.tensors[-1])
                    parts[-1] = self.tensors[-1][0]
            self.op("Concat", parts, sizes, axis=axis + 1)
        elif kind == 1:
            start, step = int(self.rng.integers(size)), self.choice([1, 2, -1])
            count = len(range(size)[start::step])
            end = 2**63 - 1 if step > 0 else -(2**63) + 1
            inputs = [value, *map(self.integers, (start, end, axis - len(sizes), step))]
            self.op("Slice", inputs, _with(sizes, axis, count))
        elif kind == 2 and len(sizes) > 1:
            index = self.constant(np.array(self.rng.integers(-size, size)))
            self.op("Gather", [value, index], _without(sizes, axis), axis=axis + 1)
        else:
            count = int(self.rng.integers(1, size + 2))
            indices = self.rng.permutation(np.arange(2 * size) % size)[:count] - self.rng.choice([0, size], count)
            self.op("Gather", [value, self.integers(*indices)], _with(sizes, axis, count), axis=axis + 1)

    def repeat(self, value: ir.Value, sizes: list[int]) -> None:
        axis = int(self.rng.integers(len(sizes)))
        if sizes[axis] == 1 and self.rng.random() < 0.7:
            self.op("Expand", [value, self.integers(2, *[1] * (len(sizes) - axis - 1))], _with(sizes, axis, 2))
        else:
            repeats = [2 if a == axis else 1 for a in range(len(sizes))]
            self.op("Tile", [value, self.integers(1, *repeats)], _with(sizes, axis, 2 * sizes[axis]))

    def pad(self, value: ir.Value, sizes: list[int]) -> None:
        axis = int(self.rng.integers(len(sizes)))
        mode = self.choice(["constant", "constant", "reflect", "edge", "wrap"])
        before, after = (int(width) for width in self.rng.integers(0, 2, 2))
        before = -1 if sizes[axis] > 2 and self.rng.random() < 0.2 else before
        if sizes[axis] < 2 and mode == "reflect":
            return
        fill = [[], [self.constant(np.array(self.choice([0.0, 0.0, 1.5])))]][self.rng.integers(2)]
        inputs = [value, self.integers(before, after), *(fill or [None]), self.integers(axis + 1)]
        self.op("Pad", inputs, _with(sizes, axis, sizes[axis] + before + after), mode=mode)

    def resize(self, value: ir.Value, sizes: list[int]) -> None:
        axis = int(self.rng.integers(1, max(len(sizes), 2))) % len(sizes)
        scales = self.constant(np.array([2.0 if a == axis else 1.0 for a in range(-1, len(sizes))], np.float32))
        mode = self.choice(["nearest", "linear", "cubic"])
        where = self.choice(["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"])
        result = _with(sizes, axis, 2 * sizes[axis])
        self.op("Resize", [value, None, scales], result, mode=mode, coordinate_transformation_mode=where)

    def blocks(self, value: ir.Value, sizes: list[int]) -> None:
        channels, height, width = sizes
        if channels % 4 == 0:
            mode = self.choice(["DCR", "CRD"])
            self.op("DepthToSpace", [value], [channels // 4, 2 * height, 2 * width], blocksize=2, mode=mode)
        elif height % 2 == width % 2 == 0:
            self.op("SpaceToDepth", [value], [4 * channels, height // 2, width // 2], blocksize=2)

    def sample(self, value: ir.Value, sizes: list[int]) -> None:
        grid = self.constant(self.rng.uniform(-1.3, 1.3, (3, 2, 2, 2)))
        mode, padding = self.choice(["linear", "nearest"]), self.choice(["zeros", "border", "reflection"])
        self.op("GridSample", [value, grid], [sizes[0], 2, 2], mode=mode, padding_mode=padding)

    def reduce(self, value: ir.Value, sizes: list[int]) -> None:
        axis = int(self.rng.integers(len(sizes)))
        keeps = int(len(sizes) == 1 or self.rng.integers(2))
        kind = self.choice(["Mean", "Mean", "Sum", "Max", "Min", "L1", "L2"])
        result = _with(sizes, axis, 1) if keeps else _without(sizes, axis)
        self.op(f"Reduce{kind}", [value, self.integers(axis + 1)], result, keepdims=keeps)

    def top(self, value: ir.Value, sizes: list[int]) -> None:
        axis = int(self.rng.integers(len(sizes)))
        count = int(self.rng.integers(1, sizes[axis] + 1))
        self.op("TopK", [value, self.integers(count)], _with(sizes, axis, count), axis=axis + 1)
        node = self.graph[-1]
        node.resize_outputs(2)
        node.outputs[1].name = f"{node.outputs[0].name}.indices"

    def compare(self, value: ir.Value, sizes: list[int]) -> None:
        axis = int(self.rng.integers(len(sizes)))
        self.op("Softmax", [value], sizes, axis=axis + 1)

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
        weight.outputs[0].name = f"{codes.name}.dequantised"
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


def _with(sizes: list[int], axis: int, size: int) -> list[int]:
    return [*sizes[:axis], size, *sizes[axis + 1 :]]


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
    folded, kept = (sum(entry.is_batch_norm for entry in entries) for entries in (result.folded, result.kept))
    assert affines(result.model) == kept == affines(model) - folded
    assert result.nodes_after <= result.nodes_before
    oracle.assert_equal(model, result.model, tolerance=1e-8, seeds=1)
    assert serialised(bnfold.fold(result.model).model) == serialised(result.model)


def test_the_random_graphs_reach_every_rule_and_every_route() -> None:
    """A property test that folds nothing would pass as well: look at what it covers."""
    missing = {"back", "forward", "shift back, scale forward"}  # routes
    missing |= {"Add", "BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul"}  # absorbers
    missing |= {"Dropout", "Flatten", "Identity", "Relu", "Reshape", "Transpose", "Unsqueeze"}  # carriers
    missing |= {"AveragePool", "Concat", "GlobalAveragePool", "MaxPool", "Sub", "Sum"}
    missing |= {"Abs", "Cast", "Clip", "LeakyRelu", "Mul", "Neg", "PRelu", "Where"}
    missing |= {"Gather", "Pad", "ReduceMean", "ReduceSum", "Resize", "Slice", "Tile", "TopK"}
    for seed in range(2000):
        model = random_model(seed, 12)
        names = {node.name: node.op_type for node in model.graph}
        for entry in bnfold.fold(model).folded:
            missing.discard(entry.route)
            missing -= {absorption.op_type for absorption in entry.into} | {names[name] for name in entry.through}
        if not missing:
            return
    raise AssertionError(f"nothing folds through {missing}")
