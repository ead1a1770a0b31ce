"""Three branches a block, each with a BatchNorm of its own, summed: made to become one Conv.

    image [N, C, H, W]
      │  blocks.0  C → 16
      │  blocks.1  16 → 16
      │  blocks.2  16 → 32, stride 2
      │  blocks.3  32 → 32
      │  mean over the image
      ▼  fc 32 → classes
    logits [N, classes]

    a block:      ╭ 3×3 ── BN ╮
                x ┼ 1×1 ── BN ┼ + ── ReLU ── y
                  ╰────── BN ─╯     where the size stays the same

The paper's re-parameterisation: a 1×1 is a 3×3 with zeros around it, and a BatchNorm of x is a 1×1 with a diagonal.

References:
    Ding, Zhang, Ma, Han, Ding, Sun: RepVGG, CVPR 2021, https://arxiv.org/abs/2101.03697
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["RepVGG", "build"]


class Block(nn.Module):
    """Conv3×3-BN + Conv1×1-BN + BN, and ReLU; the third only where the size stays the same."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.bn = nn.BatchNorm2d(inputs) if (inputs, stride) == (outputs, 1) else None

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → [N, outputs, ⌈H/stride⌉, ⌈W/stride⌉]."""
        total: Tensor = self.bn3(self.conv3(x)) + self.bn1(self.conv1(x))
        if self.bn is not None:
            total = total + self.bn(x)
        return total.relu()


class RepVGG(nn.Module):
    """Four blocks and a Linear, in training form.

    Args:
        channels: Of the image.
        classes: Scores an image.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(channels, 16), Block(16, 16), Block(16, 32, stride=2), Block(32, 32))
        self.fc = nn.Linear(32, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of the classes.

        Args:
            image: float32 [N, channels, H, W].

        Returns:
            float32 [N, classes], before the softmax.
        """
        logits: Tensor = self.fc(self.blocks(image).mean((2, 3)))
        return logits


def build(shape: tuple[int, ...], classes: int) -> RepVGG:
    """The network for images of a shape, with fresh weights, drawn from torch's default generator."""
    return RepVGG(shape[0], classes)
