"""BN205: numbers that the dtype of the export does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import ml_dtypes
import numpy as np

from bnfold.linting.base import Lint
from bnfold.linting.finding import Finding
from bnfold.linting.wording import channels, count, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

    from bnfold.linting.facts import BatchNorm, FoldedWeight, Network

__all__ = ["Overflow"]


class Overflow(Lint):
    """Warns of a scale, a shift or a folded weight that would overflow the dtype of the export.

    That dtype is the one in which the weights are stored, or ``--dtype`` and ``export-dtype``: ``--dtype float16`` asks
    of a float32 file whether it can become one of float16.

    Why:
        float16 ends at 65504. A number beyond becomes infinite, and the first infinity times 0 is NaN. A
        BatchNormalization whose parameters all fit can still have a scale / √(var + epsilon) or folded weights that do
        not.

    Example:
        scale = [300], var = [1e-8], epsilon = 1e-7    # a factor of 904534, in float16: inf

    Instead:
        bfloat16 or float32 for this layer; or a larger epsilon, trained. ``bnfold fold`` keeps a BatchNormalization
        that would overflow the dtype of its weights.

    Reference:
        Micikevicius et al.: Mixed Precision Training, ICLR 2018, section 3, https://arxiv.org/abs/1710.03740
    """

    code: ClassVar[str] = "BN205"

    def look(self, network: Network) -> Iterator[Finding]:  # noqa: D102 - see Lint
        for norm in network.batch_norms:
            yield from self._look_at(norm)
        for weight in network.weights():
            yield from self._look_at_weight(weight)

    def _look_at(self, norm: BatchNorm) -> Iterator[Finding]:
        if (numbers := norm.numbers) is None:
            return
        limit, name = _limit(norm.dtype), norm.dtype.name.lower()
        for what, array in (("scale / √(var + epsilon)", numbers.factor), ("shift", numbers.shift)):
            beyond = np.abs(array) > limit
            if beyond.any():
                largest = float(np.abs(array).max())
                yield self.at(
                    norm,
                    f"its {what} overflows {name} in {channels(beyond)}: {number(largest)}, where {name} ends at "
                    f"{number(limit)}",
                    "leave this layer in float32 or bfloat16",
                    channels=int(beyond.sum()),
                    of=beyond.size,
                    largest=largest,
                )
                return

    def _look_at_weight(self, weight: FoldedWeight) -> Iterator[Finding]:
        limit, name = _limit(weight.dtype), weight.dtype.name.lower()
        beyond = np.abs(weight.after) > limit
        if beyond.any():
            largest = float(np.abs(weight.after).max())
            yield Finding(
                self.code,
                self.name,
                weight.node,
                weight.op_type,
                "",
                f"{count(int(beyond.sum()), 'weight')} of '{weight.name}' would overflow {name} when "
                f"BatchNormalizations are folded in: up to {number(largest)}, where {name} ends at {number(limit)}",
                "leave this layer in float32 or bfloat16, or fold with --keep for its BatchNormalization",
                {"weights": int(beyond.sum()), "largest": largest},
            )


def _limit(dtype: ir.DataType) -> float:
    """The largest number."""
    return float(ml_dtypes.finfo(dtype.numpy()).max)  # type: ignore[no-untyped-call]
