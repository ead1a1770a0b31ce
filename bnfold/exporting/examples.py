"""Sizes for axes that may have any, and numbers to try a network with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from bnfold.errors import ModelError
from bnfold.exporting.conversion import inference
from bnfold.exporting.shapes import symbols_of
from bnfold.runtime.inputs import InputSet, Sizes, make_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx_ir as ir
    from numpy.typing import NDArray
    from torch import nn

    from bnfold.exporting.caller import Caller

__all__ = ["example_feeds", "find_sizes", "made_up_sets"]

# Lengths of axes that may have any: different ones first, so that no two are taken for one; then what is in use.
_LENGTHS = ((64, 96), (64, 64), (16, 24), (224, 224), (8, 8))
_ELEMENTS = 1 << 16  # of all inputs of a run: more rows give a tighter verdict, and cost more
_MOST_ROWS = 16
_KINDS = (("normal", 0), ("normal", 1), ("uniform", 2), ("constant", 3))
_LEGAL_KINDS = (("uniform", 0), ("uniform", 1), ("zeros", 2))  # whose integers are 0 and 1: rows of any table

# To another size, the most likely first: networks halve and double, and have strides.
_CHANGES: tuple[Callable[[int], int], ...] = (
    lambda size: size // 2 or 2,
    lambda size: size * 2,
    lambda size: size + 32,
    lambda size: size + 16,
)

Tried = dict[str, int]


def example_feeds(caller: Caller, sizes: Mapping[str, int], seed: int = 0) -> dict[str, NDArray[np.generic]]:
    """An array for each input: N(0, 1), and zeros where there is no fraction."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for shape in caller.inputs:
        floats = shape.dtype.startswith("float")
        values = rng.standard_normal(shape.sized(sizes)) if floats else np.zeros(shape.sized(sizes))
        feeds[shape.name] = values.astype(shape.dtype)
    return feeds


def find_sizes(module: nn.Module, caller: Caller) -> tuple[Tried, Tried, Tried]:
    """Two sizes for each symbol that the network takes, and a batch of one; all the same where there is no symbol.

    Raises:
        ModelError: The network does not take inputs of these shapes, or of no second size.
    """
    symbols = symbols_of(caller.inputs)
    batches = [shape.dims[0] for shape in caller.inputs if shape.dims and isinstance(shape.dims[0], str)]
    first = _first(module, caller, symbols, batches)
    if not symbols:
        return first, first, first
    second = _second(module, caller, first, batches)
    single = {**first, **{name: 1 for name in batches if symbols[name] is None}}
    return first, second, single if _refusal(module, caller, single) is None else first


def made_up_sets(model: ir.Model, sizes: tuple[Tried, Tried, Tried], *, legal: bool = False) -> list[InputSet]:
    """Inputs for the graph, at two sizes in turn, and a batch of one.

    Args:
        model: What tells which integers are indices, and of how many rows.
        sizes: As ``find_sizes`` gives them.
        legal: Take only integers that index any table.
    """
    first, second, single = (Sizes(1, 1, tuple(found.items())) for found in sizes)
    sets = [
        make_inputs(model, kind, seed, (first, second)[index % 2])
        for index, (kind, seed) in enumerate(_LEGAL_KINDS if legal else _KINDS)
    ]
    return sets if single == first else [*sets, make_inputs(model, "uniform" if legal else "normal", 4, single)]


def _first(module: nn.Module, caller: Caller, symbols: Mapping[str, int | None], batches: list[str]) -> Tried:
    refusals = []
    for lengths in _LENGTHS:
        free = [name for name, size in symbols.items() if size is None and name not in batches]
        sizes = {name: size for name, size in symbols.items() if size is not None}
        sizes |= {name: lengths[index % 2] for index, name in enumerate(free)}
        rows = _rows(caller, sizes, batches)
        sizes = {name: sizes.get(name, rows) for name in symbols}
        refusal = _refusal(module, caller, sizes)
        if refusal is None:
            return sizes
        refusals.append(f"the network does not take {_described(caller, sizes)}: {refusal}")
        if not free:
            break
    raise ModelError(refusals[0])


def _second(module: nn.Module, caller: Caller, first: Tried, batches: list[str]) -> Tried:
    for change in _CHANGES:
        sizes = {name: _fewer(size) if name in batches else change(size) for name, size in first.items()}
        if _refusal(module, caller, sizes) is None:
            return sizes
    sizes = dict(first)
    for name, size in first.items():  # one by one, to name the one that is fixed
        tried = [_fewer(size)] if name in batches else _others(size)
        taken = (new for new in tried if _refusal(module, caller, {**first, name: new}) is None)
        sizes[name] = next(taken, 0)
        if not sizes[name]:
            raise ModelError(
                f"axis '{name}' cannot have any size: the network takes {size}, and no other that was tried, from "
                f"{min(tried)} to {max(tried)}; give the size in place of the name"
            )
    return sizes


def _others(size: int) -> list[int]:
    """Other sizes, the most likely first; for any stride or window up to 32 there is one among them."""
    near = (size + step * sign for step in range(1, 33) for sign in (1, -1))
    return [new for new in dict.fromkeys([*(change(size) for change in _CHANGES), *near]) if new > 0 and new != size]


def _rows(caller: Caller, sizes: Mapping[str, int], batches: list[str]) -> int:
    known = {**sizes, **{name: 1 for name in batches if name not in sizes}}
    elements = sum(math.prod(shape.sized(known)) for shape in caller.inputs)
    return min(_MOST_ROWS, max(2, _ELEMENTS // max(1, elements)))


def _fewer(rows: int) -> int:
    return rows * 9 // 16 if rows >= 4 else rows + 1


def _refusal(module: nn.Module, caller: Caller, sizes: Mapping[str, int]) -> str | None:
    """What the network says of inputs of these sizes; None if it takes them."""
    import torch

    try:
        with inference(module), torch.no_grad():
            caller.call(module, example_feeds(caller, sizes))
    except ModelError as error:
        return str(error)
    return None


def _described(caller: Caller, sizes: Mapping[str, int]) -> str:
    return ", ".join(
        f"{shape.name} {'×'.join(map(str, shape.sized(sizes))) or 'scalar'} {shape.dtype}" for shape in caller.inputs
    )
