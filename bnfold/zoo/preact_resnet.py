"""Residual blocks that begin with BatchNorm and ReLU: the BatchNorms read the residual stream itself.

    image [N, C, H, W]
      │  stem 3×3, 16
      │  blocks.0  16 → 16
      │  blocks.1  16 → 32, stride 2
      │  blocks.2  32 → 32
      │  bn ── ReLU ── mean over the image
      ▼  fc 32 → classes
    logits [N, classes]

    a block:    x ┬ bn1 ── ReLU ── conv1 ── bn2 ── ReLU ── conv2 ┬ + ── y
                  ╰ (1×1 of what ReLU gives, where the size changes)╯

bn2 goes back into conv1. For bn1 there is no Conv to go back into, and ReLU stands between it and the next: only a
shift that goes back into the stream, where a bias pays for it, with a scale that goes forward through ReLU removes it,
and the scale must not be negative for that.

References:
    He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks, ECCV 2016, https://arxiv.org/abs/1603.05027
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["PreactResNet", "build"]


class Block(nn.Module):
    """BN-ReLU-Conv twice, and the input added; made fit by a 1×1 Conv where the size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = None if (inputs, stride) == (outputs, 1) else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → [N, outputs, ⌈H/stride⌉, ⌈W/stride⌉]."""
        active = self.bn1(x).relu()
        kept = x if self.shortcut is None else self.shortcut(active)
        added: Tensor = kept + self.conv2(self.bn2(self.conv1(active)).relu())
        return added


class PreactResNet(nn.Module):
    """A Conv, three blocks, and a last BN-ReLU in front of the head.

    Args:
        channels: Of the image.
        classes: Scores an image.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(Block(16, 16), Block(16, 32, stride=2), Block(32, 32))
        self.bn = nn.BatchNorm2d(32)
        self.fc = nn.Linear(32, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of the classes.

        Args:
            image: float32 [N, channels, H, W].

        Returns:
            float32 [N, classes], before the softmax.
        """
        x = self.bn(self.blocks(self.stem(image))).relu()
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def build(shape: tuple[int, ...], classes: int) -> PreactResNet:
    """The network for images of a shape, with fresh weights, drawn from torch's default generator."""
    return PreactResNet(shape[0], classes)
