"""Points in any order: Conv1d, which is one Linear for each point, and BatchNorm over points and clouds alike.

    points [N, 2, P]
      │  conv1 2 → 32   ── bn1 ── ReLU
      │  conv2 32 → 64  ── bn2 ── ReLU
      │  conv3 64 → 128 ── bn3                 no activation: the maximum is one
      │  maximum over the points
      │  fc1 128 → 64 ── bn4 ── ReLU ── Dropout
      ▼  fc2 64 → classes
    logits [N, classes]

References:
    Qi, Su, Mo, Guibas: PointNet, CVPR 2017, https://arxiv.org/abs/1612.00593
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["PointNet", "build"]


class PointNet(nn.Module):
    """Conv1d-BN three times, the maximum over the points, Linear-BN-ReLU, Dropout, Linear.

    Args:
        coordinates: Of a point.
        classes: Scores a cloud.
    """

    def __init__(self, coordinates: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(coordinates, 32, 1, bias=False)
        self.bn1 = nn.BatchNorm1d(32)
        self.conv2 = nn.Conv1d(32, 64, 1, bias=False)
        self.bn2 = nn.BatchNorm1d(64)
        self.conv3 = nn.Conv1d(64, 128, 1, bias=False)
        self.bn3 = nn.BatchNorm1d(128)
        self.fc1 = nn.Linear(128, 64, bias=False)
        self.bn4 = nn.BatchNorm1d(64)
        self.dropout = nn.Dropout(0.3)
        self.fc2 = nn.Linear(64, classes)

    def forward(self, points: Tensor) -> Tensor:
        """Scores of the classes.

        Args:
            points: float32 [N, coordinates, P], coordinates between −1 and 1, any number of points.

        Returns:
            float32 [N, classes], before the softmax.
        """
        x = self.bn1(self.conv1(points)).relu()
        x = self.bn2(self.conv2(x)).relu()
        x = self.bn3(self.conv3(x)).amax(2)
        x = self.bn4(self.fc1(x)).relu()
        logits: Tensor = self.fc2(self.dropout(x))
        return logits


def build(shape: tuple[int, ...], classes: int) -> PointNet:
    """The network for clouds of a shape, with fresh weights, drawn from torch's default generator."""
    return PointNet(shape[0], classes)
