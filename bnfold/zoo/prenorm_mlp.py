"""BatchNorm in front of each Linear, the first of them on raw features: measured in any units, learnt at one rate.

    features [N, 30]                 of very different scale: a smoothness of 0.05, an area of 4254
      │  bn1 ── fc1 30 → 32 ── GELU
      │  bn2 ── fc2 32 → 32 ── GELU
      ▼  bn3 ── fc3 32 → classes
    logits [N, classes]

None can go back: in front of bn1 is the input, in front of the others a GELU, which passes neither a scale nor a
shift. All go forward, into the Linear that reads them.

References:
    LeCun, Bottou, Orr, Müller: Efficient BackProp, 1998, section 4.3: inputs of mean 0 and equal variance
    Hendrycks, Gimpel: Gaussian Error Linear Units, 2016, https://arxiv.org/abs/1606.08415
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import gelu

__all__ = ["PrenormMLP", "build"]


class PrenormMLP(nn.Module):
    """BN-Linear-GELU twice, BN-Linear.

    Args:
        features: Numbers a row.
        classes: Scores a row.
        width: Of the hidden layers.
    """

    def __init__(self, features: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm1d(features)
        self.fc1 = nn.Linear(features, width)
        self.bn2 = nn.BatchNorm1d(width)
        self.fc2 = nn.Linear(width, width)
        self.bn3 = nn.BatchNorm1d(width)
        self.fc3 = nn.Linear(width, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Scores of the classes.

        Args:
            features: float32 [N, …], in any units.

        Returns:
            float32 [N, classes], before the softmax.
        """
        x = gelu(self.fc1(self.bn1(features.flatten(1))))
        x = gelu(self.fc2(self.bn2(x)))
        logits: Tensor = self.fc3(self.bn3(x))
        return logits


def build(shape: tuple[int, ...], classes: int) -> PrenormMLP:
    """The network for rows of a shape, with fresh weights, drawn from torch's default generator."""
    return PrenormMLP(math.prod(shape), classes)
