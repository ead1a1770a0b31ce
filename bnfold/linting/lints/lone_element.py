"""BN304: statistics of one number."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.linting.base import Lint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnfold.linting.facts import Network
    from bnfold.linting.finding import Finding

__all__ = ["LoneElement"]


class LoneElement(Lint):
    """Warns of a BatchNormalization on a tensor with one element per channel in training.

    Of one that gets no more than one number per channel from a sample although its input has positions, such as
    [N, C, 1, 1] behind a global pool; and of every one that gets a batch of one such sample. A BatchNormalization of
    features [N, C] is not reported for what a larger batch mends. In an ONNX file that is at inference nothing is
    reported: there it is only an affine.

    Why:
        The variance of one number is 0. PyTorch refuses a batch of one ("Expected more than 1 value per channel when
        training"), which is how a training run dies on the last, smaller batch; with few samples the statistics are
        noise, where everywhere else in the network they come from thousands of positions.

    Example:
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(256, 64, 1, bias=False), nn.BatchNorm2d(64))

    Instead:
        A bias in place of that BatchNormalization, or GroupNorm or LayerNorm; ``drop_last=True`` in the loader if only
        the last batch is too small; synchronised BatchNormalization if many devices have one sample each.

    Reference:
        Chen et al.: Rethinking Atrous Convolution for Semantic Image Segmentation, 2017, section 3.3, https://arxiv.org/abs/1706.05587
        Wu, He: Group Normalization, ECCV 2018, https://arxiv.org/abs/1803.08494
    """

    code: ClassVar[str] = "BN304"

    def look(self, network: Network) -> Iterator[Finding]:  # noqa: D102 - see Lint
        for norm in network.batch_norms:
            if norm.elements != 1:
                continue
            if norm.rows == 1:
                message = "in training its statistics are those of one number per channel, whose variance is 0"
            elif (norm.rank or 0) > 2:
                message = "in training it gets one number per channel from a sample: a batch of one has no variance"
            else:
                continue
            yield self.at(
                norm, message, "use a bias, GroupNorm or LayerNorm there, or drop_last=True for a last batch of one"
            )
