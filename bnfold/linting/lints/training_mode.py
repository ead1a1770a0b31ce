"""BN302: a BatchNormalization that normalises with the statistics of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.linting.base import Lint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnfold.linting.facts import Network
    from bnfold.linting.finding import Finding

__all__ = ["TrainingMode"]


class TrainingMode(Lint):
    """Warns of a BatchNormalization in training mode, or with batch statistics.

    In an ONNX file: ``training_mode = 1``, further outputs that are read, before opset 7 no ``is_test``, or a mean that
    is computed from the batch in front of it. In a PyTorch module: ``track_running_stats=False``, in which case it has
    no other statistics.

    Why:
        The answer for one sample depends on the others in the batch: a batch of one is normalised with itself, and a
        classifier then says the same class for whatever it is shown. Nothing of it can be folded.

    Example:
        model.train(); torch.onnx.export(model, …, training=torch.onnx.TrainingMode.TRAINING)

    Instead:
        ``model.eval()`` before exporting. With ``track_running_stats=False`` there is nothing to export: train with
        running statistics, or use GroupNorm or LayerNorm where batches are too small for them.

    Reference:
        Ioffe, Szegedy: Batch Normalization, ICML 2015, section 3.1, https://arxiv.org/abs/1502.03167
        https://onnx.ai/onnx/operators/onnx__BatchNormalization.html
    """

    code: ClassVar[str] = "BN302"

    def look(self, network: Network) -> Iterator[Finding]:  # noqa: D102 - see Lint
        for norm in network.batch_norms:
            if norm.training:
                yield self.at(
                    norm,
                    f"{norm.training}: its output for one sample depends on the rest of the batch",
                    "call model.eval() before exporting, and leave track_running_stats as it is (True)",
                )
