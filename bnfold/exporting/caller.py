"""How a module is called: tensors by name in, tensors by name out, however it takes and gives them itself."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bnfold.errors import ModelError
from bnfold.exporting.conversion import inference, quiet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from bnfold.exporting.shapes import InputShape

    Arrays = Mapping[str, NDArray[np.generic]]

__all__ = ["Caller", "array_of", "copied", "doubled", "flatten", "name_inputs", "name_outputs", "one_line"]


@dataclass(frozen=True)
class Caller:
    """How a module is called.

    Attributes:
        inputs: What it takes, each with its name and its type.
        by_keyword: Whether the names are those of the parameters of ``forward``; else the order says which is which.
        outputs: What its outputs are called, in their order; empty until it has run.
        nesting: How an exported program nests its inputs in arguments (torch's ``TreeSpec``); None for a module.
    """

    inputs: tuple[InputShape, ...]
    by_keyword: bool
    outputs: tuple[str, ...] = ()
    nesting: Any = None

    def tensors(self, feeds: Arrays, *, double: bool = False) -> dict[str, Tensor]:
        """The feeds as tensors; with ``double``, those with a fraction as float64."""
        import torch

        found = {shape.name: torch.from_numpy(feeds[shape.name]) for shape in self.inputs}
        if double:
            return {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in found.items()}
        return found

    def arguments(self, tensors: Mapping[str, Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the module is called with."""
        if self.nesting is not None:
            from torch.utils._pytree import tree_unflatten

            args, kwargs = tree_unflatten(tensors.values(), self.nesting)
            return args, kwargs
        return ((), dict(tensors)) if self.by_keyword else (tuple(tensors.values()), {})

    def call(self, module: nn.Module, feeds: Arrays, *, double: bool = False) -> list[tuple[str, Tensor]]:
        """The outputs with the names that the module gives them, in the mode that it is in.

        Raises:
            ModelError: The module's own code raises, or it gives something else than tensors.
        """
        args, kwargs = self.arguments(self.tensors(feeds, double=double))
        try:
            given = module(*args, **kwargs)
        except Exception as error:  # whatever its code raises
            raise ModelError(one_line(error)) from error
        return list(flatten(given))

    def run(self, module: nn.Module, feeds: Arrays, *, double: bool = False) -> dict[str, NDArray[np.generic]]:
        """The outputs in inference mode, by the names of the graph.

        Raises:
            ModelError: As ``call``.
        """
        import torch

        with inference(module), torch.no_grad():
            given = self.call(module, feeds, double=double)
        if len(given) != len(self.outputs):
            raise ModelError(f"the network gave {len(self.outputs)} outputs, and now {len(given)}")
        return {name: array_of(tensor) for name, (_, tensor) in zip(self.outputs, given, strict=True)}


def name_inputs(module: nn.Module, shapes: Sequence[InputShape], dtype: str) -> Caller:
    """How a module is called with inputs of these shapes: those without a name or a type get one.

    Args:
        module: The module; the parameters of its ``forward`` tell what its inputs are called.
        shapes: What it is given, in order.
        dtype: The type of those inputs that have none.

    Raises:
        ModelError: It takes fewer inputs, or needs more.
    """
    names = _parameters(module)
    given = [shape.name for shape in shapes]
    by_keyword = names is not None and any(given) and all(name in names for name in given)
    if not by_keyword:
        _check_count(module, len(shapes))
    fallback = names if names is not None and len(names) >= len(shapes) else _numbered("input", len(shapes))
    named = (
        replace(shape, name=shape.name or fallback[index], dtype=shape.dtype or dtype)
        for index, shape in enumerate(shapes)
    )
    caller = Caller(tuple(named), by_keyword)
    if len({shape.name for shape in caller.inputs}) < len(shapes):
        raise ModelError(f"two inputs have one name: {', '.join(shape.name for shape in caller.inputs)}")
    if taken := next((shape.name for shape in caller.inputs if shape.name in module.state_dict()), None):
        raise ModelError(f"the input '{taken}' is called like a parameter: give another name, --input-shape NAME:SHAPE")
    return caller


def name_outputs(
    module: nn.Module, given: Sequence[tuple[str, Tensor]], asked: Sequence[str], inputs: Sequence[InputShape]
) -> tuple[str, ...]:
    """What the outputs are called: as asked for, or as the module calls them, but not like anything else.

    Args:
        module: The module, whose parameters have names too.
        given: The outputs, as it calls them.
        asked: What they are to be called; empty where nobody says.
        inputs: What it takes.

    Raises:
        ModelError: Another number of names was asked for, or one that is taken; or there is no output.
    """
    if not given:
        raise ModelError("the network gives no tensor")
    taken = {shape.name for shape in inputs} | module.state_dict().keys()
    names: list[str] = []
    for name, _ in given:
        while name in taken or name in names:
            name = f"{name}_out"
        names.append(name)
    if asked and len(asked) != len(names):
        found = "1 output" if len(names) == 1 else f"{len(names)} outputs ({', '.join(names)})"
        raise ModelError(f"the network has {found}, and {len(asked)} names were given for them")
    if asked and (len(set(asked)) < len(asked) or not taken.isdisjoint(asked) or "" in asked):
        raise ModelError(f"the names of outputs ({', '.join(asked)}), inputs and parameters must all differ")
    return tuple(asked or names)


def flatten(given: object, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested dictionaries, sequences and dataclasses, in the order of torch's exporters.

    Raises:
        ModelError: There is something else.
    """
    import torch

    if isinstance(given, torch.Tensor):
        yield name or "output", given
    elif isinstance(given, Mapping):
        for key, item in given.items():
            yield from flatten(item, _joined(name, key))
    elif isinstance(given, (tuple, list)):
        keys = getattr(given, "_fields", None) or _numbered("" if name else "output", len(given))
        for key, item in zip(keys, given, strict=True):
            yield from flatten(item, _joined(name, key))
    elif dataclasses.is_dataclass(given) and not isinstance(given, type):
        for field in dataclasses.fields(given):
            yield from flatten(getattr(given, field.name), _joined(name, field.name))
    elif given is not None:
        raise ModelError(
            f"the network gives a {type(given).__name__} ('{name or 'output'}'), where a graph has tensors"
        )


def array_of(tensor: Tensor) -> NDArray[np.generic]:
    """The numbers of a tensor.

    Raises:
        ModelError: numpy has no such numbers, or a tensor does not hold them one by one.
    """
    try:
        array: NDArray[np.generic] = tensor.detach().cpu().resolve_conj().numpy()
    except (RuntimeError, TypeError) as error:
        kind = " ".join(str(each).removeprefix("torch.") for each in (tensor.layout, tensor.dtype))
        raise ModelError(f"there is a tensor ({kind}) whose numbers cannot be compared") from error
    return array


def copied(module: nn.Module) -> nn.Module:
    """A copy.

    Raises:
        ModelError: It cannot be copied.
    """
    try:
        with quiet():
            return copy.deepcopy(module)
    except Exception as error:  # of whatever it holds
        raise ModelError(f"the network cannot be copied: {one_line(error)}") from error


def doubled(module: nn.Module) -> nn.Module:
    """A copy that computes in float64.

    Raises:
        ModelError: It cannot be copied.
    """
    return copied(module).double()


def one_line(error: BaseException) -> str:
    """What an exception says first."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _joined(name: str, key: object) -> str:
    return f"{name}_{key}" if name else str(key)


def _numbered(name: str, count: int) -> list[str]:
    if count == 1:
        return [name or "0"]
    return [f"{name}_{index}".removeprefix("_") for index in range(count)]


def _parameters(module: nn.Module) -> list[str] | None:
    """The names of the parameters of ``forward``; None where they tell nothing."""
    parameters = _signature(module)
    if parameters is None or any(entry.kind is entry.VAR_POSITIONAL for entry in parameters):
        return None
    return [entry.name for entry in parameters if entry.kind is not entry.VAR_KEYWORD]


def _signature(module: nn.Module) -> list[inspect.Parameter] | None:
    import torch

    if isinstance(module, torch.fx.GraphModule):  # a program: its forward takes whatever it is given
        return None
    try:
        return list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return None


def _check_count(module: nn.Module, count: int) -> None:
    parameters: Any = _signature(module)
    if parameters is None or any(entry.kind is entry.VAR_POSITIONAL for entry in parameters):
        return
    places = [entry for entry in parameters if entry.kind in (entry.POSITIONAL_ONLY, entry.POSITIONAL_OR_KEYWORD)]
    needed = [entry.name for entry in places if entry.default is entry.empty]
    if not len(needed) <= count <= len(places):
        names = ", ".join(entry.name for entry in places)
        raise ModelError(
            f"the network takes {names or 'no input'}, and {count} were given: --input-shape NAME:SHAPE for each"
        )
