"""BN204: channels that are multiplied by far more than the others, because they hardly vary."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.linting.base import Lint
from bnfold.linting.wording import channels, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnfold.linting.facts import Mask, Network, Numbers
    from bnfold.linting.finding import Finding

__all__ = ["ExplodingScale", "exploding"]

_FAR_BELOW = 1e-2  # of epsilon: it alone limits the scale then
_FAR_ABOVE = 10.0  # times what the channels are multiplied by in the middle


class ExplodingScale(Lint):
    """Warns of channels whose variance is so far below epsilon that their scale explodes.

    That is where the variance is below a hundredth of epsilon, and the channel is multiplied by more than ten times as
    much as the channel in the middle. Dead channels are BN203.

    Why:
        Only epsilon keeps scale / √(var + epsilon) finite. Whatever such a channel gets that it did not get in training
        (other data, the rounding of float16 or int8) is multiplied by hundreds.

    Example:
        var = [0.8, 1e-9], epsilon = 1e-5, scale = [1, 1]    # factors 1.1 and 316

    Instead:
        Find out why the channel hardly varies (an input that is constant, a layer in front that died), and take it out
        or train on with more varied data. For float16 and int8 compare the outputs on real data before you deploy.

    Reference:
        Wu, Johnson: Rethinking "Batch" in BatchNorm, 2021, https://arxiv.org/abs/2105.07576
    """

    code: ClassVar[str] = "BN204"

    def look(self, network: Network) -> Iterator[Finding]:  # noqa: D102 - see Lint
        for norm in network.batch_norms:
            if (numbers := norm.numbers) is None or not (found := exploding(numbers)).any():
                continue
            factors = np.abs(numbers.factor)
            yield self.at(
                norm,
                f"{channels(found)} multiplied by up to {number(factors[found].max())}, the channel in the middle by "
                f"{number(float(np.median(factors)))}: a variance of {number(float(numbers.var[found].min()))} is far "
                f"below epsilon {number(norm.epsilon)}",
                "find out why these channels hardly vary; compare outputs on real data before going to float16 or int8",
                channels=int(found.sum()),
                of=found.size,
                largest_factor=float(factors[found].max()),
            )


def exploding(numbers: Numbers) -> Mask:
    """Which channels are multiplied by far more than the others, because they hardly vary."""
    factors = np.abs(numbers.factor)
    is_flat = ~numbers.dead & (numbers.var < _FAR_BELOW * numbers.epsilon)
    found: Mask = is_flat & (factors > _FAR_ABOVE * np.median(factors))
    return found
