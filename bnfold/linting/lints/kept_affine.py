"""BN401: an affine that could not be folded."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.linting.base import Lint
from bnfold.linting.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnfold.folding import Kept
    from bnfold.linting.facts import Network

__all__ = ["KeptAffine"]


class KeptAffine(Lint):
    """Warns of an affine that could not be folded, with the planner's reason.

    Of a BatchNormalization, and of constants in a row that are one spelt out (Mul → Add, Sub → Div → …). A single
    constant that is added or multiplied is not reported, nor what BN302 reports.

    Why:
        It stays in the file, and is computed and moved through memory at each inference, where a place between a layer
        with weights and its activation would have cost nothing.

    Example:
        nn.Sequential(nn.Sigmoid(), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, padding=1))    # blocked on both sides

    Instead:
        Put it where weights can take it in: directly behind Conv or Linear, or in front of one that does not pad with
        zeros. ``bnfold inspect`` shows each route and what blocks it, and ``--repairs`` pays with a node for some.

    Reference:
        https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html
        Jacob et al.: Quantization and Training of Neural Networks, CVPR 2018, section 3.2, https://arxiv.org/abs/1712.05877
    """

    code: ClassVar[str] = "BN401"

    def look(self, network: Network) -> Iterator[Finding]:  # noqa: D102 - see Lint
        norms = {norm.name: norm for norm in network.batch_norms}
        for kept in network.kept:
            norm = norms.get(kept.node) if kept.is_batch_norm else None
            if (norm is not None and norm.training) or not (kept.is_batch_norm or " → " in kept.op_type):
                continue
            module = norm.module if norm is not None else ""
            advice = _advice(kept, is_repairable=kept.node in network.repairable)
            yield Finding(self.code, self.name, kept.node, kept.op_type, module, _message(kept), advice)


def _message(kept: Kept) -> str:
    return f"it stays: {kept.reason}" + (f"; {kept.warning}" if kept.warning else "")


def _advice(kept: Kept, *, is_repairable: bool) -> str:
    if kept.hint:
        return kept.hint
    if is_repairable:
        return "bnfold fold --repairs can fold it, for a node or a channel more; bnfold bench tells whether that pays"
    if kept.warning:
        return "repair the model: train or load it again"
    return "put it directly behind a layer with weights; bnfold inspect shows each route"
