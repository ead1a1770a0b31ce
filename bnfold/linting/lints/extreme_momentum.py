"""BN303: running statistics that never move, or are those of the last batch alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.linting.base import Lint
from bnfold.linting.wording import number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnfold.linting.facts import Network
    from bnfold.linting.finding import Finding

__all__ = ["ExtremeMomentum"]

_ROUNDING = 1e-6  # the attribute is float32


class ExtremeMomentum(Lint):
    """Warns of a momentum of 0 or 1.

    Momentum as PyTorch has it, the weight of the new batch; ONNX, Keras and TensorFlow have the weight of the old
    statistics, which is 1 minus that. In an ONNX file it means something in training mode only, and is not looked at
    otherwise. ``momentum=None`` in PyTorch (the mean of all batches) is fine.

    Why:
        With 0 the running statistics stay at mean 0 and variance 1. With 1 they are those of the last batch: noisy, and
        those of a small batch at the end of an epoch are worse. The two are easily confused, since frameworks have it
        the other way round: 0.99 of Keras is 0.01 here.

    Example:
        nn.BatchNorm2d(16, momentum=1.0)

    Instead:
        0.1, or 0.01 for small batches; or ``momentum=None`` and enough batches. Whatever it was, the statistics of a
        trained network can be computed again: ``bnfold.training.recompute_statistics``.

    Reference:
        https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html
        https://onnx.ai/onnx/operators/onnx__BatchNormalization.html
    """

    code: ClassVar[str] = "BN303"

    def look(self, network: Network) -> Iterator[Finding]:  # noqa: D102 - see Lint
        for norm in network.batch_norms:
            momentum = norm.momentum
            if momentum is None or _ROUNDING < momentum < 1 - _ROUNDING:
                continue
            effect = "never move" if momentum <= _ROUNDING else "are those of the last batch alone"
            yield self.at(
                norm,
                f"a new batch has a weight of {number(momentum)}: its running statistics {effect}",
                "take 0.1 (0.9 where momentum is the weight of the old statistics, as in ONNX and Keras)",
                momentum=momentum,
            )
