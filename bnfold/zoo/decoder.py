"""An autoencoder whose decoder has BatchNorm behind ConvTranspose, one of them grouped.

    image [N, C, H, W]
      │  conv1 3×3, 16, stride 2 ── bn1 ── ReLU
      │  conv2 3×3, 32, stride 2 ── bn2 ── ReLU
      │  squeeze 2×2, 16, stride 2 ── bn_code          a code of 16 numbers for 8×8: of mean 0 and variance 1
      │  up1 2×2, 32, stride 2 ── bn3 ── ReLU
      │  up2 4×4, 32, stride 2, groups 4 ── bn4 ── ReLU
      ▼  up3 4×4, C, stride 2 ── Sigmoid
    image [N, C, H, W]

The weight of a ConvTranspose is [inputs, outputs / groups, …]: the channels of the BatchNorm are the second axis, and
with groups those of each group in turn. Folds that take it for a Conv's are wrong, or fail.

References:
    Hinton, Salakhutdinov: Reducing the Dimensionality of Data with Neural Networks, Science 313, 2006
    Radford, Metz, Chintala: DCGAN, ICLR 2016, https://arxiv.org/abs/1511.06434: ConvTranspose-BN-ReLU
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Decoder", "build"]


class Decoder(nn.Module):
    """Conv-BN down to a code, ConvTranspose-BN up again.

    Args:
        channels: Of the image.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.squeeze = nn.Conv2d(32, 16, 2, stride=2, bias=False)
        self.bn_code = nn.BatchNorm2d(16)
        self.up1 = nn.ConvTranspose2d(16, 32, 2, stride=2, bias=False)
        self.bn3 = nn.BatchNorm2d(32)
        self.up2 = nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1, groups=4, bias=False)
        self.bn4 = nn.BatchNorm2d(32)
        self.up3 = nn.ConvTranspose2d(32, channels, 4, stride=2, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """The image, rebuilt from its code.

        Args:
            image: float32 [N, channels, H, W], H and W multiples of 8.

        Returns:
            float32 [N, channels, H, W], between 0 and 1.
        """
        x = self.bn1(self.conv1(image)).relu()
        x = self.bn2(self.conv2(x)).relu()
        code = self.bn_code(self.squeeze(x))
        x = self.bn3(self.up1(code)).relu()
        x = self.bn4(self.up2(x)).relu()
        rebuilt: Tensor = self.up3(x).sigmoid()
        return rebuilt


def build(shape: tuple[int, ...], classes: int) -> Decoder:
    """The network for images of a shape, with fresh weights, drawn from torch's default generator; no classes."""
    return Decoder(shape[0])
