"""Where each number of a constant comes from: which parameter of the module, and which place in it.

An exporter seldom hands on a weight as the module holds it: a Linear's is transposed, an LSTM's cut into gates, put
into another order and joined. None of that computes anything, so that whatever becomes of the numbers can be sent back
to where each came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bnfold.folding.evaluation import is_evaluable, moved, reads_value
from bnfold.folding.facts import Facts
from bnfold.folding.nodes import integer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir
    from numpy.typing import NDArray

__all__ = ["Origins", "Untraceable"]

# Ops that place numbers otherwise and change none; the first input has them. (Concat has several.)
_MOVES = frozenset(
    {"Cast", "CastLike", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose"}
    | {"Unsqueeze"}
)


class Untraceable(Exception):  # noqa: N818 - an answer; it never leaves the package
    """New numbers cannot be sent back. ``reason`` says why, as in "its weight is …"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Origins:
    """The constants of one exported graph, before anything is folded.

    Attributes:
        constants: What each constant amounts to.
        parameters: Of each constant, the names of the parameters that it is made of; every other value is no key.
    """

    def __init__(self, model: ir.Model, names: Mapping[str, str]) -> None:
        """Look at a graph.

        Args:
            model: The graph, which must not change afterwards.
            names: The name by which each initializer that is a parameter or buffer is known; one for tied ones.
        """
        facts = Facts(model)
        self.constants = facts.constants
        self._opset = facts.opset
        self.parameters: dict[ir.Value, frozenset[str]] = {}
        for graph in (model.graph, *model.graph.subgraphs()):
            for name, value in graph.initializers.items():
                self.parameters[value] = frozenset({names[name]} if name in names else ())
        for node in model.graph.all_nodes():
            read = [value for slot, value in enumerate(node.inputs) if value is not None and reads_value(node, slot)]
            if is_evaluable(node) and all(value in self.parameters for value in read):
                made_of = frozenset[str]().union(*(self.parameters[value] for value in read))
                self.parameters.update(dict.fromkeys(node.outputs, made_of))

    def is_constant(self, node: ir.Node) -> bool:
        """Whether a node is part of a constant expression, the sizes of tensors among them."""
        return all(value in self.parameters for value in node.outputs)

    def sent_back(self, value: ir.Value, new: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """What the parameters behind a constant must hold for it to become ``new``.

        Args:
            value: The constant.
            new: float64, of its shape.

        Returns:
            By the name of the parameter, flat: its numbers, and NaN for those that do not go into the constant.

        Raises:
            Untraceable: Its numbers are computed, or one of them would have to be two.
        """
        made_of = self.parameters[value]
        if value.is_initializer() and made_of:
            return dict.fromkeys(made_of, new.reshape(-1))
        old = self.constants.weight(value)
        if old is None or old.shape != new.shape:
            raise Untraceable("has another shape than the module's")
        places = {name: self._places(value, name).reshape(-1) for name in sorted(made_of)}
        known = np.zeros(new.size, bool)
        found = {}
        for name, at in places.items():
            here = at >= 0
            target = np.full(int(at.max()) + 1, np.nan)
            target[at[here]] = new.reshape(-1)[here]
            if not np.array_equal(target[at[here]], new.reshape(-1)[here], equal_nan=True):
                raise Untraceable(f"repeats numbers of '{name}', which would have to differ")
            found[name] = target
            known |= here
        if not np.array_equal(old.reshape(-1)[~known], new.reshape(-1)[~known]):
            raise Untraceable("is no parameter of the module")
        return found

    def _places(self, value: ir.Value, name: str) -> NDArray[np.int64]:
        """For each number of a constant its place in the flat parameter, and −1 if it comes from elsewhere."""
        made_of = self.parameters[value]
        if name not in made_of:
            weight = self.constants.array(value)
            if weight is None:
                raise Untraceable("is known only at run time")
            return np.full(weight.shape, -1, np.int64)
        node = value.producer()
        if node is None:
            weight = self.constants.array(value)
            return np.arange(weight.size, dtype=np.int64).reshape(weight.shape)  # type: ignore[union-attr]
        if node.op_type == "Concat":
            parts = [self._places(part, name) for part in node.inputs if part is not None]
            return np.concatenate(parts, axis=integer(node, "axis", 0))
        source = node.inputs[0]
        if node.op_type not in _MOVES or source is None:
            raise Untraceable(f"is computed from '{name}'")
        places = self._places(source, name)
        if node.op_type in ("Cast", "CastLike"):
            return places
        placed = moved(node, places, self.constants.array, self._opset(node))
        if placed is None:
            raise Untraceable(f"is computed from '{name}'")
        return placed.astype(np.int64)
