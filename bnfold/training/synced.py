"""BatchNorm over a batch that several processes share: the statistics of the whole, and their gradient.

``torch.nn.SyncBatchNorm`` does this on GPUs and refuses the CPU; this one runs wherever the process group does.

    a batch          ╭─ process 0: rows 0…15   sum, count ─╮              ╭─ squares of x − mean ─╮
    of 32 rows       ┤                                     ├ all: mean ───┤                       ├ all: var
    and 2 processes  ╰─ process 1: rows 16…31  sum, count ─╯              ╰─ squares of x − mean ─╯

Two sums, one after the other, because E[x²] − E[x]² loses digits where the mean is large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from bnfold.training.any_rank import AnyRankBatchNorm

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SynchronisedBatchNorm"]


class SynchronisedBatchNorm(AnyRankBatchNorm):
    """BatchNorm for inputs of any number of axes [N, C, …], of which each process has some rows, not all as many.

    All processes of the default group call it together. At inference it is BatchNorm, with the same state.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Normalise by the statistics of the rows of all processes; at inference, by the running ones.

        Args:
            input: [N, C, …], this process's rows.

        Returns:
            The same shape.

        Raises:
            ValueError: All processes together have a single value a channel, which has no variance.
        """
        if not self.training and self.running_mean is not None:
            return super().forward(input)
        self._check_input_dim(input)
        axes, channels = [0, *range(2, input.dim())], [1, -1, *[1] * (input.dim() - 2)]
        values = input.numel() // input.shape[1]
        sums = input.sum(axes, dtype=torch.float64)
        together = _sum_of_all(torch.cat([sums, sums.new_tensor([values])]))
        count = together[-1].detach()
        if count < 2:
            raise ValueError("expected more than 1 value per channel when training, over all processes")
        mean = together[:-1] / count
        centred = input - mean.to(input.dtype).view(channels)
        var = _sum_of_all(centred.square().sum(axes, dtype=torch.float64)) / count
        with torch.no_grad():
            self._track(mean, var * count / (count - 1))
        normalised: Tensor = centred * (var + self.eps).rsqrt().to(input.dtype).view(channels)
        if self.affine:
            normalised = normalised * self.weight.view(channels) + self.bias.view(channels)
        return normalised

    def _track(self, mean: Tensor, var: Tensor) -> None:
        """Move the running statistics; ``var`` is the unbiased one."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        if not (self.training and self.track_running_stats):
            return
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(var.to(self.running_var.dtype), share)


def _sum_of_all(tensor: Tensor) -> Tensor:
    """The sum over all processes; a gradient of it is the sum of their gradients."""
    summed: Tensor = _SumOfAll.apply(tensor)  # type: ignore[no-untyped-call]
    return summed


class _SumOfAll(torch.autograd.Function):
    """torch's own all_reduce has a gradient only in ``torch.distributed.nn``, which it means to remove."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        summed = tensor.clone()
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _SumOfAll.forward(ctx, gradient)
