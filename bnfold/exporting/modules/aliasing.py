"""What a layer that is gone no longer keeps apart: it wrote a tensor of its own, where Identity hands on what it reads.

In ``x + conv(relu(bn(x)))`` an in-place ReLU works on what the BatchNorm wrote. With ``nn.Identity`` in its place it
would overwrite x, which the sum reads as well. So such modules are told to work out of place. What code does by itself
(``relu_``, ``+=``) a graph does not tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    import onnx_ir as ir

    from bnfold.exporting.modules.correspondence import Correspondence

__all__ = ["find_in_place"]

# Ops that torch computes as views, or may.
_VIEWS = frozenset(
    {"Dropout", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose"}
    | {"Unsqueeze"}
)


def find_in_place(known: Correspondence, gone: Collection[str]) -> tuple[list[str], list[str]]:
    """What works in place behind layers that are gone, on what something else reads as well.

    Args:
        known: The graph as it was.
        gone: The names of the nodes that are gone.

    Returns:
        The paths of modules with ``inplace=True``; and the names of gone nodes behind which code may do the same.
    """
    passed = {known.nodes[name] for name in gone}
    in_place: dict[str, None] = {}
    doubtful = []
    for name in gone:
        node = known.nodes[name]
        behind = _readers(node.outputs[0], passed)
        root = _root(node.inputs[0], passed)
        if not root.is_graph_input() and not root.is_initializer() and _readers(root, passed) == behind:
            continue
        paths = {known.paths[reader.name] for reader in behind if reader is not None and reader.name in known.paths}
        in_place.update((path, None) for path in sorted(paths) if getattr(known.part(path), "inplace", False))
        if any(_is_code(known, path) for path in paths):
            doubtful.append(name)
    return list(in_place), doubtful


def _root(value: ir.Value | None, passed: Collection[ir.Node]) -> ir.Value:
    """The tensor whose memory a value may be."""
    while value is not None:
        node = value.producer()
        if node is None or not (node in passed or node.op_type in _VIEWS):
            return value
        value = node.inputs[0]
    raise ValueError("a node without an input is no view")


def _readers(value: ir.Value, passed: Collection[ir.Node]) -> set[ir.Node | None]:
    """Who reads that memory, be it through views; None for the caller, who gets it as an output."""
    found: set[ir.Node | None] = set()
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if value.is_graph_output():
            found.add(None)
        for use in value.uses():
            if use.node in passed or use.node.op_type in _VIEWS:
                waiting += use.node.outputs[:1] if use.node.op_type != "Split" else use.node.outputs
            else:
                found.add(use.node)
    return found


def _is_code(known: Correspondence, path: str) -> bool:
    """Whether a node comes from code that we cannot know: that of a module with parts, or of none of torch's own."""
    part = known.part(path)
    return part is None or not type(part).__module__.startswith("torch.nn.modules.") or any(part.children())
