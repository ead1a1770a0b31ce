"""What a fold of the exported graph means for the module that it was exported from.

The planner folds a graph, which has a node for each *call* of a module, and may give each of them weights of its own. A
module has one set of weights, and code that stays as it is. So each change is carried back:

1. A node that went must be all that a module computes, in all its calls: the module becomes ``nn.Identity``.
2. A constant that changed must be numbers of parameters, only placed otherwise (``origins.py``).
3. All that read a parameter must want the same of it.
4. A bias that a node has got becomes one of its Conv, Linear or norm, if that has none, and its code is torch's own.
5. Everything else, an attribute of a node say, is code.

What cannot be carried back is an obstacle, told by the node that has to stay as it is for it not to come up.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from bnfold.exporting.modules.aliasing import find_in_place
from bnfold.exporting.modules.changing import Changes, tensors_of
from bnfold.exporting.modules.origins import Untraceable
from bnfold.folding.nodes import find_input

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import onnx_ir as ir
    from numpy.typing import NDArray
    from torch import nn

    from bnfold.exporting.modules.correspondence import Correspondence
    from bnfold.folding import FoldResult

__all__ = ["Comparison"]

# What a module calls the inputs of its node that it may have or not.
_OPTIONAL = {
    "LayerNormalization": {1: "weight", 2: "bias"},
    **{op_type: {2: "bias"} for op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")},
}


class Comparison:
    """One fold, set against the module."""

    def __init__(self, known: Correspondence, result: FoldResult) -> None:
        self._known = known
        self._after = {node.name: node for node in result.model.graph.all_nodes() if node.name}
        self._gone = dict.fromkeys(name for name, node in known.nodes.items() if self._is_gone(name, node))
        absorbed = (absorption.node for entry in result.folded for absorption in entry.into)
        self._absorbed = [name for name in dict.fromkeys(absorbed) if name in known.nodes and name not in self._gone]
        self._wanted: dict[str, list[tuple[str, NDArray[np.float64]]]] = defaultdict(list)
        self._lacking: dict[tuple[str, str], dict[str, NDArray[np.float64]]] = defaultdict(dict)
        self._changed: set[tuple[str, int]] = set()
        self._changes = Changes()
        self._obstacles: dict[str, str] = {}

    def run(self) -> tuple[Changes, dict[str, str]]:
        """The changes, and the obstacles by node."""
        by_path: dict[str, list[str]] = defaultdict(list)
        for name in self._gone:
            by_path[self._known.paths[name]].append(name)
        for path, names in by_path.items():
            self._remove(path, names)
        for name in self._absorbed:
            self._compare(name)
        for parameter, wanted in self._wanted.items():
            self._agree(parameter, wanted)
        for (path, attribute), by_node in self._lacking.items():
            self._add(path, attribute, by_node)
        self._changes.out_of_place, self._changes.doubtful = find_in_place(self._known, self._gone)
        return self._changes, self._obstacles

    def _is_gone(self, name: str, node: ir.Node) -> bool:
        after = self._after.get(name)
        return after is None or (after.op_type == "Identity" and node.op_type != "Identity")

    def _block(self, names: Iterable[str], reason: str) -> None:
        for name in names:
            self._obstacles.setdefault(name, reason)

    def _remove(self, path: str, names: list[str]) -> None:
        """Rule 1."""
        part = self._known.part(path)
        stays = [name for name in self._known.nodes_of(path) if name not in self._gone]
        if part is None or not path or list(part.children()) or (stays and not _is_called_twice(part)):
            self._block(names, f"is part of what the code of {_called(path)} computes, which stays as it is")
        elif stays:
            self._block(names, f"is one of several calls of '{path}', and not all of them can go")
        elif shared := self._read_elsewhere(path, part):
            self._block(names, f"has the parameter '{shared}', which other code reads as well")
        else:
            self._changes.removed.append(path)

    def _read_elsewhere(self, path: str, part: nn.Module) -> str | None:
        """A parameter of a module that is still needed when the module is gone."""
        for name, _ in tensors_of(part):
            parameter = self._known.names[f"{path}.{name}"]
            readers = {reader for reader, _ in self._known.readers[parameter]}
            if parameter in self._known.returned or readers - self._gone.keys():
                return f"{path}.{name}"
        return None

    def _compare(self, name: str) -> None:
        """What has become of the constants of a node, wherever they are now."""
        before, after = self._known.nodes[name], self._after[name]
        if before.op_type == "MatMul":
            after = _gemm_behind(after)
        elif before.op_type != after.op_type or _attributes(before) != _attributes(after):
            self._block([name], "would be another operation, and code stays as it is")  # 5
            return
        for slot in range(len(after.inputs)):
            old, new = find_input(before, slot), _stored(find_input(after, slot))
            if new is None or (old is not None and old not in self._known.origins.parameters):
                continue  # known at run time only; or still the expression that it was
            weight = self._known.origins.constants.weight(old)
            if weight is not None and np.array_equal(weight, new):
                continue
            if old is None or self._is_made_up(name, slot, old):
                self._lack(name, slot, new)
            else:
                self._send_back(name, slot, old, new)
        for bias in self._added_behind(after):
            self._lack(name, 2, bias)

    def _added_behind(self, node: ir.Node) -> list[NDArray[np.float64]]:
        """What a new Add behind a MatMul adds."""
        uses = node.outputs[0].uses() if node.op_type == "MatMul" else ()
        adds = [use.node for use in uses if use.node.op_type == "Add" and use.node.name not in self._known.nodes]
        return [bias for add in adds if (bias := _stored(find_input(add, 1))) is not None]

    def _is_made_up(self, name: str, slot: int, old: ir.Value) -> bool:
        """Whether the exporter has written a constant for a parameter that the module does not have."""
        attribute = _OPTIONAL.get(self._known.nodes[name].op_type, {}).get(slot)
        is_own = bool(self._known.origins.parameters[old])
        return attribute is not None and not is_own and _lacks(self._known.part(self._known.paths[name]), attribute)

    def _send_back(self, name: str, slot: int, old: ir.Value, new: NDArray[np.float64]) -> None:
        """Rule 2."""
        self._changed.add((name, slot))
        try:
            for parameter, numbers in self._known.origins.sent_back(old, new).items():
                self._wanted[parameter].append((name, numbers))
        except Untraceable as reason:
            self._block([name], f"reads a constant that {reason.reason}, and would need other numbers there")

    def _agree(self, parameter: str, wanted: list[tuple[str, NDArray[np.float64]]]) -> None:
        """Rule 3: those that want a parameter as it is are asked as well."""
        names = [name for name, _ in wanted]
        if parameter in self._known.returned:
            self._block(names, f"reads '{parameter}', which the module returns as well")
            return
        target = np.full(self._known.tensors[parameter].numel(), np.nan)
        for numbers in (*(numbers for _, numbers in wanted), *self._wanted_as_it_is(parameter)):
            known = target[: numbers.size]
            if ((known != numbers) & ~np.isnan(known) & ~np.isnan(numbers)).any():
                self._block(names, f"shares '{parameter}' with another call, which needs other numbers there")
                return
            known[:] = np.where(np.isnan(numbers), known, numbers)
        old = self._known.tensors[parameter].detach().reshape(-1).numpy()
        self._changes.values[parameter] = np.where(np.isnan(target), old, target)
        for name in names:
            self._changes.touched[name].append(parameter)

    def _wanted_as_it_is(self, parameter: str) -> Iterator[NDArray[np.float64]]:
        """What readers of a parameter want that did not change."""
        old = self._known.tensors[parameter].detach().reshape(-1).double().numpy()
        for name, slot in self._known.readers[parameter]:
            if (name, slot) in self._changed or name in self._gone:
                continue
            value = self._known.nodes[name].inputs[slot]
            weight = self._known.origins.constants.weight(value)
            try:
                found = self._known.origins.sent_back(value, weight) if value is not None and weight is not None else {}
            except Untraceable:
                found = {}
            yield found.get(parameter, old)

    def _lack(self, name: str, slot: int, new: NDArray[np.float64]) -> None:
        """Rule 4."""
        path = self._known.paths[name]
        part, attribute = self._known.part(path), _OPTIONAL.get(self._known.nodes[name].op_type, {}).get(slot, "")
        if part is None or not _lacks(part, attribute):
            self._block([name], f"would need a constant that {_called(path)} has no parameter for")
        elif not _is_plain(part):
            self._block([name], f"would need a {attribute}, of which the code of '{path}' may not know")
        else:
            self._lacking[path, attribute][name] = new.reshape(-1)

    def _add(self, path: str, attribute: str, by_node: dict[str, NDArray[np.float64]]) -> None:
        """Give a module a parameter, if all its calls want the same one."""
        names = [name for name in self._known.nodes_of(path) if self._known.nodes[name].op_type in _OPTIONAL]
        new = next(iter(by_node.values()))
        if set(names) != set(by_node) or not all(np.array_equal(new, other) for other in by_node.values()):
            self._block(by_node, f"is one of several calls of '{path}', which would need a {attribute} each of its own")
            return
        self._changes.values[f"{path}.{attribute}"] = new
        for name in names:
            self._changes.touched[name].append(f"{path}.{attribute}")


def _is_called_twice(part: nn.Module) -> bool:
    """Whether more than one node tells of more than one call: torch's own norms make one node a call."""
    return type(part).__module__.startswith("torch.nn.modules.")


def _attributes(node: ir.Node) -> Mapping[str, object]:
    return {name: attribute.value for name, attribute in node.attributes.items()}


def _gemm_behind(node: ir.Node) -> ir.Node:
    """The Gemm that a MatMul has become together with the Reshape behind it; or the node itself."""
    if node.op_type != "Reshape":
        return node
    return next(use.node for use in node.outputs[0].uses() if use.node.op_type == "Gemm")


def _stored(value: ir.Value | None) -> NDArray[np.float64] | None:
    """The numbers of an initializer of floating-point numbers; None for everything else."""
    tensor = value.const_value if value is not None and value.is_initializer() else None
    return tensor.numpy().astype(np.float64) if tensor is not None and tensor.dtype.is_floating_point() else None


def _lacks(part: nn.Module | None, attribute: str) -> bool:
    """Whether a module has an empty place for a parameter."""
    return bool(attribute) and part is not None and getattr(part, attribute, part) is None


def _is_plain(part: nn.Module) -> bool:
    """Whether a module's code is torch's own, which reads its bias if there is one."""
    return "forward" not in vars(part) and type(part).forward.__module__.startswith("torch.nn.modules.")


def _called(path: str) -> str:
    return f"'{path}'" if path else "the module"
