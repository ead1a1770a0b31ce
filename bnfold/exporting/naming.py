"""Nodes are called what their modules are called: each exporter tells in its own way which module it was in."""

from __future__ import annotations

import ast
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

__all__ = ["name_after_modules", "path_of"]

_SCOPES = "pkg.torch.onnx.name_scopes"


def name_after_modules(nodes: Sequence[ir.Node]) -> None:
    """Call each node what its module is called, and add the operator where a module made several nodes."""
    paths = {node: path_of(node) for node in nodes}
    counts = Counter(paths.values())
    taken: Counter[str] = Counter()
    for node, path in paths.items():
        name = path if path and counts[path] == 1 else f"{path}/{node.op_type}".removeprefix("/")
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"


def path_of(node: ir.Node) -> str:
    """``features.bn1`` from the exporter's list of scopes; empty for what ``forward`` computes itself."""
    if _SCOPES not in node.metadata_props:
        return _path_in_name(node.name or "")
    scopes = ast.literal_eval(node.metadata_props[_SCOPES])
    return str(scopes[-2]) if len(scopes) > 1 else ""


def _path_in_name(name: str) -> str:
    """The same from ``/features/features.0/bn1/BatchNormalization``, as the older exporter calls its nodes.

    Each scope is a module; one in a Sequential or a list has the name of that in front of its own.
    """
    scopes: list[str] = []
    for scope in name.split("/")[1:-1]:
        if scopes and scope.startswith(f"{scopes[-1]}."):
            scopes[-1] = scope
        else:
            scopes.append(scope)
    return ".".join(scopes)
