"""Ghost BatchNorm: the statistics of a part of the batch, and the gradient of the whole.

The noise of small batches regularises; a large batch has little of it, and normalising parts of it by themselves
brings it back (Hoffer, Hubara, Soudry 2017, https://arxiv.org/abs/1705.08741). At inference it is BatchNorm, with the
same state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bnfold.training.any_rank import AnyRankBatchNorm

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["GhostBatchNorm"]


class GhostBatchNorm(AnyRankBatchNorm):
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
        # One call for all full groups, and one for what is left: a loop over groups of 2 takes three times as long.
        parts = [rows.reshape(count, -1, *rows.shape[1:]) for rows, count in _parts(input, self.group)]
        statistics = [_statistics(groups) for groups in parts]
        self._track(parts, statistics)
        normalised = (self._normalise(groups, *found) for groups, found in zip(parts, statistics, strict=True))
        return torch.cat([groups.flatten(0, 1) for groups in normalised])

    def _normalise(self, groups: Tensor, variances: Tensor, means: Tensor) -> Tensor:
        out = (groups - means) * torch.rsqrt(variances + self.eps)
        if self.weight is None or self.bias is None:
            return out
        channels = (-1, *[1] * (groups.dim() - 3))
        return out * self.weight.view(channels) + self.bias.view(channels)

    def _track(self, parts: list[Tensor], statistics: list[tuple[Tensor, Tensor]]) -> None:
        """Move the running statistics by the mean of the groups'; torch keeps the unbiased variance."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        if not self.track_running_stats:
            return
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            share = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
            counts = [groups[0].numel() // self.num_features for groups in parts]
            unbiased = [found[0] * (count / (count - 1)) for found, count in zip(statistics, counts, strict=True)]
            for buffer, found in (
                (self.running_var, unbiased),
                (self.running_mean, [means for _, means in statistics]),
            ):
                buffer.lerp_(torch.cat(found).flatten(1).mean(0), share)

    def extra_repr(self) -> str:
        """As BatchNorm's, with the group."""
        return f"{super().extra_repr()}, group={self.group}"  # type: ignore[no-untyped-call]


def _parts(batch: Tensor, size: int) -> list[tuple[Tensor, int]]:
    """Rows that make so many groups of one size each: the full groups, and what is left."""
    count, left = divmod(len(batch), size)
    if left == 1:  # a single row has no variance
        count, left = count - 1, size + 1
    full, rest = batch[: count * size], batch[count * size :]
    return [(rows, groups) for rows, groups in ((full, count), (rest, 1)) if len(rows)]


def _statistics(groups: Tensor) -> tuple[Tensor, Tensor]:
    """Variance and mean of each channel of each group: [groups, rows, C, …] → [groups, 1, C, 1, …]."""
    variances, means = torch.var_mean(groups, (1, *range(3, groups.dim())), correction=0, keepdim=True)
    return variances, means
