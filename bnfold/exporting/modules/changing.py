"""What becomes of a module that is folded, and how it comes about: in place, with one rounding."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from bnfold.folding.rounding import round_once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor, nn

__all__ = ["Changes", "apply", "complete", "dtype_of", "tensors_of"]

_DTYPES = {
    "torch.bfloat16": ir.DataType.BFLOAT16,
    "torch.float16": ir.DataType.FLOAT16,
    "torch.float32": ir.DataType.FLOAT,
    "torch.float64": ir.DataType.DOUBLE,
}


@dataclass
class Changes:
    """What becomes of a module.

    Attributes:
        removed: The paths of modules that become ``nn.Identity``.
        values: New numbers by the name of the parameter or buffer, float64, flat; a name that the module does not have
            is a new parameter.
        touched: By the name of a node of the exported graph, the names of those among these that it reads.
        out_of_place: The paths of modules that must no longer overwrite what they read.
        doubtful: The names of nodes that are gone and behind which code may do so, of which the graph does not tell.
    """

    removed: list[str] = field(default_factory=list)
    values: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    touched: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    out_of_place: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)

    def unstorable(self, module: nn.Module) -> Iterator[tuple[str, str]]:
        """The parameters that cannot hold what they would get, or not without another one's getting it too, and why."""
        tensors = dict(tensors_of(module))
        for name, array in self.values.items():
            tensor = tensors[name] if name in tensors else _model_for(module, name)
            others = (other for other, them in tensors.items() if name in tensors and _overlap(tensor, them))
            if (dtype := dtype_of(tensor)) is None:
                yield name, f"is stored as {str(tensor.dtype).removeprefix('torch.')}, which no fold rounds to"
            elif not np.isfinite(round_once(array, dtype)[0][np.isfinite(array)]).all():
                yield name, f"would get a number beyond the range of {dtype.name}"
            elif (other := next(others, None)) is not None:
                yield name, f"shares its memory with '{other}'"


def apply(changes: Changes, module: nn.Module) -> None:
    """Change a module in place."""
    import torch
    from torch import nn

    tensors = dict(tensors_of(module))
    with torch.no_grad():
        for name, array in changes.values.items():
            if (tensor := tensors.get(name)) is not None:
                tensor.copy_(_rounded(array, tensor).reshape(tensor.shape))
                continue
            like = _model_for(module, name)
            numbers = _rounded(array, like).to(like.device)
            path, _, attribute = name.rpartition(".")
            setattr(module.get_submodule(path), attribute, nn.Parameter(numbers, requires_grad=like.requires_grad))
    for path in changes.out_of_place:
        module.get_submodule(path).inplace = False  # type: ignore[assignment]
    for path in changes.removed:
        _replace(module, module.get_submodule(path))


def tensors_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All parameters and buffers, each under every name that it has."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def dtype_of(tensor: Tensor) -> ir.DataType | None:
    """In which type numbers are rounded that go into a tensor; None where none do."""
    return _DTYPES.get(str(tensor.dtype))


def complete(module: nn.Module) -> None:
    """Give each BatchNorm without a scale and a bias those that change nothing, so that it can take something in."""
    import torch
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm

    for part in module.modules():
        if isinstance(part, _BatchNorm) and part.weight is None and part.running_var is not None:
            part.weight = nn.Parameter(torch.ones_like(part.running_var))
            part.bias = nn.Parameter(torch.zeros_like(part.running_var))


def _model_for(module: nn.Module, name: str) -> Tensor:
    """Whose type and place a new parameter gets: those of another one of its module."""
    part = module.get_submodule(name.rpartition(".")[0])
    return next(tensor for _, tensor in tensors_of(part) if tensor.is_floating_point())


def _overlap(tensor: Tensor, other: Tensor) -> bool:
    """Whether two tensors lie in the same place in memory, and are not one."""
    starts = [each.data_ptr() for each in (tensor, other)]
    ends = [start + each.nbytes for start, each in zip(starts, (tensor, other), strict=True)]
    return tensor is not other and max(starts) < min(ends) and tensor.device == other.device


def _rounded(array: NDArray[np.float64], like: Tensor) -> Tensor:
    import torch

    dtype = dtype_of(like)
    if dtype is None:
        raise ValueError(f"{like.dtype} is no type that numbers are rounded to")
    rounded, _ = round_once(array, dtype)
    if dtype is ir.DataType.BFLOAT16:  # which numpy hands on as bits only
        return torch.from_numpy(rounded.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(rounded.copy())


def _replace(module: nn.Module, layer: nn.Module) -> None:
    """Put ``nn.Identity`` wherever a layer is registered."""
    from torch import nn

    identity = nn.Identity().train(layer.training)
    for parent in list(module.modules()):
        for name, child in list(vars(parent)["_modules"].items()):
            if child is layer:
                setattr(parent, name, identity)
