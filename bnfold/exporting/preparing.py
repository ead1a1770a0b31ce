"""A module is made ready: on the CPU, its weights loaded, its BatchNorms torch's own, in the type asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnfold.errors import BnfoldError, ModelError
from bnfold.exporting.caller import copied
from bnfold.exporting.norms import Conversion, convert_norms, needs_conversion, refuse_batch_statistics
from bnfold.exporting.weights import load_weights

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn

    from bnfold.exporting.sources import Loaded

__all__ = ["FLOATS", "Prepared", "prepare"]

FLOATS = ("float32", "float16", "float64")


@dataclass(frozen=True)
class Prepared:
    """A module that can be exported.

    Attributes:
        module: A copy, where somebody else holds it and it can be copied.
        dtype: The type of its weights, and of what it computes with.
        conversions: What became a BatchNorm of torch.
        warnings: What a user should know of its weights.
    """

    module: nn.Module
    dtype: str
    conversions: tuple[Conversion, ...]
    warnings: tuple[str, ...]


def prepare(loaded: Loaded, weights: Path | None, dtype: str | None, *, strict: bool) -> Prepared:
    """Make a module ready; one that others hold stays as it is.

    Raises:
        BnfoldError: Something is asked of an exported program that is only to be asked of a module.
        ModelError: The weights do not fit, or there are none; a BatchNorm has no statistics; a number does not fit into
            the type, or the type is none that can be checked.
    """
    if loaded.program is not None:
        if weights is not None or dtype is not None:
            raise BnfoldError(f"{loaded.name}: a program has its weights and its type: export it again with others")
        return Prepared(loaded.module, _dtype_of(loaded.module), (), ())
    module = loaded.module
    refuse_batch_statistics(module)
    if any(tensor.is_meta for tensor in _tensors(module)):
        raise ModelError(f"{loaded.name}: has no weights (it is on the device 'meta')")
    if loaded.is_shared:
        module = _own(module, is_changed=weights is not None or dtype is not None)
    module = module.cpu()
    warnings: tuple[str, ...] = ()
    if weights is not None:
        left = load_weights(module, weights, strict=strict)
        warnings = tuple(f"{weights}: {words}" for words in left)
    elif loaded.is_drawn:
        warnings = (f"{loaded.name} has random weights: give --weights FILE, or --allow-download",)
    module, conversions = convert_norms(module)
    if dtype is not None:
        module = _converted(module, dtype)
    if (found := _dtype_of(module)) not in FLOATS:
        raise ModelError(f"{loaded.name}: computes in {found}, which nothing here compares: give --dtype float32")
    return Prepared(module, found, conversions, warnings)


def _own(module: nn.Module, *, is_changed: bool) -> nn.Module:
    """A copy, for even a run at inference may change buffers; or a module itself that cannot be copied, nor must be."""
    try:
        return copied(module)
    except ModelError:
        if is_changed or needs_conversion(module) or any(tensor.device.type != "cpu" for tensor in _tensors(module)):
            raise
        return module


def _converted(module: nn.Module, dtype: str) -> nn.Module:
    """The module in another type.

    Raises:
        ModelError: A number that is finite would not be.
    """
    import torch

    wanted = getattr(torch, dtype)
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, tensor in state.items():
        lost = tensor.isfinite() & ~tensor.to(wanted).isfinite() if tensor.is_floating_point() else None
        if lost is not None and lost.any():
            worst = float(tensor[lost].abs().max())
            raise ModelError(f"{name} holds {worst:.3g}, which {dtype} does not: export it in float32")
    return module.to(wanted)


def _dtype_of(module: nn.Module) -> str:
    """The type of its first weights with a fraction."""
    found = (str(tensor.dtype).removeprefix("torch.") for tensor in _tensors(module) if tensor.is_floating_point())
    return next(found, "float32")


def _tensors(module: nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]
