"""Finds the affines of a model: its BatchNormalizations at inference.

Each of these is ``y = scale·x + shift``, with one scale and one shift for each channel:

    BatchNormalization      scale = γ/√(var + epsilon)      shift = β − mean·scale
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
from bnfold.folding.result import Kept
from bnfold.modelfile import all_graphs

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.facts import Facts

__all__ = ["Site", "find_sites", "read_affine", "read_spread"]

_PARAMETERS = ("scale", "bias", "mean", "var")


@dataclass(frozen=True)
class Site:
    """A node that is an affine of one tensor: ``output = affine(data)``."""

    node: ir.Node

    @property
    def data(self) -> ir.Value:
        """What the node reads now: an earlier plan may have taken out the node before it."""
        return required_input(self.node, 0)

    @property
    def output(self) -> ir.Value:
        """What the node writes."""
        return self.node.outputs[0]


def find_sites(facts: Facts) -> tuple[list[Site], dict[ir.Node, Kept]]:
    """Every BatchNormalization, largest tensor first, and those that are no affine (or shall stay), with the reason.

    Conditions:
        1. Nobody asked for it to stay.
        2. It is at inference: see ``why_no_affine``.
        3. Its four parameters are floating-point constants. A graph input is none, even one that has an initializer,
           since the caller may replace it. (Before IR version 4 every initializer is listed as an input, and is one.)
        4. The number of axes of its input is known, and is not below 2.
        5. Its scale and shift are finite: no parameter is NaN or infinite, and var + epsilon is positive.

    Raises:
        ModelError: The parameters of a BatchNormalization do not fit each other or its input.
    """
    sites: list[Site] = []
    kept: dict[ir.Node, Kept] = {}
    for node in (node for graph in all_graphs(facts.model) for node in graph):
        if node.op_type != "BatchNormalization" or node.domain != "":
            continue
        if refusal := _why_no_site(node, facts):
            kept[node] = Kept(facts.label(node), node.op_type, *refusal)
        else:
            sites.append(Site(node))
    sites.sort(key=lambda site: -_size(site.data, facts))
    return sites, kept


def read_affine(site: Site, facts: Facts) -> Affine:
    """The affine of a site as it is now (an earlier plan may have moved something into it)."""
    scale, bias, mean, var = _parameters(site.node, facts).values()
    rank = len(facts.shapes[site.data] or ())
    return Affine.from_batch_norm(scale, bias, mean, var, epsilon_of(site.node), rank=rank)


def read_spread(site: Site, facts: Facts) -> NDArray[np.float64]:
    """The standard deviation of what the site reads, per channel, as its running variance tells it."""
    rank = len(facts.shapes[site.data] or ())
    var = _parameters(site.node, facts)["var"]
    return np.sqrt(var + epsilon_of(site.node)).reshape(1, -1, *[1] * (rank - 2))


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
            return f"its {name} '{value.name}' is {facts.why_not_constant(value)}", ""
    _check_channels(node, facts)
    data = required_input(node, 0)
    if len(facts.shapes[data] or ()) < 2:  # condition 4
        return f"the number of axes of its input '{data.name}' is not known, or is below 2", ""
    if not read_affine(Site(node), facts).is_finite:  # condition 5
        return "a parameter is NaN or infinite, or var + epsilon is not positive", "look at how it was trained"
    return None


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
