"""BatchNorm for inputs of any number of axes: torch has one class for each number, and one would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AnyRankBatchNorm"]


class AnyRankBatchNorm(_BatchNorm):
    """BatchNorm for inputs [N, C, …]."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 axes, got {input.dim()}")
