"""Adds to the facts of an ONNX graph what the PyTorch module knows that it was exported from.

What folds, and what is exported, is what the graph says. Dropout, momentum, how many batches were seen, and of how many
numbers the statistics are in training only the module can tell.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from typing import TYPE_CHECKING

import onnx_ir as ir

from bnfold.linting.facts import BatchNorm, Kind, Layer, Network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnfold.exporting.tracing import Call

__all__ = ["with_calls"]

_WEIGHTS = frozenset({"linear", *(f"conv{way}{axes}d" for way in ("", "_transpose") for axes in (1, 2, 3))})
_ACTIVATIONS = frozenset(
    [
        *("celu", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "prelu", "relu"),
        *("relu6", "rrelu", "selu", "sigmoid", "silu", "softplus", "softsign", "tanh", "threshold"),
    ]
)
_IN_PLACE = frozenset({"contiguous", "double", "float", "half", "to"})
_PASSING = _IN_PLACE | {"flatten", "movedim", "permute", "reshape", "squeeze", "transpose", "unsqueeze", "view"}
_NO_STATISTICS = "track_running_stats=False: it has no running statistics, and normalises with those of the batch"


def with_calls(network: Network, calls: Sequence[Call]) -> Network:
    """The network with what the calls tell, its BatchNormalizations in the order of the calls.

    Args:
        network: Read off the ONNX graph.
        calls: What the module does in training.
    """
    waiting: dict[str, list[BatchNorm]] = defaultdict(list)
    for norm in network.batch_norms:
        waiting[norm.module].append(norm)
    trace = _Trace(calls)
    norms: list[BatchNorm] = []
    for number, call in enumerate(calls):
        if call.norm is not None:
            norms.append(trace.norm(number, _take(waiting, call)))
    rest = [norm for norm in network.batch_norms if norm in waiting[norm.module]]
    return dataclasses.replace(network, batch_norms=(*norms, *rest))


def _take(waiting: dict[str, list[BatchNorm]], call: Call) -> BatchNorm | None:
    """The first node that a call may have become, which no other call can have then: a module can be called twice.

    One that has neither parameters nor statistics has lost its name.
    """
    if waiting[call.module]:
        return waiting[call.module].pop(0)
    nameless = (
        [norm for norm in waiting[""] if norm.training] if call.norm is not None and call.norm.mean is None else []
    )
    if nameless:
        waiting[""].remove(nameless[0])
    return nameless[0] if nameless else None


class _Trace:
    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = calls
        self._readers: dict[int, list[int]] = defaultdict(list)
        for number, call in enumerate(calls):
            for source in call.inputs:
                self._readers[source].append(number)
        self._upstream: set[int] = set()  # from which a way leads to a BatchNorm
        for number in reversed(range(len(calls))):
            if calls[number].norm is not None or number in self._upstream:
                self._upstream.update(calls[number].inputs)

    def norm(self, number: int, known: BatchNorm | None) -> BatchNorm:
        """One BatchNorm: what the graph says of it, if it is there, and what the module does."""
        call = self._calls[number]
        state = call.norm
        if state is None:
            raise ValueError(f"{call.name} is no BatchNorm")
        if known is None:
            arrays = (state.scale, state.bias, state.mean, state.var)
            known = BatchNorm(call.module, call.module, *arrays, state.epsilon, ir.DataType.FLOAT)
        return dataclasses.replace(
            known,
            before=self._before(number, known),
            after=self._after(number),
            training=known.training if state.mean is not None else _NO_STATISTICS,
            momentum=state.momentum,
            batches=state.batches,
            elements=math.prod(call.shape[2:]),
            rank=len(call.shape),
        )

    def _before(self, norm: int, known: BatchNorm) -> tuple[Layer, ...]:
        layers: list[Layer] = []
        is_direct = True  # one path that nobody else reads from, along which no channel moves
        number = self._calls[norm].inputs[0]
        while number >= 0:
            is_shared = len(self._readers[number]) != 1
            is_direct = is_direct and not is_shared
            layer = dataclasses.replace(self._layer(number), is_shared=is_shared)
            if layer.kind is Kind.WEIGHTS:
                is_direct = is_direct and (layer.op_type != "linear" or len(self._calls[norm].shape) == 2)
                biases = self._calls[number].biases if is_direct else _biases_in_front(known)
                layers.append(dataclasses.replace(layer, biases=biases))
                break
            layers.append(layer)
            is_direct = is_direct and layer.op_type in _IN_PLACE
            number = -1 if layer.kind is Kind.OTHER else self._source(number)
        return tuple(layers)

    def _after(self, norm: int) -> tuple[Layer, ...]:
        layers: list[Layer] = []
        number = self._reader(norm)
        while number is not None:
            layers.append(self._layer(number))
            number = None if layers[-1].kind in (Kind.WEIGHTS, Kind.OTHER) else self._reader(number)
        return tuple(layers)

    def _layer(self, number: int) -> Layer:
        call = self._calls[number]
        function = call.function.strip("_")
        kind = self._kind(number, function)
        return Layer(call.name, function, kind, rate=call.rate, reaches_batch_norm=number in self._upstream)

    def _kind(self, number: int, function: str) -> Kind:
        if function in _WEIGHTS:
            return Kind.WEIGHTS
        if function in _ACTIVATIONS or self._is_gate(number):
            return Kind.ACTIVATION
        if "dropout" in function:
            return Kind.DROPOUT
        return Kind.PASSING if function in _PASSING else Kind.OTHER

    def _is_gate(self, number: int) -> bool:
        """Whether it is the product in x·sigmoid(x), which is an activation of x."""
        call = self._calls[number]
        return call.function.strip("_") == "mul" and any(
            source >= 0
            and self._calls[source].function.strip("_") in _ACTIVATIONS
            and {source, *self._calls[source].inputs} == set(call.inputs)
            for source in call.inputs
        )

    def _source(self, number: int) -> int:
        """What an activation, a dropout, or a call that moves numbers about, reads: the first to be made, of a gate."""
        return min(self._calls[number].inputs)

    def _reader(self, number: int) -> int | None:
        """The only call that reads what a call makes; a gate counts as one with its activation."""
        readers = self._readers[number]
        if len(readers) == 1:
            return readers[0]
        return next((reader for reader in readers if self._is_gate(reader) and len(readers) == 2), None)


def _biases_in_front(norm: BatchNorm) -> int:
    """What the planner knows: of the graph, where a bias of zeros does not count."""
    return next((layer.biases for layer in norm.before if layer.kind is Kind.WEIGHTS), 0)
