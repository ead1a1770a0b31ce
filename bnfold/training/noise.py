"""Noisy BatchNorm: its outputs are given a new, random distribution at each step, as unstable as one likes.

The control experiment of Santurkar, Tsipras, Ilyas, Madry, How Does Batch Normalization Help Optimization?, 2018,
https://arxiv.org/abs/1805.11604, appendix A: if BatchNorm helped because it keeps the distribution of a layer's inputs
still, then shaking that distribution behind it should undo the help.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from bnfold.training.any_rank import AnyRankBatchNorm

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["NoisyBatchNorm", "add_noise"]

_MEAN, _SCALE, _SPREAD = 0.5, 1.25, 0.1  # the paper's


class NoisyBatchNorm(AnyRankBatchNorm):
    """BatchNorm with noise behind it in training, whose own mean and scale are drawn anew at each step.

    At each step and for each channel a mean m from U(−``mean``, ``mean``) and a scale s from U(1, ``scale``); then for
    each row and channel y·N(s, ``spread``) + U(m − ``spread``, m + ``spread``). The numbers come from torch's default
    generator, as Dropout's do: ``torch.manual_seed`` repeats them. At inference it is BatchNorm, with the same state.

    Args:
        num_features: Channels.
        mean: How far the noise's mean wanders from 0.
        scale: How far the noise's scale wanders up from 1; below 1 it wanders down.
        spread: How far the rows of a batch lie apart.
        eps: As for BatchNorm.
        momentum: As for BatchNorm.
        affine: As for BatchNorm.
        track_running_stats: As for BatchNorm.
    """

    def __init__(
        self,
        num_features: int,
        *,
        mean: float = _MEAN,
        scale: float = _SCALE,
        spread: float = _SPREAD,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.mean, self.scale, self.spread = mean, scale, spread

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Normalise, and shake in training.

        Args:
            input: [N, C, …].

        Returns:
            The same shape.
        """
        normal = super().forward(input)
        if not self.training:
            return normal
        channels = normal.new_empty(normal.shape[1])
        mean = torch.empty_like(channels).uniform_(-self.mean, self.mean)
        scale = 1 + torch.empty_like(channels).uniform_(0, 1) * (self.scale - 1)
        rows = normal.new_empty(normal.shape[:2])
        shifts = mean + torch.empty_like(rows).uniform_(-self.spread, self.spread)
        scales = scale + torch.empty_like(rows).normal_() * self.spread
        each = (*rows.shape, *(1 for _ in normal.shape[2:]))
        return normal * scales.view(each) + shifts.view(each)

    def extra_repr(self) -> str:
        """As BatchNorm's, with the noise."""
        own = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{own}, mean={self.mean}, scale={self.scale}, spread={self.spread}"


def add_noise(module: nn.Module, *, mean: float = _MEAN, scale: float = _SCALE, spread: float = _SPREAD) -> int:
    """Put a ``NoisyBatchNorm`` in place of every BatchNorm of a module; state and names stay.

    Args:
        module: Changed in place. It must not be a BatchNorm itself.
        mean: As for ``NoisyBatchNorm``.
        scale: As for ``NoisyBatchNorm``.
        spread: As for ``NoisyBatchNorm``.

    Returns:
        How many were replaced.
    """
    found = [
        (parent, name, part)
        for parent in module.modules()
        for name, part in parent.named_children()
        if isinstance(part, _BatchNorm)
    ]
    for parent, name, part in found:
        noisy = NoisyBatchNorm(
            part.num_features, mean=mean, scale=scale, spread=spread, eps=part.eps, momentum=part.momentum,
            affine=part.affine, track_running_stats=part.track_running_stats,
        )  # fmt: skip
        like = part.running_mean if part.running_mean is not None else part.weight
        if like is not None:
            noisy.to(like)
        noisy.load_state_dict(part.state_dict())
        setattr(parent, name, noisy.train(part.training))
    return len(found)
