"""Reads the facts of a network off an ONNX graph, and asks the planner what it would do."""

from __future__ import annotations

import math

import onnx_ir as ir

from bnfold import folding
from bnfold.folding.answers import Blocked
from bnfold.folding.facts import Facts
from bnfold.folding.nodes import find_input, number, required_input
from bnfold.folding.ops.batch_normalization import epsilon_of, why_training
from bnfold.folding.sites import is_batch_statistic
from bnfold.linting.facts import BatchNorm, Network
from bnfold.linting.neighbours import Neighbours
from bnfold.linting.weights import FoldedWeights
from bnfold.modelfile import all_graphs

__all__ = ["survey"]

_DEFAULT_EPSILON = 1e-5
_DEFAULT_MOMENTUM = 0.9  # of the old statistics, as the operator page has it
_NAMES = {4: ".running_var", 3: ".running_mean", 1: ".weight", 2: ".bias"}  # those of PyTorch, by slot


def survey(model: ir.Model, export_dtype: ir.DataType | None = None) -> Network:
    """The facts of a network.

    Args:
        model: It stays as it is.
        export_dtype: In which its weights will be stored; as they are if None.

    Raises:
        ModelError: The parameters of a BatchNormalization do not fit, or the model is malformed.
    """
    plan = folding.inspect(model)
    repaired = folding.inspect(model, repairs=True) if plan.kept else plan
    facts = Facts(model)
    survey = _Survey(facts, Neighbours(facts, {entry.node: entry for entry in plan.folded}), export_dtype)
    nodes = [node for graph in all_graphs(model) for node in graph]
    norms = [node for node in nodes if node.op_type == "BatchNormalization" and node.domain == ""]
    return Network(
        batch_norms=tuple(map(survey.look_at, norms)),
        kept=plan.kept,
        repairable=frozenset(entry.node for entry in repaired.folded),
        parameters=_count_parameters(model),
        weights=FoldedWeights(facts, plan, export_dtype),
    )


class _Survey:
    def __init__(self, facts: Facts, neighbours: Neighbours, export_dtype: ir.DataType | None) -> None:
        self._facts = facts
        self._neighbours = neighbours
        self._export_dtype = export_dtype

    def look_at(self, node: ir.Node) -> BatchNorm:
        """What is known of one BatchNormalization."""
        scale, bias, mean, var = (self._facts.constants.weight(find_input(node, slot)) for slot in range(1, 5))
        training, epsilon, momentum = self._mode(node)
        shape = self._facts.shapes[node.outputs[0]] if training else None
        sizes = [dim for dim in shape or () if isinstance(dim, int)]
        is_static = shape is not None and len(sizes) == len(shape)
        rank = len(self._facts.shapes[required_input(node, 0)] or ())
        return BatchNorm(
            name=self._facts.label(node),
            module=_module_of(node),
            scale=scale,
            bias=bias,
            mean=mean,
            var=var,
            epsilon=epsilon,
            dtype=self._export_dtype or self._stored_dtype(node),
            before=self._neighbours.before(node),
            after=self._neighbours.after(node),
            training=training,
            momentum=momentum,
            elements=math.prod(sizes[2:]) if is_static else None,
            rank=rank or None,
            rows=sizes[0] if is_static else None,
            shrinkage=self._neighbours.shrinkage(node, scale.size) if scale is not None and scale.size else None,
        )

    def _mode(self, node: ir.Node) -> tuple[str, float, float | None]:
        """Why it normalises with statistics of the batch, its epsilon, and its momentum where that matters."""
        try:
            training = why_training(node, self._facts.opset(node)) or self._why_of_the_batch(node)
            momentum = 1 - number(node, "momentum", _DEFAULT_MOMENTUM) if training else None
            return training, epsilon_of(node), momentum
        except Blocked:  # the caller of a function sets them
            return "", _DEFAULT_EPSILON, None

    def _why_of_the_batch(self, node: ir.Node) -> str:
        """Whether its statistics are computed in front of it."""
        for slot, name in ((3, "mean"), (4, "var")):
            value = required_input(node, slot)
            if self._facts.constants.weight(value) is None and is_batch_statistic(value):
                return f"its {name} is computed from the batch in front of it"
        return ""

    def _stored_dtype(self, node: ir.Node) -> ir.DataType:
        found = [self._facts.constants.dtype(find_input(node, slot)) for slot in (4, 1)]
        return next((dtype for dtype in found if dtype is not None), ir.DataType.FLOAT)


def _module_of(node: ir.Node) -> str:
    """The PyTorch module that the parameters belong to, where they still have PyTorch's names."""
    for slot, ending in _NAMES.items():
        name = required_input(node, slot).name or ""
        if name.endswith(ending):
            return name.removesuffix(ending)
    return ""


def _count_parameters(model: ir.Model) -> int:
    """How many numbers the floating-point initializers have."""
    values = (value for graph in all_graphs(model) for value in graph.initializers.values())
    tensors = (value.const_value for value in values if value.const_value is not None)
    return sum(tensor.size for tensor in tensors if tensor.dtype.is_floating_point())
