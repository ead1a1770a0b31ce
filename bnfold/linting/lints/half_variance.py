"""BN206: a running variance that float16 cannot hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx_ir as ir

from bnfold.linting.base import Lint
from bnfold.linting.wording import channels, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnfold.linting.facts import BatchNorm, Mask, Network
    from bnfold.linting.finding import Finding

__all__ = ["HalfVariance"]

_NOTABLE = 0.01  # of var + epsilon: half of that is the error of the output


class HalfVariance(Lint):
    """Warns of a running variance out of the range of float16.

    Only where the variance is stored in float16, or shall be (``--dtype float16``): where it is infinite, where var +
    epsilon is 0, and where float16 is off by more than 1 %. Not of dead channels (BN203), unless the result is no
    number.

    Why:
        float16 ends at 65504, and has ever fewer digits below 6.1e-5, none below 6e-8. A variance of 70000 is infinite
        (the channel becomes the constant bias); a variance of 0 with an epsilon of 1e-8 is a division by 0, NaN
        everywhere; in between the scale is simply off.

    Example:
        var = [70000.0, 1e-7], stored as float16    # [inf, 1.19e-07]

    Instead:
        Keep the parameters of BatchNormalization in float32: since opset 15 ONNX allows that beside float16 data, and
        it is what automatic mixed precision does. Or fold first and convert afterwards: ``bnfold fold`` works in
        float64.

    Reference:
        Micikevicius et al.: Mixed Precision Training, ICLR 2018, https://arxiv.org/abs/1710.03740
        https://onnx.ai/onnx/operators/onnx__BatchNormalization.html
    """

    code: ClassVar[str] = "BN206"

    def look(self, network: Network) -> Iterator[Finding]:  # noqa: D102 - see Lint
        for norm in network.batch_norms:
            if norm.var is None or norm.dtype is not ir.DataType.FLOAT16 or not (bad := _bad(norm)).any():
                continue
            smallest, largest = float(np.nanmin(norm.var[bad])), float(np.nanmax(norm.var[bad]))
            span = number(smallest) if smallest == largest else f"{number(smallest)}…{number(largest)}"
            yield self.at(
                norm,
                f"in float16 var + epsilon is infinite, 0, or off by more than 1 % in {channels(bad)}: variance "
                f"{span}, epsilon {number(norm.epsilon)}",
                "keep the parameters of BatchNormalization in float32, or fold first and convert to float16 afterwards",
                channels=int(bad.sum()),
                of=bad.size,
                smallest_variance=smallest,
                largest_variance=largest,
            )


def _bad(norm: BatchNorm) -> Mask:
    var = np.asarray(norm.var, np.float64)
    exact = var + norm.epsilon
    with np.errstate(all="ignore"):  # what overflows, and what is 0, is what we look for
        half = (var.astype(np.float16) + np.float16(norm.epsilon)).astype(np.float64)
        is_no_number = ~np.isfinite(half) | (half <= 0)
        is_off = np.abs(half - exact) > _NOTABLE * exact
    is_dead = norm.numbers.dead if norm.numbers is not None else np.zeros(var.shape, bool)
    found: Mask = is_no_number | (is_off & ~is_dead)
    return found
