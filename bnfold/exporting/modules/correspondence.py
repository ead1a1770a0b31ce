"""An exported graph and the module it was exported from: which node, which tensor is which part."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import onnx_ir as ir

from bnfold.exporting.modules.changing import tensors_of
from bnfold.exporting.modules.comparing import Comparison
from bnfold.exporting.modules.origins import Origins
from bnfold.exporting.naming import name_after_modules, path_of

if TYPE_CHECKING:
    from torch import nn

    from bnfold.exporting.modules.changing import Changes
    from bnfold.folding import FoldResult

__all__ = ["Correspondence"]

_NARROWER = (ir.DataType.BFLOAT16, ir.DataType.FLOAT16, ir.DataType.FLOAT)


class Correspondence:
    """What is where.

    Attributes:
        model: The graph, whose nodes have been named after the modules.
        module: The module.
        nodes: By their names, the nodes that compute something at run time.
        paths: By the same names, the path of the module that each is part of; its first one if it has several.
        tensors: The parameters and buffers, by the first of their names.
        names: That first name, by any of their names.
        origins: Where the constants of the graph come from.
        readers: By the name of a parameter, the names of the nodes that read it, each with the input.
        returned: The parameters that are outputs of the graph.
        computes_in: The narrowest type that the module converts to by itself.
    """

    def __init__(self, model: ir.Model, module: nn.Module) -> None:
        """Name the nodes after their modules, in place, and look who reads what.

        Args:
            model: As torch exports it.
            module: What it was exported from.
        """
        self.model, self.module = model, module
        tensors = list(tensors_of(module))
        first = {id(tensor): name for name, tensor in reversed(tensors)}
        self.tensors = {first[id(tensor)]: tensor for _, tensor in tensors}
        self.names = {name: first[id(tensor)] for name, tensor in tensors}
        self.origins = Origins(model, self.names)
        nodes = [node for node in model.graph.all_nodes() if not self.origins.is_constant(node)]
        name_after_modules(nodes)
        parts = reversed(list(module.named_modules(remove_duplicate=False)))
        self._first_paths: dict[int, str] = {id(part): path for path, part in parts}
        self.nodes = {node.name or "": node for node in nodes}
        self.paths = {name: self._first_path(path_of(node)) for name, node in self.nodes.items()}
        made_of = self.origins.parameters
        self.readers: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for name, node in self.nodes.items():
            for slot, value in enumerate(node.inputs):
                for parameter in made_of.get(value, ()) if value is not None else ():
                    self.readers[parameter].append((name, slot))
        self.returned = {name for value in model.graph.outputs for name in made_of.get(value, ())}
        self.computes_in = _narrowest(nodes)

    def part(self, path: str) -> nn.Module | None:
        """The module at a path; None where there is none, as the parent has not registered it."""
        try:
            return self.module.get_submodule(path)
        except AttributeError:
            return None

    def nodes_of(self, path: str) -> list[str]:
        """The names of the nodes that a module computes itself, in all its calls."""
        return [name for name, place in self.paths.items() if place == path]

    def compare(self, result: FoldResult) -> tuple[Changes, dict[str, str]]:
        """What a fold of the graph means for the module.

        Returns:
            The changes; and a reason for each node that must stay as it is. The changes count only where there is none.
        """
        return Comparison(self, result).run()

    def _first_path(self, path: str) -> str:
        part = self.part(path)
        return path if part is None else self._first_paths[id(part)]


def _narrowest(nodes: list[ir.Node]) -> ir.DataType:
    casts = [node.attributes["to"].as_int() for node in nodes if node.op_type == "Cast" and "to" in node.attributes]
    return next((dtype for dtype in _NARROWER if dtype in casts), ir.DataType.DOUBLE)
