"""BN203: channels that are constants."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.linting.base import Lint
from bnfold.linting.wording import channels, count, listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnfold.linting.facts import BatchNorm, Network, Numbers
    from bnfold.linting.finding import Finding

__all__ = ["DeadChannels"]


class DeadChannels(Lint):
    """Warns of dead channels, and says by how much the network could shrink.

    A channel is dead if what comes out of the BatchNormalization varies by less than a thousandth of its liveliest
    channel: scale ≈ 0, or variance ≈ 0. Where the running statistics were never updated nothing is reported: there a
    scale of 0 is how the last BatchNormalization of a residual block begins.

    Why:
        A dead channel is a constant, which the bias of the next layer could hold. What computes it and what multiplies
        it is work for nothing, and many of them say that the network is wider than it needs to be, or that a learning
        rate or a weight decay was too large.

    Example:
        scale = [1.1, 0.0, 0.9, 1e-9]    # channels 1 and 3 are constants

    Instead:
        Take these channels out of the layer in front and of the layers behind, and add the constant to the biases
        there. Nothing but the constant changes; where a layer pads with zeros, its edges see another one.

    Reference:
        Liu et al.: Learning Efficient Convolutional Networks through Network Slimming, ICCV 2017, https://arxiv.org/abs/1708.06519
    """

    code: ClassVar[str] = "BN203"

    def look(self, network: Network) -> Iterator[Finding]:  # noqa: D102 - see Lint
        for norm in network.batch_norms:
            if (numbers := norm.numbers) is None or norm.is_untouched or not numbers.dead.any():
                continue
            saved = int(numbers.dead.sum()) * norm.shrinkage.parameters if norm.shrinkage is not None else 0
            yield self.at(
                norm,
                f"{channels(numbers.dead)} dead: {_causes(numbers)}",
                _advice(norm, saved, network.parameters),
                channels=int(numbers.dead.sum()),
                of=numbers.dead.size,
                parameters=saved,
            )


def _causes(numbers: Numbers) -> str:
    """How many have no scale, and how many no variance."""
    without_scale = numbers.dead & (np.abs(numbers.scale) <= 1e-3 * np.abs(numbers.scale).max())
    causes = [(without_scale, "scale ≈ 0"), (numbers.dead & ~without_scale, "variance ≈ 0")]
    return listed([f"{cause} in {int(mask.sum()):,}" for mask, cause in causes if mask.any()])


def _advice(norm: BatchNorm, saved: int, parameters: int) -> str:
    if norm.shrinkage is None:
        return "they cannot be taken out here alone: they are outputs, or other ops read them, or their sum with others"
    layers = listed([str(layer) for layer in norm.shrinkage.layers])
    share = f", {saved / parameters:.1%} of the network" if parameters else ""
    return f"take them out of {layers}: {count(saved, 'parameter')} fewer{share}"
