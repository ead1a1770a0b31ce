"""What a PyTorch module does with one batch in training, call by call.

An ONNX graph at inference has no Dropout any more and knows no momentum; the module does. It is run once, as a copy, in
training mode and on examples, and each function of torch that it calls is noted with where its inputs came from: a call
of ``torch.nn.functional`` counts as one, whatever it calls in turn.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from bnfold.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray
    from torch import Tensor, nn

__all__ = ["Call", "NormState", "trace"]


@dataclass(frozen=True, eq=False)
class NormState:
    """What a BatchNorm module holds.

    Attributes:
        scale: float64 [C]; ones with ``affine=False``.
        bias: The same; zeros.
        mean: The running mean; None with ``track_running_stats=False``.
        var: The running variance, likewise.
        epsilon: What is added to the variance.
        momentum: The weight of a new batch in the running statistics; None where these are the mean of all batches.
        batches: How many batches they have seen; None where nobody counted.
    """

    scale: NDArray[np.float64]
    bias: NDArray[np.float64]
    mean: NDArray[np.float64] | None
    var: NDArray[np.float64] | None
    epsilon: float
    momentum: float | None
    batches: int | None


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a function of torch.

    Attributes:
        function: Its name, such as ``conv2d``.
        module: The path of the innermost module that called it, such as ``features.0``; empty for the outermost.
        name: How reports call it: by that path where it is all that the module does, and else by its function.
        inputs: The numbers of the calls that made what it reads; −1 for an input of the network. Weights are none.
        shape: That of the first tensor that it reads.
        biases: How many numbers its bias has; 0 where it takes none.
        rate: The share that a dropout sets to 0.
        norm: What the BatchNorm module holds that called it; None for every other call.
    """

    function: str
    module: str
    name: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    biases: int = 0
    rate: float | None = None
    norm: NormState | None = None


def trace(
    module: nn.Module, inputs: tuple[object, ...], named: Mapping[str, object] = MappingProxyType({})
) -> tuple[Call, ...]:
    """The calls of one run in training mode, in their order.

    The module is copied, and stays as it is; so do torch's random numbers.

    Args:
        module: Any module; what it computes need not be exportable.
        inputs: What it is called with; at least 2 rows, as a BatchNorm takes no fewer where it sees one number a row.
        named: What it is called with by name.

    Raises:
        ModelError: It cannot be copied, or not be run on these.
    """
    import torch

    try:
        twin = copy.deepcopy(module).train()
        recorder = _recorder(module)
        recorder.begin((*inputs, *named.values()))
        with torch.random.fork_rng(devices=[]), torch.no_grad(), _places(twin, recorder), recorder:
            twin(*inputs, **named)
    except Exception as error:  # whatever the module's own code raises
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"the module cannot be run in training mode: {lines[0]}") from error
    return tuple(recorder.calls)


def _recorder(module: nn.Module) -> Any:
    from torch import Tensor
    from torch.overrides import TorchFunctionMode

    class Recorder(TorchFunctionMode):
        """Notes each call, and which call made which tensor."""

        def __init__(self) -> None:
            super().__init__()
            self.calls: list[Call] = []
            self.places = [""]
            self._makers: dict[int, int] = {}
            self._alive: list[Tensor] = []  # a tensor that is gone may leave its identity to another one

        def begin(self, inputs: tuple[object, ...]) -> None:
            for tensor in _tensors(inputs):
                self._note(tensor, -1)

        def __torch_function__(self, function, types, arguments=(), options=None):  # type: ignore[no-untyped-def]
            result = function(*arguments, **(options or {}))
            if made := list(_tensors((result,))):
                read = list(_tensors((*arguments, *(options or {}).values())))
                sources = tuple({self._makers[id(tensor)]: None for tensor in read if id(tensor) in self._makers})
                if sources:
                    self.calls.append(self._call(function.__name__, read, sources, arguments, options or {}))
                    for tensor in made:
                        self._note(tensor, len(self.calls) - 1)
            return result

        def _note(self, tensor: Tensor, maker: int) -> None:
            self._makers[id(tensor)] = maker
            self._alive.append(tensor)

        def _call(self, name: str, read: list[Tensor], sources: tuple[int, ...], arguments: Any, options: Any) -> Call:
            path = self.places[-1]
            caller = module.get_submodule(path)  # not of the copy, whose statistics have moved by now
            bias = _argument("bias", 2, arguments, options) if name.startswith(("conv", "linear")) else None
            rate = _argument("p", 1, arguments, options, 0.5) if "dropout" in name else None
            return Call(
                function=name,
                module=path,
                name=path if path and not list(caller.children()) else name,
                inputs=sources,
                shape=tuple(read[0].shape),
                biases=bias.numel() if isinstance(bias, Tensor) else 0,
                rate=float(rate) if isinstance(rate, (int, float)) else None,
                norm=_state(caller) if name == "batch_norm" else None,
            )

    return Recorder()


@contextmanager
def _places(module: nn.Module, recorder: Any) -> Iterator[None]:
    """Have the recorder know which module is at work."""

    def enter(path: str) -> Any:
        return lambda *_: recorder.places.append(path)

    def leave(*_: object) -> None:
        recorder.places.pop()

    handles = []
    for path, part in module.named_modules():
        handles += [part.register_forward_pre_hook(enter(path)), part.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _state(module: nn.Module) -> NormState | None:
    """What a BatchNorm module holds; None for another module that calls the function itself."""
    from torch.nn.modules.batchnorm import _BatchNorm

    if not isinstance(module, _BatchNorm):
        return None
    mean, var = module.running_mean, module.running_var
    tracks = mean is not None and var is not None
    batches = module.num_batches_tracked
    return NormState(
        scale=_array(module.weight) if module.weight is not None else np.ones(module.num_features),
        bias=_array(module.bias) if module.bias is not None else np.zeros(module.num_features),
        mean=_array(mean) if mean is not None else None,
        var=_array(var) if var is not None else None,
        epsilon=module.eps,
        momentum=module.momentum if tracks else None,
        batches=int(batches) if batches is not None else None,
    )


def _array(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().double().cpu().numpy().copy()


def _tensors(values: object) -> Iterator[Any]:
    """Every tensor in nested tuples, lists and dictionaries."""
    from torch import Tensor
    from torch.utils._pytree import tree_leaves

    yield from (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def _argument(name: str, index: int, arguments: Any, options: Any, default: object = None) -> object:
    return options[name] if name in options else arguments[index] if len(arguments) > index else default
