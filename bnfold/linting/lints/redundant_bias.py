"""BN103: a bias in front of a BatchNormalization."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.linting.base import Lint
from bnfold.linting.facts import Kind
from bnfold.linting.wording import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnfold.linting.facts import BatchNorm, Layer, Network
    from bnfold.linting.finding import Finding

__all__ = ["RedundantBias"]


class RedundantBias(Lint):
    """Warns of a bias in front of a BatchNormalization.

    Only of a bias of which every number goes into one channel of the BatchNormalization and nowhere else. In an ONNX
    file a bias that is 0 everywhere is not reported: some exporters always write one.

    Why:
        The BatchNormalization takes the mean of the channel off, and the bias with it: in training it gets no gradient
        but that of weight decay. It costs memory, time in training, and one more number to round, and does nothing.

    Example:
        nn.Sequential(nn.Conv2d(3, 16, 3, bias=True), nn.BatchNorm2d(16))

    Instead:
        ``bias=False`` in the layer in front. A trained bias is not lost by folding: ``bnfold fold`` puts both into one.

    Reference:
        Ioffe, Szegedy: Batch Normalization, ICML 2015, section 3.2, https://arxiv.org/abs/1502.03167
    """

    code: ClassVar[str] = "BN103"

    def look(self, network: Network) -> Iterator[Finding]:  # noqa: D102 - see Lint
        for norm in network.batch_norms:
            layer = _in_front(norm)
            if layer is not None and layer.biases:
                yield self.at(
                    norm,
                    f"{layer} in front of it has a bias of {count(layer.biases, 'number')}, which its mean takes off "
                    "again",
                    f"make '{layer.name}' without a bias (bias=False); in a trained network, fold",
                    parameters=layer.biases,
                )


def _in_front(norm: BatchNorm) -> Layer | None:
    """The layer in front of it, with nothing but a move of numbers between."""
    return next((layer for layer in norm.before if layer.kind is not Kind.PASSING), None)
