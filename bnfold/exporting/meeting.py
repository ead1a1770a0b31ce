"""The first runs of a module: what it takes, at which sizes, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bnfold.errors import BnfoldError, ModelError
from bnfold.exporting.caller import Caller, array_of, name_inputs, name_outputs
from bnfold.exporting.checking import count_norm_calls
from bnfold.exporting.conversion import inference
from bnfold.exporting.examples import example_feeds, find_sizes
from bnfold.exporting.shapes import DTYPES, InputShape, Symbol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from bnfold.exporting.examples import Tried
    from bnfold.exporting.preparing import Prepared
    from bnfold.exporting.sources import Loaded

    Array = NDArray[np.generic]
    Example = Tensor | Sequence[Tensor] | Mapping[str, Tensor]

__all__ = ["Met", "meet"]


@dataclass(frozen=True)
class Met:
    """A module that has run.

    Attributes:
        caller: How it is called.
        feeds: What it was called with, and is to be exported with.
        sizes: Of the axes that may have any: two, and a batch of one.
        norms: How often it calls a BatchNorm.
        example: What somebody gave it to be called with; empty where nobody did.
    """

    caller: Caller
    feeds: dict[str, Array]
    sizes: tuple[Tried, Tried, Tried]
    norms: int
    example: dict[str, Array]


def meet(
    loaded: Loaded,
    prepared: Prepared,
    asked: Sequence[InputShape],
    example: Example | None,
    output_names: Sequence[str],
) -> Met:
    """Run a module for the first time.

    Args:
        loaded: What its source knows.
        prepared: The module.
        asked: What it takes, as the user says; empty where the source or the example is to tell.
        example: What it can be called with.
        output_names: What its outputs are to be called; empty for what the module calls them.

    Raises:
        BnfoldError: Nobody says what it takes.
        ModelError: It takes something else, gives no tensors, or normalises by the statistics of the batch.
    """
    import torch

    module = prepared.module
    shapes, arrays = _shapes(loaded, asked, example)
    caller = name_inputs(module, shapes, prepared.dtype)
    if loaded.program is not None:
        caller = replace(caller, nesting=loaded.program.call_spec.in_spec)
    sizes = find_sizes(module, caller)
    given = dict(zip([shape.name for shape in caller.inputs], arrays, strict=True)) if arrays else {}
    feeds = given if given and not _has_single(caller, given) else example_feeds(caller, sizes[0])
    norms = count_norm_calls(module, caller, feeds)
    with inference(module), torch.no_grad():
        outputs = caller.call(module, feeds)
    names = name_outputs(module, outputs, output_names or loaded.output_names, caller.inputs)
    return Met(replace(caller, outputs=names), feeds, sizes, norms, given)


def _has_single(caller: Caller, feeds: Mapping[str, Array]) -> bool:
    """Whether an axis of any size is 1 in an example, which torch's exporter takes for a constant."""
    return any(
        isinstance(axis, Symbol) and size == 1
        for shape in caller.inputs
        for axis, size in zip(shape.axes, feeds[shape.name].shape, strict=True)
    )


def _shapes(
    loaded: Loaded, asked: Sequence[InputShape], example: Example | None
) -> tuple[Sequence[InputShape], list[Array]]:
    """What the module takes, and, where there is one, an array for each input."""
    if asked and loaded.program is not None:
        raise BnfoldError(f"{loaded.name}: a program has its shapes: leave out --input-shape")
    if example is None:
        if not asked and loaded.network is not None:
            return loaded.shapes, [loaded.network.example_input(2)]
        if not asked and not loaded.shapes:
            raise BnfoldError(
                f"{loaded.name}: what does it take? Give --input-shape 1x3x224x224, or batchx3xHxW with a name for "
                "each axis of any size; once for each input, as NAME:SHAPE"
            )
        return asked or loaded.shapes, []
    tensors = dict(example) if isinstance(example, Mapping) else dict(enumerate(_listed(example)))
    arrays = [array_of(tensor) for tensor in tensors.values()]
    own = [
        InputShape(name if isinstance(name, str) else "", array.shape, str(array.dtype))
        for name, array in zip(tensors, arrays, strict=True)
    ]
    unknown = [shape.dtype for shape in own if shape.dtype not in DTYPES]
    if unknown:
        raise ModelError(f"the example has an input of {unknown[0]}; the types are {', '.join(DTYPES)}")
    return ([_filled(*pair) for pair in zip(asked, own, strict=True)] if _fit(asked, own) else own), arrays


def _fit(asked: Sequence[InputShape], own: Sequence[InputShape]) -> bool:
    """Whether the example is one of the shapes that were asked for; False where none were.

    Raises:
        BnfoldError: It is not.
    """
    if not asked:
        return False
    ranks = [[len(shape.axes) for shape in shapes] for shapes in (asked, own)]
    if ranks[0] != ranks[1] or any(
        isinstance(size, int) and size != given
        for left, right in zip(asked, own, strict=True)
        for size, given in zip(left.axes, right.axes, strict=True)
    ):
        raise BnfoldError(f"the example is {_written(own)}, and the input shape {_written(asked)}")
    return True


def _filled(asked: InputShape, own: InputShape) -> InputShape:
    """The shape that was asked for, with the type of the example, and its sizes for the symbols."""
    axes = tuple(
        Symbol(axis.name, given) if isinstance(axis, Symbol) and isinstance(given, int) and given > 1 else axis
        for axis, given in zip(asked.axes, own.axes, strict=True)
    )
    return InputShape(asked.name or own.name, axes, own.dtype)


def _written(shapes: Sequence[InputShape]) -> str:
    return ", ".join("×".join(map(str, shape.dims)) for shape in shapes)


def _listed(example: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    import torch

    tensors = [example] if isinstance(example, torch.Tensor) else list(example)
    if not all(isinstance(tensor, torch.Tensor) for tensor in tensors):
        raise BnfoldError("an example is a tensor, several, or several by name")
    return tensors
