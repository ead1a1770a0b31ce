"""All networks of the zoo: where the BatchNorms of each stand, its data, and how it is trained.

Most are trained as ``bnfold train`` does by itself. The recipes of the others were chosen on a quarter of the training
data, but for a few early trials of decoder, unet, pointnet, levit and prenorm_mlp, which looked at what is held out.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bnfold.zoo import preparing
from bnfold.zoo.network import Network
from bnfold.zoo.tasks import REBUILD

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NETWORKS"]


def _any(shape: tuple[int, ...]) -> bool:
    return True


def _images(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3


def _even_images(shape: tuple[int, ...]) -> bool:
    return _images(shape) and shape[1] % 2 == shape[2] % 2 == 0


def _images_by_4(shape: tuple[int, ...]) -> bool:
    return _images(shape) and shape[1] % 4 == shape[2] % 4 == 0


def _images_by_8(shape: tuple[int, ...]) -> bool:
    return _images(shape) and shape[1] % 8 == shape[2] % 8 == 0


def _clouds(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2


def _pairs_of_even_images(shape: tuple[int, ...]) -> bool:
    return shape[:1] == (2,) and _even_images(shape[1:])


def _fast(lr: float) -> Mapping[str, Any]:
    """Steps so large and so many that some scales of BatchNorms turn negative, as in networks trained for long."""
    return MappingProxyType({"lr": lr, "batch_size": 32})


def _adamw(lr: float, epochs: int) -> Mapping[str, Any]:
    return MappingProxyType({"optimizer": "adamw", "lr": lr, "epochs": epochs})


_ALL = (
    Network(
        name="digits_cnn",
        summary="a small convolutional network: BatchNorm behind each of three Conv and "
        "behind a Linear, Dropout at the head only",
    ),
    Network(
        name="mlp",
        summary="three Linear and ReLU, with BatchNorm between them, or behind the ReLU, or in front of the Linear",
        input_name="features",
        adapts=_any,
        placements=("pre", "post", "input"),
    ),
    Network(
        name="prenorm_mlp",
        summary="BatchNorm in front of each of three Linear, the first on raw features, GELU between them",
        data="breast_cancer",
        input_shape=(30,),
        input_name="features",
        classes=2,
        adapts=_any,
    ),
    Network(
        name="postact_cnn",
        summary="BatchNorm behind each ReLU: in front of an unpadded Conv, of a padded Conv, and of a mean",
        adapts=_images,
    ),
    Network(
        name="preact_resnet",
        summary="residual blocks that begin with BatchNorm and ReLU, which read the residual stream itself",
        adapts=_images,
        recipe=_fast(lr=0.5),
    ),
    Network(
        name="iresnet",
        summary="residual blocks of face recognition: BatchNorm in front of a padded Conv, and behind each Conv",
        adapts=_images,
        recipe=_fast(lr=0.3),
    ),
    Network(
        name="densenet",
        summary="dense blocks, where several BatchNorms read each segment of a Concat",
        adapts=_images,
        recipe=_fast(lr=0.5),
    ),
    Network(
        name="mobile",
        summary="inverted residuals: BatchNorm behind pointwise and depthwise Conv, with ReLU6 or nothing behind it",
        adapts=_images,
    ),
    Network(
        name="levit",
        summary="attention with BatchNorm behind each Linear over tokens, on another axis than the Linear's",
        adapts=_even_images,
        recipe=_adamw(0.01, epochs=30),
    ),
    Network(
        name="repvgg",
        summary="blocks of three branches, each with BatchNorm, summed: 3×3, 1×1, and BatchNorm alone",
        adapts=_images,
    ),
    Network(
        name="decoder",
        summary="an autoencoder: BatchNorm behind ConvTranspose, one of them grouped, and on the code itself",
        output_name="rebuilt",
        task=REBUILD,
        prepare=preparing.same,
        adapts=_images_by_8,
        recipe=_adamw(0.01, epochs=40),
    ),
    Network(
        name="pointnet",
        summary="BatchNorm behind Conv1d over points in any order, the last in front of a maximum, and behind a Linear",
        input_shape=(2, preparing.POINTS),
        input_name="points",
        prepare=preparing.scattered,
        adapts=_clouds,
        recipe=_adamw(0.005, epochs=10),
    ),
    Network(
        name="crnn",
        summary="BatchNorm behind two Conv, and in front of an LSTM that reads an image row by row",
        adapts=_images,
    ),
    Network(
        name="siamese",
        summary="one encoder for both images of a pair: each of its BatchNorms and weights is used twice",
        input_shape=(2, 1, 8, 8),
        input_name="pair",
        classes=2,
        prepare=preparing.paired,
        adapts=_pairs_of_even_images,
    ),
    Network(
        name="unet",
        summary="noise taken off images: BatchNorm behind Conv and ConvTranspose, a Concat of what skips the depths",
        output_name="clean",
        task=REBUILD,
        prepare=preparing.noisy,
        adapts=_images_by_4,
        recipe=_adamw(0.01, epochs=20),
    ),
)

NETWORKS: Mapping[str, Network] = MappingProxyType({network.name: network for network in _ALL})
