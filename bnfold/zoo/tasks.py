"""What a network learns, and how well it does: a loss to train with, and a score to measure with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["CLASSIFY", "REBUILD", "Targets", "Task"]

Targets: TypeAlias = NDArray[np.int64] | NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """What a network learns, and how it is judged.

    Attributes:
        name: One word for it.
        loss: (outputs, targets) of a batch → the mean loss, as a tensor of no axes that has a gradient.
        score: (outputs, targets) of all rows → how good they are; 1 is perfect.
        score_name: What the score counts, as a noun.
        output: What the network's outputs are, in a few words.
    """

    name: str
    loss: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[NDArray[np.generic], Targets], float]
    score_name: str
    output: str


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    from torch.nn import functional

    return functional.cross_entropy(outputs, targets)


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    from torch.nn import functional

    return functional.mse_loss(outputs, targets)


def _accuracy(outputs: NDArray[np.generic], targets: Targets) -> float:
    return float((outputs.argmax(1) == targets).mean())


def _explained(outputs: NDArray[np.generic], targets: Targets) -> float:
    exact = targets.astype(np.float64)
    return float(1 - np.mean((outputs.astype(np.float64) - exact) ** 2) / exact.var())


CLASSIFY = Task(
    name="classify",
    loss=_cross_entropy,
    score=_accuracy,
    score_name="accuracy",
    output="scores before the softmax",
)
"""Outputs float32 [N, classes], targets int64 [N]: cross entropy in nats; the share of the rows that are right, 0…1."""

REBUILD = Task(
    name="rebuild",
    loss=_squared_error,
    score=_explained,
    score_name="explained variance",
    output="the image rebuilt, ink between 0 and 1",
)
"""Outputs and targets float32 of one shape: mean squared error; 1 − error ÷ variance of the targets. The mean image of
each pixel's place scores a little, a single grey 0, and what is worse than that less than 0."""
