"""Down, up, and across: BatchNorm behind Conv and ConvTranspose, and what skips the depths joined to what comes up.

    image [N, C, H, W], with noise
      │  enter 3×3, 16 ── bn ── ReLU ───────────────────────────────── skip ─╮
      │  down1 3×3, 32, stride 2 ── bn ── ReLU ────────────── skip ─╮        │
      │  down2 3×3, 64, stride 2 ── bn ── ReLU                      │        │
      │  up2 2×2, 32, stride 2 ── bn ── ReLU ── Concat ─────────────╯        │
      │  join2 3×3, 32 ── bn ── ReLU                                         │
      │  up1 2×2, 16, stride 2 ── bn ── ReLU ── Concat ──────────────────────╯
      │  join1 3×3, 16 ── bn ── ReLU
      ▼  leave 1×1, C, added to the image
    image [N, C, H, W], without

References:
    Ronneberger, Fischer, Brox: U-Net, MICCAI 2015, https://arxiv.org/abs/1505.04597
    Zhang, Zuo, Chen, Meng, Zhang: Beyond a Gaussian Denoiser, 2017, https://arxiv.org/abs/1608.03981: it learns the
    noise, which is added to the image with its sign turned
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

__all__ = ["UNet", "build"]


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Conv3×3-BN-ReLU: [N, inputs, H, W] → [N, outputs, H / stride, W / stride]."""
    layer = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(OrderedDict(conv=layer, bn=nn.BatchNorm2d(outputs), relu=nn.ReLU()))


def up(inputs: int, outputs: int) -> nn.Sequential:
    """ConvTranspose2×2-BN-ReLU: [N, inputs, H, W] → [N, outputs, 2·H, 2·W]."""
    layer = nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=False)
    return nn.Sequential(OrderedDict(conv=layer, bn=nn.BatchNorm2d(outputs), relu=nn.ReLU()))


class UNet(nn.Module):
    """Twice down, twice up, with what was there before joined to it; the noise is taken off.

    Args:
        channels: Of the image.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = conv(channels, 16)
        self.down1 = conv(16, 32, stride=2)
        self.down2 = conv(32, 64, stride=2)
        self.up2 = up(64, 32)
        self.join2 = conv(64, 32)
        self.up1 = up(32, 16)
        self.join1 = conv(32, 16)
        self.leave = nn.Conv2d(16, channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """The image without its noise.

        Args:
            image: float32 [N, channels, H, W], H and W multiples of 4.

        Returns:
            float32 [N, channels, H, W].
        """
        full = self.enter(image)
        half = self.down1(full)
        x = self.join2(torch.cat([self.up2(self.down2(half)), half], 1))
        x = self.join1(torch.cat([self.up1(x), full], 1))
        clean: Tensor = image + self.leave(x)
        return clean


def build(shape: tuple[int, ...], classes: int) -> UNet:
    """The network for images of a shape, with fresh weights, drawn from torch's default generator; no classes."""
    return UNet(shape[0])
