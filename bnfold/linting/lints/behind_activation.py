"""BN102: BatchNormalization right behind an activation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.linting.base import Lint
from bnfold.linting.facts import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnfold.linting.facts import Network
    from bnfold.linting.finding import Finding

__all__ = ["BehindActivation"]


class BehindActivation(Lint):
    """Warns of a BatchNormalization right behind an activation.

    Behind a sum, a concatenation or a pool it is another thing: there it normalises what several layers wrote. So it is
    where others read the activation too (a residual stream, RepVGG's branches): it cannot stand in front of that.

    Why:
        It cannot keep the activation's input out of saturation, which is one of the things that it is good for, and it
        normalises numbers that are far from symmetric. At inference it cannot go back into the weights in front of the
        activation: it can be folded only forward, into a layer that does not pad with zeros.

    Example:
        nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.BatchNorm2d(16))

    Instead:
        Put it between the layer with weights and the activation: Conv, BatchNormalization, ReLU. Where this order is
        the design of a network (ConvMixer), ignore the lint.

    Reference:
        Ioffe, Szegedy: Batch Normalization, ICML 2015, section 3.2, https://arxiv.org/abs/1502.03167
    """

    code: ClassVar[str] = "BN102"

    def look(self, network: Network) -> Iterator[Finding]:  # noqa: D102 - see Lint
        for norm in network.batch_norms:
            if norm.before and norm.before[0].kind is Kind.ACTIVATION and not norm.before[0].is_shared:
                activation = norm.before[0]
                source = next((layer for layer in norm.before if layer.kind is Kind.WEIGHTS), None)
                behind = f" (of {source})" if source is not None else ""
                yield self.at(
                    norm,
                    f"it is right behind {activation}{behind}: it normalises what the activation wrote, not what it "
                    "reads",
                    f"put it in front of '{activation.name}', directly behind the layer with weights",
                )
