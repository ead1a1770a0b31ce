"""Internal covariate shift, measured: how the gradient of a layer turns when the layers in front of it have moved.

Santurkar, Tsipras, Ilyas, Madry, How Does Batch Normalization Help Optimization?, 2018,
https://arxiv.org/abs/1805.11604, definition 2.1: for a layer i, the gradient G of its weights before a step, and the
gradient G' of the same weights after the step has changed those in front of it, and them alone. What the optimiser
assumed is that G' is G.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor, nn

__all__ = ["Turn", "covariate_shift"]


@dataclass(frozen=True)
class Turn:
    """How one layer's gradient changed because those in front of it did.

    Attributes:
        alignment: The cosine of the angle between the two gradients, −1…1; 1 without any shift. NaN if one is 0.
        distance: The length of their difference, over that of the gradient before. NaN if that is 0.
    """

    alignment: float
    distance: float


def covariate_shift(
    model: nn.Module, loss: Callable[[], Tensor], step: Callable[[], object], *, weights: Sequence[str] | None = None
) -> dict[str, Turn]:
    """Take a step, and measure for each weight how its gradient turned because of the layers in front of it.

    In front of a weight are all parameters that the model registers before it, in the order of
    ``model.named_parameters()``: BatchNorms' too. The step itself is taken as if nothing had been measured: parameters
    and buffers are those of a plain ``step()``, and so is torch's default generator; Dropout and noise that draw from
    it are the same in each of the measured gradients. Gradients in ``.grad`` are those that ``step`` leaves. It costs a
    forward and a backward pass for each weight, and one more.

    Args:
        model: In the mode in which it is trained.
        loss: The loss that the step descends, computed afresh on the same rows each time.
        step: Does one step of training, such as backward and ``optimizer.step()``.
        weights: Names of parameters; every weight matrix and kernel if None, but for the first, which has nothing in
            front.

    Returns:
        A ``Turn`` for each.

    Raises:
        MissingDependencyError: torch is not installed.
    """
    require("torch")
    import torch

    parameters = dict(model.named_parameters())
    if weights is None:
        weights = [name for name, value in parameters.items() if value.dim() > 1][1:]
    before, buffers = _values(parameters), _values(dict(model.named_buffers()))
    random = torch.get_rng_state()

    def gradients(names: Sequence[str]) -> list[Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(random)
            found = torch.autograd.grad(loss(), [parameters[name] for name in names])
        _set(dict(model.named_buffers()), buffers)
        return [gradient.double() for gradient in found]

    old = dict(zip(weights, gradients(weights), strict=True))
    step()
    after, moved = _values(parameters), _values(dict(model.named_buffers()))
    order = list(parameters)
    turns = {}
    for name in weights:
        front = order[: order.index(name)]
        _set(parameters, before | {one: after[one] for one in front})
        turns[name] = _turn(old[name], gradients([name])[0])
    _set(parameters, after)
    _set(dict(model.named_buffers()), moved)
    return turns


def _values(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _set(tensors: Mapping[str, Tensor], values: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        tensor.detach().copy_(values[name])


def _turn(before: Tensor, after: Tensor) -> Turn:
    length, other = float(before.norm()), float(after.norm())
    return Turn(
        alignment=float((before * after).sum()) / (length * other) if length and other else float("nan"),
        distance=float((after - before).norm()) / length if length else float("nan"),
    )
