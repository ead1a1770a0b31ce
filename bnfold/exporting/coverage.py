"""Where is every parameter and buffer of the module in the graph? By name, by value, or not at all, and why."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bnfold.errors import ModelError
from bnfold.exporting.caller import array_of, doubled
from bnfold.exporting.weights import state_of
from bnfold.modelfile import all_graphs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import onnx_ir as ir
    from numpy.typing import NDArray
    from torch import nn

    from bnfold.exporting.caller import Arrays, Caller

    Array = NDArray[np.generic]

__all__ = ["Unused", "account_for"]

_COUNTER = "num_batches_tracked"
_COUNTS = "counts batches for training"
_UNREAD = "not read at inference"
_COMPUTED = "the graph holds what is computed with it"
_UNKNOWN = "not in the graph as such"


@dataclass(frozen=True)
class Unused:
    """A parameter or a buffer that is not in the graph.

    Attributes:
        name: What the module calls it.
        reason: Why that is no loss.
    """

    name: str
    reason: str


def account_for(model: ir.Model, module: nn.Module, caller: Caller, feeds: Arrays) -> tuple[Unused, ...]:
    """Every entry of the module's state that the graph does not hold.

    Whether the network reads those at all is asked of the network: of the gradient of its outputs, in float64.

    Args:
        model: The graph.
        module: What it was made of.
        caller: How that is called.
        feeds: What to call it with.
    """
    stored = {name: array for graph in all_graphs(model) for name, array in _constants(graph)}
    held = {name: array_of(tensor) for name, tensor in state_of(module).items()}
    absent = [name for name, array in held.items() if name not in stored or not _equal(stored[name], array)]
    if absent:
        values = {_digest(array) for array in stored.values()} | {
            _digest(array.T) for array in stored.values() if array.ndim == 2
        }
        absent = [name for name in absent if held[name].size < 2 or _digest(held[name]) not in values]
    asked = [name for name in absent if name.rpartition(".")[2] != _COUNTER]
    read = _read_by(module, caller, feeds, asked) if asked else {}
    return tuple(Unused(name, read.get(name, _COUNTS)) for name in absent)


def _constants(graph: ir.Graph) -> Iterator[tuple[str, Array]]:
    for name, value in graph.initializers.items():
        if value.const_value is not None:
            yield name, value.const_value.numpy()


def _equal(stored: Array, held: Array) -> bool:
    return stored.dtype == held.dtype and stored.shape == held.shape and stored.tobytes() == held.tobytes()


def _digest(array: Array) -> tuple[str, int, bytes]:
    """Equal for arrays that hold the same numbers in one order, whatever their shapes."""
    content = np.ascontiguousarray(array)
    return str(array.dtype), array.size, hashlib.blake2b(content.tobytes(), digest_size=16).digest()


def _read_by(module: nn.Module, caller: Caller, feeds: Arrays, names: list[str]) -> Mapping[str, str]:
    """For each of these, whether an output of the network depends on it."""
    import torch

    from bnfold.exporting.conversion import inference

    try:
        twin = doubled(module)
        held = {**dict(twin.named_parameters()), **dict(twin.named_buffers())}
        asked = {name: held[name] for name in names if name in held and held[name].is_floating_point()}
        for tensor in asked.values():
            tensor.requires_grad_(True)
        with inference(twin), torch.enable_grad():
            given = [tensor for _, tensor in caller.call(twin, feeds, double=True) if tensor.requires_grad]
            total = sum((tensor.sum() for tensor in given), torch.zeros(()))
            found = (
                torch.autograd.grad(total, list(asked.values()), allow_unused=True) if given else [None] * len(asked)
            )
    except (ModelError, RuntimeError):  # it takes no float64, or has no gradient
        return dict.fromkeys(names, _UNKNOWN)
    reasons = {name: _UNREAD if slope is None else _COMPUTED for name, slope in zip(asked, found, strict=True)}
    return {name: reasons.get(name, _UNKNOWN) for name in names}
