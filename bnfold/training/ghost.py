"""Ghost BatchNorm: the statistics of a part of the batch, and the gradient of the whole.

The noise of small batches regularises; a large batch has little of it, and normalising parts of it by themselves
brings it back (Hoffer, Hubara, Soudry 2017, https://arxiv.org/abs/1705.08741). At inference it is BatchNorm, with the
same state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["GhostBatchNorm"]


class GhostBatchNorm(_BatchNorm):
    """BatchNorm over groups of a batch, for inputs of any number of axes [N, C, …].

    Args:
        num_features: Channels.
        group: Rows that are normalised together, 2 or more. What is left at the end of a batch is a group of its own,
            and a single row joins the group before it.
        eps: As for BatchNorm.
        momentum: As for BatchNorm; a batch moves the running statistics once, by the mean over its groups.
        affine: As for BatchNorm.
    """

    def __init__(
        self, num_features: int, group: int, *, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True
    ) -> None:
        super().__init__(num_features, eps, momentum, affine=affine)
        self.group = group

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 axes, got {input.dim()}")

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Normalise each group of rows; at inference, all by the running statistics.

        Args:
            input: [N, C, …].

        Returns:
            The same shape.
        """
        if not self.training or len(input) <= self.group:
            return super().forward(input)
        self._check_input_dim(input)
        groups = _groups(input, self.group)
        self._track(groups)
        return torch.cat(
            [
                functional.batch_norm(group, None, None, self.weight, self.bias, training=True, eps=self.eps)
                for group in groups
            ]
        )

    def _track(self, groups: list[Tensor]) -> None:
        """Move the running statistics by the mean of the groups'."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        if not self.track_running_stats:
            return
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            share = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
            rows = [group.transpose(0, 1).flatten(1) for group in groups]
            self.running_mean.lerp_(torch.stack([one.mean(1) for one in rows]).mean(0), share)
            self.running_var.lerp_(torch.stack([one.var(1) for one in rows]).mean(0), share)

    def extra_repr(self) -> str:
        """As BatchNorm's, with the group."""
        return f"{super().extra_repr()}, group={self.group}"  # type: ignore[no-untyped-call]


def _groups(batch: Tensor, size: int) -> list[Tensor]:
    groups = list(torch.split(batch, size))
    if len(groups[-1]) == 1:
        groups[-2:] = [torch.cat(groups[-2:])]
    return groups
