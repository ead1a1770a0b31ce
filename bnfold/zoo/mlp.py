"""Linear layers with BatchNorm at one of three places, and any number of features and classes.

    features [N, …]
      │  Flatten
      │  three blocks, 64 wide:
      │     pre     Linear ── bn ── ReLU       as Ioffe and Szegedy have it
      │     post    Linear ── ReLU ── bn
      │     input   bn ── Linear ── ReLU
      ▼  head 64 → classes
    logits [N, classes]

A bias in front of a BatchNorm is redundant, as the mean takes it off again: ``pre`` has none.

References:
    Ioffe, Szegedy: Batch Normalization, ICML 2015, https://arxiv.org/abs/1502.03167
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MLP", "build"]


class MLP(nn.Module):
    """Blocks of Linear, BatchNorm and ReLU, and a Linear.

    Args:
        features: Numbers a row.
        classes: Scores a row.
        placement: ``pre``, ``post`` or ``input``: where in a block its BatchNorm stands.
        widths: Of the blocks.
    """

    def __init__(self, features: int, classes: int, placement: str, widths: Sequence[int] = (64, 64, 64)) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*[_block(*sizes, placement) for sizes in pairwise((features, *widths))])
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, features: Tensor) -> Tensor:
        """Scores of the classes.

        Args:
            features: float32 [N, …].

        Returns:
            float32 [N, classes], before the softmax.
        """
        logits: Tensor = self.head(self.blocks(features.flatten(1)))
        return logits


def _block(inputs: int, outputs: int, placement: str) -> nn.Sequential:
    linear = nn.Linear(inputs, outputs, bias=placement != "pre")
    norm = nn.BatchNorm1d(inputs if placement == "input" else outputs)
    order = {
        "pre": {"linear": linear, "bn": norm, "relu": nn.ReLU()},
        "post": {"linear": linear, "relu": nn.ReLU(), "bn": norm},
        "input": {"bn": norm, "linear": linear, "relu": nn.ReLU()},
    }
    block = nn.Sequential()
    for name, part in order[placement].items():
        block.add_module(name, part)
    return block


def build(shape: tuple[int, ...], classes: int, placement: str) -> MLP:
    """The network for rows of a shape, with fresh weights, drawn from torch's default generator."""
    return MLP(math.prod(shape), classes, placement)
