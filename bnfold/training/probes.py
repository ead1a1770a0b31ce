"""What goes on inside a network in training: how gradients lie by layer, and how many units are saturated."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

from bnfold.training.hooks import first_argument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

__all__ = ["gradient_norms", "preactivations", "saturation"]

_FLAT = 4.0
_STRETCH: dict[type[nn.Module], float] = {nn.Sigmoid: 1.0, nn.Tanh: 2.0}


def gradient_norms(module: nn.Module, loss: Tensor) -> dict[str, float]:
    """The root mean square of the gradient of each weight matrix or kernel.

    Per number, and not in sum, so that layers of different sizes can be compared. Vectors, which are biases and the
    scales of BatchNorms, are left out, and so is what the loss does not depend on.

    Args:
        module: Whatever made the loss. Its ``grad`` fields stay as they are, and so does the graph of the loss.
        loss: A tensor of one number.

    Returns:
        By the name of the parameter, in the order of the module.
    """
    weights = {name: part for name, part in module.named_parameters() if part.dim() > 1 and part.requires_grad}
    gradients = torch.autograd.grad(loss, list(weights.values()), retain_graph=True, allow_unused=True)
    return {
        name: gradient.double().square().mean().sqrt().item()
        for name, gradient in zip(weights, gradients, strict=True)
        if gradient is not None
    }


def preactivations(
    module: nn.Module, inputs: Tensor, kinds: tuple[type[nn.Module], ...] = tuple(_STRETCH)
) -> dict[str, Tensor]:
    """What goes into each activation.

    The module runs as it is, with batch statistics in training mode; a copy of it does, so that its running statistics
    stay as they are.

    Args:
        module: Any that calls its activations as modules.
        inputs: What it takes.
        kinds: The classes of activations.

    Returns:
        By the name of the activation, in the order of the module: the tensor of its last call.
    """
    found: dict[str, Tensor] = {}
    watched = copy.deepcopy(module)

    def keeping(name: str) -> Callable[..., None]:
        def keep(_: nn.Module, arguments: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> None:
            found[name] = first_argument(arguments, named).detach().clone()  # an activation in place would overwrite it

        return keep

    names = [name for name, part in watched.named_modules() if isinstance(part, kinds)]
    for name in names:
        watched.get_submodule(name).register_forward_pre_hook(keeping(name), with_kwargs=True)
    with torch.no_grad():
        watched(inputs)
    return {name: found[name] for name in names if name in found}


def saturation(module: nn.Module, inputs: Tensor, *, beyond: float = _FLAT) -> dict[str, float]:
    """The share of each sigmoid's inputs at which it is flat, 0…1.

    At ±4 the slope of a sigmoid is 7 % of its slope at 0. A tanh is a sigmoid stretched by 2, and flat from ±2 on.

    Args:
        module: As for ``preactivations``.
        inputs: What it takes.
        beyond: From where on a sigmoid counts as flat.

    Returns:
        By the name of the ``nn.Sigmoid`` or ``nn.Tanh``, in the order of the module.
    """
    parts = dict(module.named_modules())
    return {
        name: (values.abs() * _stretch(parts[name]) > beyond).double().mean().item()
        for name, values in preactivations(module, inputs).items()
    }


def _stretch(activation: nn.Module) -> float:
    return next(stretch for kind, stretch in _STRETCH.items() if isinstance(activation, kind))
