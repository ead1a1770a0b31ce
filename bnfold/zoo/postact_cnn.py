"""BatchNorm behind the activation: one that folds into an unpadded Conv, one that cannot, one through a pool.

    image [N, C, H, W]
      │  conv1 3×3, 16, padded   ── ReLU ── bn1
      │  conv2 3×3, 32, unpadded ── ReLU ── bn2     conv2 takes bn1 in
      │  conv3 3×3, 64, padded   ── ReLU ── bn3     conv3 cannot take bn2 in
      │  mean over the image
      ▼  fc 64 → classes                            fc takes bn3 in, through the mean
    logits [N, classes]

A ReLU lets no shift through, so that all have to go forward. conv3 pads bn2's output with zeros, and the shift of a
BatchNorm is not part of the padding: that shift would be added at the border too. bn2 stays.

References:
    Mishkin, Sergievskiy, Matas: Systematic evaluation of CNN advances on the ImageNet, 2016, section 3.2.1,
    https://arxiv.org/abs/1606.02228: BatchNorm before and behind the activation
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["PostactCNN", "build"]


class PostactCNN(nn.Module):
    """Conv-ReLU-BN three times, the mean of the image, Linear.

    Args:
        channels: Of the image.
        classes: Scores an image.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3)
        self.bn2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(64)
        self.fc = nn.Linear(64, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of the classes.

        Args:
            image: float32 [N, channels, H, W], H and W at least 3.

        Returns:
            float32 [N, classes], before the softmax.
        """
        x = self.bn1(self.conv1(image).relu())
        x = self.bn2(self.conv2(x).relu())
        x = self.bn3(self.conv3(x).relu())
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def build(shape: tuple[int, ...], classes: int) -> PostactCNN:
    """The network for images of a shape, with fresh weights, drawn from torch's default generator."""
    return PostactCNN(shape[0], classes)
