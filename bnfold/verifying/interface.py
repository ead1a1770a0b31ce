"""Whether two models can stand in for each other: the same inputs and outputs, by name, order, type and shape."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from bnfold.runtime.inputs import fed_inputs
from bnfold.verifying.comparison import Check, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

__all__ = ["compare_interfaces"]

_FIRST_IR_VERSION_WITH_DEFAULTS = 4  # before, every initializer was also listed as an input


def compare_interfaces(reference: ir.Model, candidate: ir.Model) -> list[Check]:
    """One check that passed, or one for each difference.

    A shape that only one of the two states is a warning; two that differ, symbolic names included, are a failure.
    """
    checks = [
        *_compare("input", _inputs(reference), _inputs(candidate)),
        *_compare("output", reference.graph.outputs, candidate.graph.outputs),
    ]
    count = f"{len(_inputs(reference))} inputs, {len(reference.graph.outputs)} outputs"
    return checks or [Check("interface", Verdict.PASS, f"names, order, types and shapes are the same: {count}")]


def _inputs(model: ir.Model) -> Sequence[ir.Value]:
    """All that a caller may feed, weights that can be overridden included."""
    if model.ir_version < _FIRST_IR_VERSION_WITH_DEFAULTS:
        return fed_inputs(model)
    return model.graph.inputs


def _compare(kind: str, reference: Sequence[ir.Value], candidate: Sequence[ir.Value]) -> list[Check]:
    checks = []
    for left, right in zip_longest(reference, candidate):
        verdict, difference = _difference(left, right)
        if difference:
            name = (left or right).name
            checks.append(Check("interface", verdict, f"{kind} '{name}': {difference}"))
    return checks


def _difference(left: ir.Value | None, right: ir.Value | None) -> tuple[Verdict, str]:
    if left is None or right is None:
        return Verdict.FAIL, f"only the {'candidate' if left is None else 'reference'} has it"
    if left.name != right.name:
        return Verdict.FAIL, f"the candidate calls it '{right.name}'"
    if left.type != right.type:
        return Verdict.FAIL, f"{right.type} instead of {left.type}"
    if left.shape == right.shape:
        return Verdict.PASS, ""
    if left.shape is None or right.shape is None:
        return Verdict.WARN, f"shape {_words(right.shape)} instead of {_words(left.shape)}"
    pairs = list(zip_longest(map(_size, left.shape), map(_size, right.shape), fillvalue=""))
    fatal = any(a != b and "?" not in (a, b) for a, b in pairs)
    return (
        Verdict.FAIL if fatal else Verdict.WARN,
        f"shape {_words(right.shape)} instead of {_words(left.shape)}",
    )


def _size(dim: int | ir.SymbolicDim) -> str:
    """``3``, ``N``, or ``?`` for a size that the file does not state."""
    return str(dim) if isinstance(dim, int) else dim.value or "?"


def _words(shape: ir.Shape | None) -> str:
    return "unknown" if shape is None else f"[{', '.join(map(_size, shape))}]"
