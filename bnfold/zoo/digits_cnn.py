"""A small convolutional network for 8×8 digits, with BatchNorm behind Conv and behind Linear.

    image [N, 1, 8, 8]
      │  conv1 3×3, 16, bias ── bn1 ── ReLU            the bias is redundant: bn1 subtracts its mean again
      │  conv2 3×3, 32       ── bn2 ── ReLU ── MaxPool 2×2
      │  conv3 3×3, 32, stride 2 ── bn3 ── ReLU
      │  Flatten
      │  fc1 128 → 64, bias  ── bn4 ── ReLU ── Dropout
      ▼  fc2 64 → 10
    logits [N, 10]

Dropout stands at the head only, behind the last BatchNorm: in front of one it shifts the variance that the
running statistics recorded (Li et al. 2019).

References:
    Ioffe, Szegedy: Batch Normalization, ICML 2015, https://arxiv.org/abs/1502.03167
    Li, Chen, Hu, Yang: Understanding the Disharmony between Dropout and Batch Normalization by Variance
    Shift, CVPR 2019, https://arxiv.org/abs/1801.05134
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["DigitsCNN", "build"]


class DigitsCNN(nn.Module):
    """Conv-BN-ReLU three times, Linear-BN-ReLU, Dropout, Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.pool = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(32, 32, 3, stride=2, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(32)
        self.fc1 = nn.Linear(128, 64)
        self.bn4 = nn.BatchNorm1d(64)
        self.dropout = nn.Dropout(0.3)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of the ten digits.

        Args:
            image: float32 [N, 1, 8, 8], ink between 0 and 1.

        Returns:
            float32 [N, 10], before the softmax.
        """
        x = self.bn1(self.conv1(image)).relu()
        x = self.pool(self.bn2(self.conv2(x)).relu())
        x = self.bn3(self.conv3(x)).relu()
        x = self.bn4(self.fc1(x.flatten(1))).relu()
        logits: Tensor = self.fc2(self.dropout(x))
        return logits


def build() -> DigitsCNN:
    """The network with fresh weights, drawn from torch's default generator."""
    return DigitsCNN()
