"""BN101: BatchNormalization and Dropout in series in one layer."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, ClassVar

from bnfold.linting.base import Lint
from bnfold.linting.facts import Kind
from bnfold.linting.wording import number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnfold.linting.facts import BatchNorm, Layer, Network
    from bnfold.linting.finding import Finding

__all__ = ["DropoutInSeries"]

_IN_ONE_LAYER = (Kind.ACTIVATION, Kind.DROPOUT, Kind.PASSING)


class DropoutInSeries(Lint):
    """Warns of a BatchNormalization and a Dropout in series in one layer.

    In one layer means that nothing but activations, and ops that move numbers about, is between the two, whichever comes
    first. A Dropout behind which no BatchNormalization comes any more is none of these: at the head of a network it does
    no harm. Nor is one that sets nothing to 0. Exporters leave a Dropout out of an inference graph, so that in an ONNX
    file only those can be seen that are still there.

    Why:
        In training, Dropout multiplies the variance of what it lets through; at inference it does not. The next
        BatchNormalization has recorded the variance of training, and divides by it at inference, where it is another
        one: the *variance shift*. The noise of the batches is already some regularisation, to which Dropout adds little.

    Example:
        self.block = nn.Sequential(
            nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(),
        )

    Instead:
        Leave the Dropout out, or move it behind the last BatchNormalization: in front of the last Linear is where it is
        recommended, and stays useful beside BatchNormalization.

    Reference:
        Li, Chen, Hu, Yang: Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift, CVPR 2019, https://arxiv.org/abs/1801.05134
        Srivastava et al.: Dropout: A Simple Way to Prevent Neural Networks from Overfitting, JMLR 2014, https://jmlr.org/papers/v15/srivastava14a.html
    """  # noqa: E501 - a reference is one line

    code: ClassVar[str] = "BN101"

    def look(self, network: Network) -> Iterator[Finding]:  # noqa: D102 - see Lint
        for norm in network.batch_norms:
            for layer, where in _dropouts(norm):
                rate = "" if layer.rate is None else f" of {number(layer.rate)}"
                meets = "this BatchNormalization" if where == "in front of" else "a BatchNormalization further on"
                yield self.at(
                    norm,
                    f"Dropout '{layer.name}'{rate} is {where} it in the same layer, and {meets} normalises what it "
                    "writes: the variance recorded in training is not that of inference",
                    f"leave '{layer.name}' out, or move it behind the last BatchNormalization, in front of the last "
                    "layer with weights",
                    **({} if layer.rate is None else {"rate": layer.rate}),
                )


def _dropouts(norm: BatchNorm) -> Iterator[tuple[Layer, str]]:
    for layers, where in ((norm.before, "in front of"), (norm.after, "behind")):
        for layer in takewhile(lambda layer: layer.kind in _IN_ONE_LAYER, layers):
            if layer.kind is Kind.DROPOUT and layer.rate != 0 and layer.reaches_batch_norm:
                yield layer, where
