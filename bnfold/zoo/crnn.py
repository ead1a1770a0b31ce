"""An LSTM that reads an image row by row, with BatchNorm behind each Conv and in front of the LSTM.

    image [N, C, H, W]
      │  conv1 3×3, 16 ── bn1 ── ReLU
      │  conv2 3×3, 8  ── bn2 ── ReLU
      │  rows as features [N, 8·W, H]
      │  bn_rows
      │  lstm 8·W → 32, from the first row to the last
      ▼  fc 32 → classes, of the last state
    logits [N, classes]

bn_rows has a ReLU in front of it and goes forward, through a Transpose, into the LSTM's input weights and biases, of
all four gates. Into its output weights none could: what an LSTM gives has passed a tanh.

References:
    Shi, Bai, Yao: An End-to-End Trainable Neural Network for Image-based Sequence Recognition, 2015,
    https://arxiv.org/abs/1507.05717
    Amodei et al.: Deep Speech 2, ICML 2016, https://arxiv.org/abs/1512.02595: BatchNorm on what a recurrence reads
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["CRNN", "build"]


class CRNN(nn.Module):
    """Conv-BN-ReLU twice, BN over the features of a row, an LSTM over the rows, Linear.

    Args:
        channels: Of the image.
        width: Of the image.
        classes: Scores an image.
    """

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 8, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.bn_rows = nn.BatchNorm1d(8 * width)
        self.lstm = nn.LSTM(8 * width, 32, batch_first=True)
        self.fc = nn.Linear(32, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of the classes.

        Args:
            image: float32 [N, channels, H, width].

        Returns:
            float32 [N, classes], before the softmax.
        """
        x = self.bn1(self.conv1(image)).relu()
        x = self.bn2(self.conv2(x)).relu()
        rows = x.transpose(2, 3).flatten(1, 2)
        _, (last, _) = self.lstm(self.bn_rows(rows).transpose(1, 2))
        logits: Tensor = self.fc(last[0])
        return logits


def build(shape: tuple[int, ...], classes: int) -> CRNN:
    """The network for images of a shape, with fresh weights, drawn from torch's default generator."""
    return CRNN(shape[0], shape[2], classes)
