"""Small modules as users write them, and their BatchNorms with statistics that are not 0 and 1."""

from __future__ import annotations

import torch
from torch import nn


def randomised(module: nn.Module) -> nn.Module:
    """With statistics, scales and biases drawn at random; in training mode, as modules are made."""
    torch.manual_seed(1)
    for part in module.modules():
        if isinstance(getattr(part, "running_mean", None), torch.Tensor):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            for name, (low, high) in {"weight": (0.5, 1.5), "bias": (-1, 1)}.items():
                if isinstance(getattr(part, name, None), torch.Tensor):
                    getattr(part, name).data.uniform_(low, high)
    return module


def conv_bn(kind: type[nn.Module] = nn.BatchNorm2d) -> nn.Module:
    return randomised(nn.Sequential(nn.Conv2d(3, 4, 3), kind(4), nn.ReLU()))


class FrozenBatchNorm2d(nn.Module):
    """As torchvision and detectron2 have it."""

    def __init__(self, channels: int, eps: float = 1e-3) -> None:
        super().__init__()
        self.eps = eps
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = 1, -1, 1, 1
        scale = self.weight.reshape(shape) * (self.running_var.reshape(shape) + self.eps).rsqrt()
        return x * scale + (self.bias.reshape(shape) - self.running_mean.reshape(shape) * scale)


class TwoInTwoOut(nn.Module):
    """Words and an image in, a dictionary out; a layer for training only, and an optional input."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 4)
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.auxiliary = nn.Linear(4, 2)
        self.head = torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 5))
        self.dropout = nn.Dropout(0.5)

    def forward(self, tokens, scale=None, image=None):
        features = self.bn(self.conv(image)).relu()
        vector = self.dropout(features.mean((2, 3)) + self.words(tokens).mean(1))
        if scale is not None:
            vector = vector * scale
        return {"map": features, "logits": [self.head(vector), None], "words": vector.argmax(1)}
