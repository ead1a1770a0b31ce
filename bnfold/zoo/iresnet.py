"""The residual blocks of face recognition: BatchNorm in front of a padded Conv, and no activation on the stream.

    image [N, C, H, W]
      │  stem 3×3, 16 ── bn ── PReLU
      │  blocks.0  16 → 16
      │  blocks.1  16 → 32, stride 2
      │  blocks.2  32 → 32
      │  bn ── mean over the image
      │  embed 32 → 32, bias ── bn_embed      the bias is redundant, as in the original
      ▼  fc 32 → classes
    logits [N, classes]

    a block:    x ┬ bn1 ── conv1 3×3 ── bn2 ── PReLU ── conv2 3×3 ── bn3 ┬ + ── y
                  ╰ (1×1 ── BN, where the size changes) ─────────────────╯

bn1's shift would have to be part of conv1's zero padding, so that it cannot go forward; and what is in front of it is
the stream, which others read. It goes all the same: the stream takes the shift, the biases of what is added to it pay
for it, and the scale goes into conv1. Only the first stays: a PReLU, which carries no shift, writes its stream.

References:
    Deng, Guo, Xue, Zafeiriou: ArcFace, CVPR 2019, section 3.1, https://arxiv.org/abs/1801.07698
    Han, Kim, Kim: Deep Pyramidal Residual Networks, CVPR 2017, https://arxiv.org/abs/1610.02915: BN in front alone
    Goyal et al.: Accurate, Large Minibatch SGD, 2017, section 5.1, https://arxiv.org/abs/1706.02677: the last scale of
    a branch begins at 0; training gives it either sign
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["IResNet", "build"]


class Block(nn.Module):
    """BN-Conv-BN-PReLU-Conv-BN, and the input added; made fit by Conv-BN where the size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        nn.init.zeros_(self.bn3.weight)
        self.shortcut = nn.Sequential()
        if (inputs, stride) != (outputs, 1):
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → [N, outputs, ⌈H/stride⌉, ⌈W/stride⌉]."""
        branch = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        added: Tensor = self.bn3(self.conv2(branch)) + self.shortcut(x)
        return added


class IResNet(nn.Module):
    """A stem, three blocks, an embedding with BatchNorm of its own, and a Linear.

    Args:
        channels: Of the image.
        classes: Scores an image.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.PReLU(16))
        self.blocks = nn.Sequential(Block(16, 16), Block(16, 32, stride=2), Block(32, 32))
        self.bn = nn.BatchNorm2d(32)
        self.embed = nn.Linear(32, 32)
        self.bn_embed = nn.BatchNorm1d(32)
        self.fc = nn.Linear(32, classes)

    def forward(self, image: Tensor) -> Tensor:
        """[N, channels, H, W], float32 → [N, classes], scores before the softmax."""
        x = self.bn(self.blocks(self.stem(image))).mean((2, 3))
        logits: Tensor = self.fc(self.bn_embed(self.embed(x)))
        return logits


def build(shape: tuple[int, ...], classes: int) -> IResNet:
    """The network for images of a shape, with fresh weights, drawn from torch's default generator."""
    return IResNet(shape[0], classes)
