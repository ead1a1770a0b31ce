"""One encoder for both images of a pair: each BatchNorm is called twice, and so is the Conv that takes it in.

    pair [N, 2, C, H, W]
      ├ first  ─ encoder ─╮
      ├ second ─ encoder ─┴ │difference│
      │  fc1 64 → 32 ── bn4 ── ReLU
      ▼  fc2 32 → 2
    logits [N, 2]             of another class, of the same

    encoder:    conv1 3×3, 16 ── bn1 ── ReLU
                conv2 3×3, 32, stride 2 ── bn2 ── ReLU ── Flatten
                embed 64 ── bn3 ── ReLU        without the ReLU, the difference would cancel bn3's shift

In the graph two nodes share one scale, and two Conv one weight. Folding one call must leave the weight of the other
alone until that one is folded too; then both share one again.

References:
    Bromley, Guyon, LeCun, Säckinger, Shah: Signature Verification using a Siamese Time Delay Neural Network, 1993
    Koch, Zemel, Salakhutdinov: Siamese Neural Networks for One-shot Image Recognition, 2015
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Siamese", "build"]


class Siamese(nn.Module):
    """An encoder for each of two images, and two layers that judge how their codes differ.

    Args:
        channels: Of an image.
        height: Of an image, even.
        width: Of an image, even.
    """

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.embed = nn.Linear(8 * height * width, 64, bias=False)
        self.bn3 = nn.BatchNorm1d(64)
        self.fc1 = nn.Linear(64, 32, bias=False)
        self.bn4 = nn.BatchNorm1d(32)
        self.fc2 = nn.Linear(32, 2)

    def encode(self, image: Tensor) -> Tensor:
        """A code of an image: [N, C, H, W] → [N, 64]."""
        x = self.bn1(self.conv1(image)).relu()
        x = self.bn2(self.conv2(x)).relu()
        code: Tensor = self.bn3(self.embed(x.flatten(1))).relu()
        return code

    def forward(self, pair: Tensor) -> Tensor:
        """Are both of one class?

        Args:
            pair: float32 [N, 2, channels, height, width].

        Returns:
            float32 [N, 2], before the softmax: scores of no, and of yes.
        """
        first, second = pair.unbind(1)
        apart = (self.encode(first) - self.encode(second)).abs()
        logits: Tensor = self.fc2(self.bn4(self.fc1(apart)).relu())
        return logits


def build(shape: tuple[int, ...], classes: int) -> Siamese:
    """The network for pairs of a shape, with fresh weights, drawn from torch's default generator; 2 classes always."""
    return Siamese(*shape[1:])
