"""Attention with BatchNorm where others have LayerNorm: Linear over tokens, which are flattened for a BatchNorm1d.

    image [N, C, H, W]
      │  stem 3×3, 32, stride 2 ── bn
      │  flatten to tokens [N, L, 32]
      │  stages.0, stages.1:     x + attention(x),  x + mlp(x)
      │  mean over tokens
      ▼  bn ── fc 32 → classes
    logits [N, classes]

    LinearBN:   [N, L, I] ── Linear ── [N, L, O] ── flatten ── [N·L, O] ── BN ── reshape ── [N, L, O]
    attention:  LinearBN to q, k, v of each head ── softmax(q·k + bias)·v ── Hardswish ── LinearBN
    mlp:        LinearBN ── Hardswish ── LinearBN

The Linear exports as MatMul and the BatchNorm stands behind a Reshape: the channel is the last axis of the one and the
second of the other. With as many tokens as channels, a fold that looks at sizes takes the wrong one. The scale of the
last BatchNorm of each branch begins at zero, as in LeViT, so that training gives it either sign.

References:
    Graham, El-Nouby, Touvron, Stock, Joulin, Jégou, Douze: LeViT, ICCV 2021, https://arxiv.org/abs/2104.01136
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import hardswish

__all__ = ["LeViT", "build"]

_WIDTH, _HEADS, _KEY, _VALUE = 32, 2, 8, 16


class LinearBN(nn.Module):
    """Linear over the last axis of [N, L, inputs], and BatchNorm over all tokens; ``scale`` is its scale at first."""

    def __init__(self, inputs: int, outputs: int, scale: float = 1) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.bn = nn.BatchNorm1d(outputs)
        nn.init.constant_(self.bn.weight, scale)

    def forward(self, x: Tensor) -> Tensor:
        """[N, L, inputs] → [N, L, outputs]."""
        x = self.linear(x)
        normal: Tensor = self.bn(x.flatten(0, 1)).reshape_as(x)
        return normal


class Attention(nn.Module):
    """Each token reads all: queries, keys and values from one LinearBN, a learnt bias for each pair of places."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.qkv = LinearBN(_WIDTH, _HEADS * (2 * _KEY + _VALUE))
        self.bias = nn.Parameter(torch.zeros(_HEADS, tokens, tokens))
        self.project = LinearBN(_HEADS * _VALUE, _WIDTH, scale=0)

    def forward(self, x: Tensor) -> Tensor:
        """[N, L, 32] → [N, L, 32]."""
        heads = self.qkv(x).unflatten(2, (_HEADS, -1)).transpose(1, 2)
        q, k, v = heads.split([_KEY, _KEY, _VALUE], 3)
        weights = (q @ k.transpose(2, 3) * _KEY**-0.5 + self.bias).softmax(3)
        mixed: Tensor = self.project(hardswish((weights @ v).transpose(1, 2).flatten(2)))
        return mixed


class LeViT(nn.Module):
    """A stem, two stages of attention and mlp, and BN-Linear; for images of ``shape`` (C, H, W), H and W even."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(shape[0], _WIDTH, 3, stride=2, padding=1, bias=False)
        self.bn_stem = nn.BatchNorm2d(_WIDTH)
        tokens = shape[1] // 2 * (shape[2] // 2)
        self.attention = nn.ModuleList([Attention(tokens) for _ in range(2)])
        self.up = nn.ModuleList([LinearBN(_WIDTH, 2 * _WIDTH) for _ in range(2)])
        self.down = nn.ModuleList([LinearBN(2 * _WIDTH, _WIDTH, scale=0) for _ in range(2)])
        self.bn = nn.BatchNorm1d(_WIDTH)
        self.fc = nn.Linear(_WIDTH, classes)

    def forward(self, image: Tensor) -> Tensor:
        """float32 [N, C, H, W] → [N, classes], scores before the softmax."""
        x = self.bn_stem(self.stem(image)).flatten(2).transpose(1, 2)
        for attention, up, down in zip(self.attention, self.up, self.down, strict=True):
            x = x + attention(x)
            x = x + down(hardswish(up(x)))
        logits: Tensor = self.fc(self.bn(x.mean(1)))
        return logits


def build(shape: tuple[int, ...], classes: int) -> LeViT:
    """The network for images of a shape, with fresh weights, drawn from torch's default generator."""
    return LeViT(shape, classes)
