"""Random graphs of which a part stands in bodies of If, Loop and Scan, one in another: what is folded is exact."""

from __future__ import annotations

from itertools import count

import numpy as np
import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st

import bnfold
from tests.folding.test_random_graphs import Builder
from tests.helpers import oracle
from tests.helpers.models import affines, serialised

TIMES = 2


class BodyBuilder(Builder):
    """Grows a graph, and now and then moves its last nodes into a body."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.numbers = count()
        self.ends: list[ir.Value] = []

    def constant(self, array: np.ndarray) -> ir.Value:
        return self.named(super().constant(array), "c")

    def sample(self, value: ir.Value, sizes: list[int]) -> None:
        """Left out: a grid has a batch of its own, and bodies stack theirs."""

    def op(self, op_type: str, inputs: list, sizes: list[int], **attributes: object) -> None:
        super().op(op_type, inputs, sizes, **attributes)
        self.named(self.tensors[-1][0], "t")

    def named(self, value: ir.Value, kind: str) -> ir.Value:
        """Names that are counted through, since tensors and constants move away."""
        value.name = f"{kind}_{next(self.numbers)}"
        return value

    def wrap(self) -> None:
        """Move the last nodes into a body; what follows reads what it hands on."""
        nodes = list(self.graph)
        if not nodes:
            return
        start = int(self.rng.integers(len(nodes)))
        inside = set(nodes[start:])
        written = [(v, sizes) for v, sizes in self.tensors if v.producer() in inside and v.producer().graph]
        if not written:
            return
        chosen = [pair for pair in written if not pair[0].uses() or self.rng.random() < 0.2] or written[-1:]
        if self.rng.random() < 0.15:
            chosen.append(chosen[0])
        outside = [value for node in nodes[start:] for value in node.inputs if value is not None]
        captured = [(v, sizes) for v, sizes in self.tensors if v.producer() not in inside and v in outside]
        body = self.body(nodes[start:], [value for value, _ in chosen])
        kind = self.choice([self.branch, self.loop, self.scan] if captured else [self.branch, self.loop])
        kept = [(value, sizes) for value, sizes in self.tensors if value.producer() not in inside]
        kind(body, [sizes for _, sizes in chosen], kept, captured)

    def body(self, nodes: list[ir.Node], outputs: list[ir.Value]) -> ir.Graph:
        self.graph.remove(nodes)
        weights = {v for node in nodes for v in node.inputs if v is not None and v.is_initializer()}
        moved = [v for v in weights if self.rng.random() < 0.3 and all(use.node in nodes for use in v.uses())]
        for value in sorted(moved, key=lambda value: value.name):
            del self.graph.initializers[value.name]
        if len(set(outputs)) < len(outputs) and self.rng.random() < 0.5:  # else one tensor is two outputs
            twin = ir.node("Identity", [outputs[-1]])
            nodes.append(twin)
            outputs[-1] = self.named(twin.outputs[0], "t")
        for value in outputs:
            value.dtype = ir.DataType.DOUBLE
        return ir.Graph([], outputs, nodes=nodes, initializers=moved, name=f"body_{next(self.numbers)}")

    def branch(self, body: ir.Graph, sizes: list[list[int]], kept: list, captured: list) -> None:
        other = body.clone(allow_outer_scope_values=True)
        for index, shape in enumerate(sizes):
            if self.rng.random() < 0.5:
                other.outputs[index] = self.behind(other, other.outputs[index], shape)
        for value in other.outputs:
            value.dtype = ir.DataType.DOUBLE
        branches = [body, other][:: self.choice([1, -1])]
        inside = dict(zip(["then_branch", "else_branch"], branches, strict=True))
        node = ir.node("If", [self.condition()], attributes=inside, num_outputs=len(sizes))
        self.graph.append(node)
        self.tensors = kept + [(self.named(v, "t"), shape) for v, shape in zip(node.outputs, sizes, strict=True)]

    def behind(self, graph: ir.Graph, value: ir.Value, sizes: list[int]) -> ir.Value:
        """Another op behind an output of one branch."""
        op_type = self.choice(["Tanh", "Relu", "BatchNormalization"])
        numbers = self.rng.uniform(0.5, 2, (4, sizes[0]))
        parameters = [self.constant(vector) for vector in numbers] if op_type == "BatchNormalization" else []
        node = ir.node(op_type, [value, *parameters])
        graph.append(node)
        return self.named(node.outputs[0], "t")

    def condition(self) -> ir.Value:
        mean = ir.node("ReduceMean", [self.graph.inputs[0]], attributes={"keepdims": 0})
        greater = ir.node("Greater", [mean.outputs[0], self.constant(np.array(self.rng.uniform(0, 1)))])
        self.graph.extend([mean, greater])
        self.named(mean.outputs[0], "m")
        return self.named(greater.outputs[0], "b")

    def loop(self, body: ir.Graph, sizes: list[list[int]], kept: list, captured: list) -> None:
        number = ir.val(f"i_{next(self.numbers)}", ir.DataType.INT64, [])
        going = ir.val(f"g_{next(self.numbers)}", ir.DataType.BOOL, [])
        again = ir.node("Identity", [going])
        body.append(again)
        body.inputs.extend([number, going])
        states = [self.choice(captured)] if captured and self.rng.random() < 0.5 else []
        written = [self.state(body, *state) for state in states]
        outputs = [self.named(again.outputs[0], "g"), *written, *body.outputs]
        again.outputs[0].dtype = ir.DataType.BOOL
        body.outputs.clear()
        body.outputs.extend(outputs)
        inputs = [self.integers(TIMES), self.constant(np.array(True)), *(value for value, _ in states)]
        node = ir.node("Loop", inputs, attributes={"body": body}, num_outputs=len(outputs) - 1)
        self.graph.append(node)
        self.stacked(node, states, sizes, [0] * len(sizes))

    def state(self, body: ir.Graph, value: ir.Value, sizes: list[int]) -> ir.Value:
        """Let a body read a tensor of the outer graph in the first iteration only; what the next ones read."""
        after = self.behind(body, self.piece(body, value, sizes), sizes)
        after.dtype = ir.DataType.DOUBLE
        return after

    def piece(self, body: ir.Graph, value: ir.Value, sizes: list[int]) -> ir.Value:
        """An input of a body that stands for a tensor of the outer graph."""
        inner = ir.val(f"s_{next(self.numbers)}", ir.DataType.DOUBLE, ["N", *sizes])
        inside = set(body.all_nodes())
        for user, slot in value.uses():
            if user in inside:
                user.replace_input_with(slot, inner)
        body.inputs.append(inner)
        return inner

    def scan(self, body: ir.Graph, sizes: list[list[int]], kept: list, captured: list) -> None:
        value, shape = self.choice(captured)
        states = [self.choice(captured)] if self.rng.random() < 0.3 else []
        body.outputs[:0] = [self.state(body, *state) for state in states]
        self.piece(body, value, shape)
        self.op("Unsqueeze", [value, self.integers(0)], [])
        self.op("Concat", [self.tensors[-1][0]] * TIMES, [], axis=0)
        axes = [int(self.rng.integers(-len(shape) - 2, len(shape) + 2)) for shape in sizes]
        attributes = {
            "body": body,
            "num_scan_inputs": 1,
            "scan_output_axes": axes,
            "scan_output_directions": [int(self.rng.integers(2)) for _ in sizes],
        }
        inputs = [*(state for state, _ in states), self.tensors[-1][0]]
        node = ir.node("Scan", inputs, attributes=attributes, num_outputs=len(body.outputs))
        self.graph.append(node)
        self.stacked(node, states, sizes, axes)

    def stacked(self, node: ir.Node, states: list, sizes: list[list[int]], axes: list[int]) -> None:
        """Go on with what was stacked, its iterations joined with the batch; the last states are normalised."""
        for value in node.outputs:
            self.named(value, "t")
        self.tensors = []
        for value, (_, shape) in zip(node.outputs, states, strict=False):
            numbers = self.rng.uniform(0.5, 2, (4, shape[0]))
            self.op("BatchNormalization", [value, *map(self.constant, numbers)], shape)
            self.ends.append(self.tensors.pop()[0])
        for value, shape, axis in zip(node.outputs[len(states) :], sizes, axes, strict=True):
            order = [*range(len(shape) + 2)]
            order.insert(0, order.pop(axis))
            self.op("Transpose", [value], shape, perm=order)
            self.op("Reshape", [self.tensors.pop()[0], self.integers(-1, *shape)], shape)

    def finish(self) -> ir.Model:
        """Every tensor that can still be read is an output if nothing reads it."""
        values = [value for value, _ in self.tensors if not value.is_graph_input()]
        chosen = [value for value in values if not value.uses() or self.rng.random() < 0.05]
        for value in (*chosen, *self.ends):
            if value.producer().graph is self.graph:
                value.dtype = ir.DataType.DOUBLE
                self.graph.outputs.append(value)
        return self.model


def random_model(seed: int, steps: list[int]) -> ir.Model:
    builder = BodyBuilder(seed)
    for number in steps:
        for _ in range(number):
            builder.step()
        builder.wrap()
    for _ in range(3):
        builder.step()
    return builder.finish()


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), steps=st.lists(st.integers(1, 6), min_size=1, max_size=3))
def test_folding_is_exact_in_random_bodies(seed: int, steps: list[int]) -> None:
    model = random_model(seed, steps)
    before = serialised(model)
    result = bnfold.fold(model)
    assert serialised(model) == before
    folded, kept = (sum(entry.is_batch_norm for entry in entries) for entries in (result.folded, result.kept))
    assert affines(result.model) == kept == affines(model) - folded
    oracle.assert_equal(model, result.model, tolerance=1e-8, seeds=2, least=1e-3)
    assert serialised(bnfold.fold(result.model).model) == serialised(result.model)


def test_the_random_bodies_are_crossed_in_every_way() -> None:
    crossed = set()
    for seed in range(300):
        model = random_model(seed, [4, 3])
        names = {node.name: node.op_type for node in model.graph.all_nodes()}
        for entry in bnfold.fold(model).folded:
            crossed.update((entry.route, names[name]) for name in entry.through if name in names)
    for op_type in ("If", "Loop", "Scan"):
        assert {("back", op_type), ("forward", op_type)} <= crossed
