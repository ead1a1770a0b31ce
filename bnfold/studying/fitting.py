"""The training loop of the studies: as plain as it can be, so that nothing but BatchNorm makes a difference.

SGD without momentum, weight decay or schedule, unless a claim is about that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from torch.optim import Optimizer

    from bnfold.studying.data import Split

__all__ = ["BATCH", "Fit", "accuracy", "epochs_to", "fit"]

BATCH = 64


@dataclass(frozen=True)
class Fit:
    """How training went, epoch by epoch.

    Attributes:
        losses: Mean loss of the batches, as trained; infinite from where it was no longer a number.
        accuracies: Share of the test rows that are right, in inference mode.
    """

    losses: list[float]
    accuracies: list[float]


def fit(
    module: nn.Module,
    split: Split,
    *,
    rate: float,
    epochs: int,
    seed: int,
    batch: int = BATCH,
    optimizer: str = "sgd",
    watch: Callable[[], None] | None = None,
    after: Callable[[nn.Module], None] | None = None,
) -> Fit:
    """Train a module in place.

    Args:
        module: Gives scores [N, classes] for rows [N, features].
        split: What it learns from, and is measured with after every epoch.
        rate: The learning rate, constant.
        epochs: Passes over the training rows; what is left of them at the end of each, less than a batch, is left out.
        seed: Of the order of the rows.
        batch: Rows a step.
        optimizer: ``sgd``, plain, or ``adam``.
        watch: Called behind every step.
        after: Called with the module after every epoch, to look at it.
    """
    stepper = _optimizer(module, optimizer, rate)
    shuffling = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    accuracies: list[float] = []
    for _ in range(epochs):
        if not losses or math.isfinite(losses[-1]):
            losses.append(_epoch(module, split, stepper, shuffling, batch, watch))
            accuracies.append(accuracy(module, split.test_inputs, split.test_targets))
        else:  # what is not a number stays none: no need to compute it
            losses.append(math.inf)
            accuracies.append(accuracies[-1])
        if after is not None:
            after(module)
    return Fit(losses, accuracies)


def _epoch(
    module: nn.Module,
    split: Split,
    stepper: Optimizer,
    shuffling: torch.Generator,
    batch: int,
    watch: Callable[[], None] | None,
) -> float:
    module.train()
    steps = len(split.inputs) // batch
    order = torch.randperm(len(split.inputs), generator=shuffling)[: steps * batch]
    total = 0.0
    for rows in order.view(steps, batch):
        loss = functional.cross_entropy(module(split.inputs[rows]), split.targets[rows])
        stepper.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        stepper.step()
        if watch is not None:
            watch()
        total += loss.item()
        if not math.isfinite(total):
            return math.inf
    return total / steps


def _optimizer(module: nn.Module, name: str, rate: float) -> Optimizer:
    if name == "adam":
        return torch.optim.Adam(module.parameters(), lr=rate)
    return torch.optim.SGD(module.parameters(), lr=rate)


def accuracy(module: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """Share of the rows that are right, in inference mode."""
    module.eval()
    with torch.inference_mode():
        return float((module(inputs).argmax(1) == targets).double().mean())


def epochs_to(target: float, accuracies: list[float]) -> float:
    """After how many epochs an accuracy was first reached; infinite if it was not."""
    return next((float(number) for number, found in enumerate(accuracies, 1) if found >= target), math.inf)
