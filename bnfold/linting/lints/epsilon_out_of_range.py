"""BN201: an epsilon that is too small to help, or large enough to change what is learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.linting.base import Lint
from bnfold.linting.wording import number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnfold.linting.facts import Network
    from bnfold.linting.finding import Finding

__all__ = ["EpsilonOutOfRange"]

_LEAST, _MOST = 1e-6, 1e-2
_ROUNDING = 1e-6  # attributes are float32: 1e-6 is stored as 9.99999997e-07


class EpsilonOutOfRange(Lint):
    """Warns of an epsilon outside 1e-6…1e-2.

    The usual ones are 1e-5 (PyTorch, ONNX) and 1e-3 (Keras, TensorFlow).

    Why:
        Below, it does not do what it is for: a channel that hardly varies is multiplied by more than a thousand, and in
        float16 an epsilon below 6e-8 is 0. Above, it takes the place of the variance: channels do not come out with a
        variance of 1, and how much they are normalised depends on how large they are.

    Example:
        nn.BatchNorm2d(16, eps=1e-12)

    Instead:
        1e-5, or what the network was published with. In a trained network leave it as it is: its weights have been
        trained with that epsilon.

    Reference:
        Ioffe, Szegedy: Batch Normalization, ICML 2015, algorithm 1, https://arxiv.org/abs/1502.03167
        https://onnx.ai/onnx/operators/onnx__BatchNormalization.html
    """

    code: ClassVar[str] = "BN201"

    def look(self, network: Network) -> Iterator[Finding]:  # noqa: D102 - see Lint
        for norm in network.batch_norms:
            if _LEAST * (1 - _ROUNDING) <= norm.epsilon <= _MOST * (1 + _ROUNDING):
                continue
            what = (
                "too small to help a channel that hardly varies"
                if norm.epsilon < _LEAST
                else "as large as variances are"
            )
            yield self.at(
                norm,
                f"its epsilon is {number(norm.epsilon)}, outside {number(_LEAST)}…{number(_MOST)}: {what}",
                "train with 1e-5; a network that is trained keeps the epsilon that it was trained with",
                epsilon=norm.epsilon,
            )
