"""Finds the affines of a model: its BatchNormalizations at inference, and constants that are added or multiplied.

Each of these is ``y = scale·x + shift``:

    BatchNormalization                  scale = γ/√(var + epsilon), shift = β − mean·scale, for each channel
    Mul, Div, Add, Sub by a constant    a factor or a term, of one number or of one for each place along one axis

Nodes of the second kind in a row, of which nothing between is read by anyone else, are one affine: Mul → Add is how
frozen statistics are exported, and Sub(mean) → Div(Sqrt(var + epsilon)) → Mul(scale) → Add(bias) is BatchNormalization
spelt out. An Add directly behind a MatMul or an Einsum is its bias, and no affine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bnfold.affine import Affine
from bnfold.errors import ModelError
from bnfold.folding.nodes import find_input, label, required_input
from bnfold.folding.ops.batch_normalization import epsilon_of, why_no_affine
from bnfold.folding.ops.broadcasting import BROADCASTS
from bnfold.folding.ops.constant_operand import ConstantOperand, find_constant_operand
from bnfold.folding.result import Kept
from bnfold.modelfile import all_graphs

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.facts import Facts

__all__ = [
    "CONSTANT_OPS",
    "Site",
    "find_constant_sites",
    "find_sites",
    "is_batch_statistic",
    "read_affine",
    "read_spread",
]

_PARAMETERS = ("scale", "bias", "mean", "var")

CONSTANT_OPS = frozenset({"Add", "Div", "Mul", "Sub"})
_FACTORS = frozenset({"Div", "Mul"})
_LARGE = 1 << 24  # numbers: 128 MiB in float64
_PRODUCTS = frozenset({"Einsum", "MatMul"})  # a constant added behind one is its bias


@dataclass(frozen=True)
class Site:
    """Nodes in a row that are an affine of one tensor: ``output = affine(data)``.

    Attributes:
        nodes: One BatchNormalization; or Mul, Div, Add and Sub by constants, in order.
        slot: Through which input the first node reads the data.
    """

    nodes: tuple[ir.Node, ...]
    slot: int = 0

    @property
    def data(self) -> ir.Value:
        """What the first node reads now: an earlier plan may have taken out the node before it."""
        return required_input(self.nodes[0], self.slot)

    @property
    def output(self) -> ir.Value:
        """What the last node writes."""
        return self.nodes[-1].outputs[0]

    @property
    def op_type(self) -> str:
        """What it is, for reports."""
        return " → ".join(node.op_type for node in self.nodes)

    @property
    def worth(self) -> int:
        """How many new nodes its removal may cost: a BatchNormalization is worth an Add, an Add is not."""
        return 1 if self.nodes[0].op_type == "BatchNormalization" else min(1, len(self.nodes) - 1)

    def label(self, facts: Facts) -> str:
        """How reports name it."""
        return " → ".join(map(facts.label, self.nodes))

    def split(self) -> tuple[Site, ...]:
        """Each node as a site of its own: where the whole cannot go, a part of it may."""
        slots = [self.slot, *(_slot_of(node, before) for before, node in zip(self.nodes, self.nodes[1:], strict=False))]
        return tuple(Site((node,), slot) for node, slot in zip(self.nodes, slots, strict=True))


def find_sites(facts: Facts) -> tuple[list[Site], dict[Site, Kept]]:
    """Every affine, and those BatchNormalizations that are none (or shall stay), with the reason.

    Constants come first, since a BatchNormalization may take them in; then BatchNormalizations, largest tensor first.

    Conditions:
        1. Nobody asked for it to stay.
        2. It is at inference: see ``why_no_affine``.
        3. Its four parameters are floating-point constants. A graph input is none, even one that has an initializer,
           since the caller may replace it. (Before IR version 4 every initializer is listed as an input, and is one.)
        4. The number of axes of its input is known, and is not below 2.
        5. Its parameters are finite, and so are scale and shift: var + epsilon is positive.

    Raises:
        ModelError: The parameters of a BatchNormalization do not fit each other or its input.
    """
    sites: list[Site] = []
    kept: dict[Site, Kept] = {}
    nodes = [node for graph in all_graphs(facts.model) for node in graph if node.domain == ""]
    for node in (node for node in nodes if node.op_type == "BatchNormalization"):
        site = Site((node,))
        if refusal := _why_no_site(node, facts):
            kept[site] = Kept(facts.label(node), node.op_type, *refusal)
        elif flaw := _find_flaw(site, facts):  # condition 5
            kept[site] = Kept(facts.label(node), node.op_type, flaw, warning="the model itself is damaged there")
        else:
            sites.append(site)
    sites.sort(key=lambda site: -_size(site.data, facts))
    return [*find_constant_sites(facts), *sites], kept


def find_constant_sites(facts: Facts) -> list[Site]:
    """Constants that are added or multiplied, in rows as long as nobody else reads what is between.

    Folding changes which these are: what stood between two of them may be gone.
    """
    nodes = [node for graph in all_graphs(facts.model) for node in graph if node.domain == ""]
    nodes = [node for node in nodes if node.op_type in CONSTANT_OPS]
    operands = {node: operand for node in nodes if (operand := _constant_site(node, facts))}
    sites = []
    taken: set[ir.Node] = set()
    for node, operand in operands.items():
        if node in taken:
            continue
        row = [node]
        while (following := _only_reader(row[-1].outputs[0])) in operands and operands[following].data is (
            row[-1].outputs[0]
        ):
            row.append(following)
        taken.update(row)
        site = Site(tuple(row), 1 - operand.slot)
        if len(read_affine(site, facts).axes) <= 1:
            sites.append(site)
        else:
            sites += [part for part in site.split() if len(read_affine(part, facts).axes) <= 1]
    return sites


def read_affine(site: Site, facts: Facts) -> Affine:
    """The affine of a site as it is now (an earlier plan may have moved something into it)."""
    rank = len(facts.shapes[site.data] or ())
    if site.nodes[0].op_type == "BatchNormalization":
        scale, bias, mean, var = _parameters(site.nodes[0], facts).values()
        return Affine.from_batch_norm(scale, bias, mean, var, epsilon_of(site.nodes[0]), rank=rank)
    total = Affine.identity(rank)
    for node in site.nodes:
        if _changes_nothing(node, facts):
            continue
        operand = find_constant_operand(node, facts.constants.weight)
        affine = operand.affine(rank) if operand is not None else None
        if affine is None:
            raise ValueError(f"{node.op_type} '{facts.label(node)}' is no affine")
        total = total.then(affine)
    return total


def _changes_nothing(node: ir.Node, facts: Facts) -> bool:
    """Whether what is stored is 1, or 0 for a term: a factor of 3·(1/3) is 1 once it is rounded."""
    operand = find_constant_operand(node, facts.constants.stored)
    affine = operand.affine(operand.array.ndim) if operand is not None else None
    return affine is not None and affine.is_identity


def read_spread(site: Site, facts: Facts) -> NDArray[np.float64]:
    """The standard deviation of what the site reads, per channel, as far as the model tells it.

    A BatchNormalization has its running variance; where the statistics are spelt out, the first of two factors is
    1/√(var + epsilon); otherwise it is taken to be 1.
    """
    rank = len(facts.shapes[site.data] or ())
    if site.nodes[0].op_type == "BatchNormalization":
        var = _parameters(site.nodes[0], facts)["var"]
        return np.sqrt(var + epsilon_of(site.nodes[0])).reshape(1, -1, *[1] * (rank - 2))
    factors = [node for node in site.nodes if node.op_type in _FACTORS]
    if len(factors) < 2 or (operand := find_constant_operand(factors[0], facts.constants.weight)) is None:
        return np.ones((1,) * rank)
    affine = operand.affine(rank)
    with np.errstate(all="ignore"):  # a factor of 0 tells nothing: no shift is too large then
        return np.ones((1,) * rank) if affine is None else np.abs(1 / affine.scale)


def _constant_site(node: ir.Node, facts: Facts) -> ConstantOperand | None:
    """The constant operand of a Mul, Div, Add or Sub that is an affine of one tensor; None for any other."""
    if len(node.inputs) != 2 or None in node.inputs or node in facts.untouchable or node in facts.added:
        return None
    if facts.opset(node) < BROADCASTS or any(_is_large_table(value, facts) for value in node.inputs):
        return None
    operand = find_constant_operand(node, facts.constants.weight)
    if operand is None or facts.constants.weight(operand.data) is not None:
        return None  # none, or a constant expression
    shape = facts.shapes[operand.data]
    if shape is None or not operand.broadcasts_into(shape):
        return None
    affine = operand.affine(len(shape))
    if affine is None or len(affine.axes) > 1 or _is_bias(operand):
        return None
    return operand


def _is_large_table(value: ir.Value | None, facts: Facts) -> bool:
    """Whether a constant is too large to be looked at for being the same along all axes but one."""
    shape = facts.constants.weight_shape(value)
    return shape is not None and sum(size > 1 for size in shape) > 1 and math.prod(shape) > _LARGE


def _is_bias(operand: ConstantOperand) -> bool:
    producer = operand.data.producer()
    is_product = producer is not None and producer.domain == "" and producer.op_type in _PRODUCTS
    return is_product and operand.node.op_type not in _FACTORS


def _only_reader(value: ir.Value) -> ir.Node | None:
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    (use,) = uses
    producer = value.producer()
    return use.node if producer is not None and use.node.graph is producer.graph else None


def _slot_of(node: ir.Node, before: ir.Node) -> int:
    return next(slot for slot, value in enumerate(node.inputs) if value is before.outputs[0])


def _why_no_site(node: ir.Node, facts: Facts) -> tuple[str, str] | None:
    """A reason and a hint; the conditions are those of ``find_sites``."""
    if any(find_input(node, slot) is None for slot in range(5)):
        raise ModelError(f"BatchNormalization '{label(node)}' does not have its five inputs")
    if node in facts.untouchable:  # condition 1
        return "asked to stay", ""
    if refusal := why_no_affine(node, facts.opset(node)):  # condition 2
        return refusal
    for slot, name in enumerate(_PARAMETERS, start=1):
        value = required_input(node, slot)
        if facts.constants.weight(value) is None:  # condition 3
            return f"its {name} '{value.name}' is {facts.why_not_constant(value)}", _BATCH * is_batch_statistic(value)
    _check_channels(node, facts)
    data = required_input(node, 0)
    if len(facts.shapes[data] or ()) < 2:  # condition 4
        return f"the number of axes of its input '{data.name}' is not known, or is below 2", ""
    return None


def is_batch_statistic(value: ir.Value) -> bool:
    """Whether a parameter is computed from the batch, a few nodes up."""
    waiting = [value]
    seen: set[ir.Node] = set()
    while waiting and len(seen) < _NEAR:
        node = waiting.pop(0).producer()
        if node is None or node in seen:
            continue
        if node.op_type in ("ReduceMean", "ReduceSum", "GlobalAveragePool"):
            return True
        seen.add(node)
        waiting += [operand for operand in node.inputs if operand is not None]
    return False


_BATCH = "batch statistics: was it made with track_running_stats=False?"
_NEAR = 16  # nodes between a batch statistic and the BatchNormalization that reads it


def _find_flaw(site: Site, facts: Facts) -> str:
    """Which parameter is no number, or makes none; empty when all is well."""
    parameters = _parameters(site.nodes[0], facts)
    for name, array in parameters.items():
        bad = np.flatnonzero(~np.isfinite(array))
        if bad.size:
            return f"its {name} is {array[bad[0]]} in channel {bad[0]} ({bad.size} of {array.size} channels)"
    bad = np.flatnonzero(parameters["var"] + epsilon_of(site.nodes[0]) <= 0)
    if bad.size:
        return f"its var + epsilon is not positive in channel {bad[0]} ({bad.size} such channels)"
    return "" if read_affine(site, facts).is_finite else "its scale or shift is beyond the range of numbers"


def _parameters(node: ir.Node, facts: Facts) -> dict[str, NDArray[np.float64]]:
    """Those of the four parameters that are constants, by name."""
    weights = {name: facts.constants.weight(find_input(node, slot)) for slot, name in enumerate(_PARAMETERS, start=1)}
    return {name: weight for name, weight in weights.items() if weight is not None}


def _check_channels(node: ir.Node, facts: Facts) -> None:
    shapes = {name: list(array.shape) for name, array in _parameters(node, facts).items()}
    shape = facts.shapes[required_input(node, 0)]
    if shape is not None and len(shape) > 1 and isinstance(shape[1], int):
        shapes["the second axis of its input"] = [shape[1]]
    first = next(iter(shapes.values()))
    if len(first) != 1 or any(shape != first for shape in shapes.values()):
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ModelError(f"BatchNormalization '{label(node)}': its channels do not fit: {found}")


def _size(value: ir.Value, facts: Facts) -> int:
    """The number of elements, counting an axis of unknown size once."""
    return math.prod(dim for dim in facts.shapes[value] or () if isinstance(dim, int) and dim > 0)
