"""BN301: running statistics that are those of the first moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.linting.base import Lint
from bnfold.linting.wording import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnfold.linting.facts import BatchNorm, Network
    from bnfold.linting.finding import Finding

__all__ = ["StatisticsNeverUpdated"]


class StatisticsNeverUpdated(Lint):
    """Warns of running statistics that were never updated.

    The mean is 0 and the variance is 1, exactly, in every channel: what frameworks begin with, and what no training
    leaves. With an epsilon of 0 nothing is reported: that is how a scale and a shift are written as a
    BatchNormalization.

    Why:
        At inference the BatchNormalization does not normalise, and the layers behind get other numbers than in
        training. Often the statistics were lost on the way: a checkpoint without its buffers, weights copied by name, a
        network that was always in ``eval`` mode, momentum 0.

    Example:
        model = Net()    # exported without load_state_dict(…), or with strict=False and keys that do not fit

    Instead:
        Load all of the checkpoint (``strict=True``), or compute the statistics again from data that the network was
        trained on: ``bnfold.training.recompute_statistics``.

    Reference:
        Wu, Johnson: Rethinking "Batch" in BatchNorm, 2021, section 3, https://arxiv.org/abs/2105.07576
    """

    code: ClassVar[str] = "BN301"

    def look(self, network: Network) -> Iterator[Finding]:  # noqa: D102 - see Lint
        for norm in network.batch_norms:
            if norm.is_untouched and norm.mean is not None and norm.epsilon and not norm.training:
                yield self.at(
                    norm,
                    f"mean 0 and var 1 in {_all(norm.mean.size)}{_batches(norm)}: its running statistics were never "
                    f"updated{_trained(norm)}",
                    "load the whole checkpoint (strict=True), or compute them from data: "
                    "bnfold.training.recompute_statistics",
                    channels=norm.mean.size,
                )


def _all(channels: int) -> str:
    return "its only channel" if channels == 1 else f"all {count(channels, 'channel')}"


def _batches(norm: BatchNorm) -> str:
    if norm.batches is None:
        return ""
    return ", no batch seen" if norm.batches == 0 else f" after {norm.batches:,} batches"


def _trained(norm: BatchNorm) -> str:
    """Whether the rest was trained tells a network that is fresh from one that lost its statistics."""
    if norm.scale is None or norm.bias is None:
        return ""
    is_fresh = bool((norm.scale == norm.scale[:1]).all()) and not norm.bias.any()
    return "; scale and bias are fresh too" if is_fresh else ", though its scale and bias were trained"
