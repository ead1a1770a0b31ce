"""Inverted residuals: BatchNorm behind pointwise and depthwise Conv, and a last one with no activation behind it.

    image [N, C, H, W]
      │  stem 3×3, 16 ── bn ── ReLU6
      │  blocks.0  16 → 16
      │  blocks.1  16 → 24, stride 2
      │  blocks.2  24 → 24
      │  head 1×1, 64 ── bn ── ReLU6 ── mean over the image
      ▼  fc 64 → classes
    logits [N, classes]

    a block:    x ┬ 1×1 ── bn ── ReLU6 ── 3×3, one filter a channel ── bn ── ReLU6 ── 1×1 ── bn ┬ + ── y
                  ╰ (where the size stays the same) ────────────────────────────────────────────╯

Each stands right behind a Conv and goes back into it; of a depthwise one it scales one filter a channel.

References:
    Sandler, Howard, Zhu, Zhmoginov, Chen: MobileNetV2, CVPR 2018, https://arxiv.org/abs/1801.04381
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

__all__ = ["Mobile", "build"]

_EXPANSION = 4


def conv_bn(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Conv-BN of [N, inputs, H, W]."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(outputs)))


class Block(nn.Module):
    """Expand, filter each channel by itself, project; the input is added where the size stays the same."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        hidden = _EXPANSION * inputs
        self.expand = conv_bn(inputs, hidden, 1)
        self.depthwise = conv_bn(hidden, hidden, 3, stride=stride, groups=hidden)
        self.project = conv_bn(hidden, outputs, 1)
        self.relu6 = nn.ReLU6()
        self.residual = (inputs, stride) == (outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → [N, outputs, ⌈H/stride⌉, ⌈W/stride⌉]."""
        branch: Tensor = self.project(self.relu6(self.depthwise(self.relu6(self.expand(x)))))
        return x + branch if self.residual else branch


class Mobile(nn.Module):
    """A stem, three inverted residuals, a pointwise head and a Linear.

    Args:
        channels: Of the image.
        classes: Scores an image.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = conv_bn(channels, 16, 3)
        self.blocks = nn.Sequential(Block(16, 16), Block(16, 24, stride=2), Block(24, 24))
        self.head = conv_bn(24, 64, 1)
        self.relu6 = nn.ReLU6()
        self.fc = nn.Linear(64, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of the classes.

        Args:
            image: float32 [N, channels, H, W].

        Returns:
            float32 [N, classes], before the softmax.
        """
        x = self.blocks(self.relu6(self.stem(image)))
        logits: Tensor = self.fc(self.relu6(self.head(x)).mean((2, 3)))
        return logits


def build(shape: tuple[int, ...], classes: int) -> Mobile:
    """The network for images of a shape, with fresh weights, drawn from torch's default generator."""
    return Mobile(shape[0], classes)
