"""BN202: channels in which epsilon is larger than the variance."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.linting.base import Lint
from bnfold.linting.lints.exploding_scale import exploding
from bnfold.linting.wording import channels, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnfold.linting.facts import Network
    from bnfold.linting.finding import Finding

__all__ = ["EpsilonSwampsVariance"]


class EpsilonSwampsVariance(Lint):
    """Warns of channels whose variance is smaller than epsilon.

    Not of dead channels (BN203), nor of those that are multiplied by far more than the others (BN204).

    Why:
        Such a channel does not come out with a standard deviation of 1, but with √(var / (var + epsilon)), below 0.71,
        and the smaller it is the less it is normalised. Another framework's default epsilon, put in by mistake, changes
        its output by as much: 1e-3 in place of 1e-5 multiplies a channel of variance 1e-4 by 0.32.

    Example:
        nn.BatchNorm2d(16, eps=1e-3)    # behind a layer whose outputs vary by 0.01, a variance of 1e-4

    Instead:
        In training, a smaller epsilon, or larger inputs and weights in front of it. In a trained network see that the
        epsilon is the one it was trained with; if so, leave it.

    Reference:
        Ioffe, Szegedy: Batch Normalization, ICML 2015, section 3, https://arxiv.org/abs/1502.03167
    """

    code: ClassVar[str] = "BN202"

    def look(self, network: Network) -> Iterator[Finding]:  # noqa: D102 - see Lint
        for norm in network.batch_norms:
            if (numbers := norm.numbers) is None:
                continue
            swamped = numbers.swamped & ~exploding(numbers)
            if swamped.any():
                least = max(float(numbers.var[swamped].min()), 0.0)
                spread = float(np.sqrt(least / (least + norm.epsilon)))
                yield self.at(
                    norm,
                    f"epsilon {number(norm.epsilon)} is larger than the variance in {channels(swamped)}: the smallest, "
                    f"{number(least)}, comes out with a standard deviation of {number(spread)} in place of 1",
                    "see that this is the epsilon it was trained with; to train it anew, take a smaller one",
                    channels=int(swamped.sum()),
                    of=swamped.size,
                    smallest_variance=least,
                    epsilon=norm.epsilon,
                )
