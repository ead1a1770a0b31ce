"""How far a BatchNorm's running statistics are from what its input is like: at inference, and in the data.

Dropout is on while running statistics are collected and off when they are used, so that a BatchNorm behind it divides
by a deviation that its input no longer has (Li, Chen, Hu, Yang, Understanding the Disharmony between Dropout and Batch
Normalization by Variance Shift, 2019, https://arxiv.org/abs/1801.05134). And a moving average of batches lags behind
weights that change (Wu, Johnson, Rethinking "Batch" in BatchNorm, 2021, https://arxiv.org/abs/2105.07576).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from bnfold.training.statistics import input_statistics, recompute_statistics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn

__all__ = ["statistics_lag", "variance_shift"]


def variance_shift(model: nn.Module, loader: Iterable[Tensor | tuple[Tensor, ...] | list[Tensor]]) -> dict[str, Tensor]:
    """The variance of each BatchNorm's input at inference, over the running variance that it is divided by.

    1 where the two agree. Behind an inverted Dropout it is below 1: dropping makes the variance larger in training.

    Args:
        model: Left as it is.
        loader: Batches, or tuples of which the first is what the model takes: the data that inference is to be like.

    Returns:
        For each BatchNorm that has running statistics and is run, a float64 ratio for each channel.

    Raises:
        MissingDependencyError: torch is not installed.
        BnfoldError: There is no batch, or a BatchNorm saw a single value a channel.
    """
    modules = dict(model.named_modules())
    return {
        name: var / modules[name].running_var.double() for name, (_, var) in input_statistics(model, loader).items()
    }


def statistics_lag(model: nn.Module, loader: Iterable[Tensor | tuple[Tensor, ...] | list[Tensor]]) -> dict[str, Tensor]:
    """The running variance of each BatchNorm, over that of all samples under the weights as they are now.

    The latter is what ``recompute_statistics`` would store, in one pass.

    Args:
        model: Left as it is.
        loader: The training data, in batches, or in tuples of which the first is what the model takes.

    Returns:
        For each BatchNorm that has running statistics, a float64 ratio for each channel.

    Raises:
        MissingDependencyError: torch is not installed.
        BnfoldError: There is no batch, or a BatchNorm saw a single value a channel.
    """
    exact = copy.deepcopy(model)
    recompute_statistics(exact, loader)
    buffers = dict(exact.named_buffers())
    return {
        name.rpartition(".")[0]: running.double() / buffers[name].double()
        for name, running in model.named_buffers()
        if name.rpartition(".")[2] == "running_var"
    }
