"""Dense blocks: each layer's BatchNorm reads what all layers before it made, side by side.

    image [N, C, H, W]
      │  stem 3×3, 16
      │  block1, three layers     16 → 24 → 32 → 40
      │  bn ── ReLU ── 1×1, 24 ── AveragePool 2×2
      │  block2, three layers     24 → 32 → 40 → 48
      │  bn ── ReLU ── mean over the image
      ▼  fc 48 → classes
    logits [N, classes]

    a layer:    x ┬ bn1 ── ReLU ── 1×1, 16 ── bn2 ── ReLU ── 3×3, 8 ┬ Concat ── y
                  ╰─────────────────────────────────────────────────╯

bn2 goes back into the 1×1. Each of the segments that a Concat joins is read by several bn1, and each of those wants
another shift of it: one of the readers can have its wish, the others stay.

References:
    Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, CVPR 2017,
    https://arxiv.org/abs/1608.06993
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

__all__ = ["DenseNet", "build"]

_GROWTH = 8


class Layer(nn.Module):
    """BN-ReLU-Conv1×1-BN-ReLU-Conv3×3, joined to its input."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 2 * _GROWTH, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * _GROWTH)
        self.conv2 = nn.Conv2d(2 * _GROWTH, _GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → [N, inputs + 8, H, W]."""
        new = self.conv1(self.bn1(x).relu())
        return torch.cat([x, self.conv2(self.bn2(new).relu())], 1)


class DenseNet(nn.Module):
    """Two dense blocks with a transition between them.

    Args:
        channels: Of the image.
        classes: Scores an image.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.block1 = nn.Sequential(*[Layer(16 + _GROWTH * number) for number in range(3)])
        self.transition = nn.Sequential(
            OrderedDict(bn=nn.BatchNorm2d(40), relu=nn.ReLU(), conv=nn.Conv2d(40, 24, 1, bias=False))
        )
        self.pool = nn.AvgPool2d(2)
        self.block2 = nn.Sequential(*[Layer(24 + _GROWTH * number) for number in range(3)])
        self.bn = nn.BatchNorm2d(48)
        self.fc = nn.Linear(48, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of the classes.

        Args:
            image: float32 [N, channels, H, W], H and W at least 2.

        Returns:
            float32 [N, classes], before the softmax.
        """
        x = self.pool(self.transition(self.block1(self.stem(image))))
        x = self.bn(self.block2(x)).relu()
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def build(shape: tuple[int, ...], classes: int) -> DenseNet:
    """The network for images of a shape, with fresh weights, drawn from torch's default generator."""
    return DenseNet(shape[0], classes)
