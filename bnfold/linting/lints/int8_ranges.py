"""BN402: folded weights that one int8 scale for the whole tensor would not survive."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.linting.base import Lint
from bnfold.linting.finding import Finding
from bnfold.linting.wording import channels, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from bnfold.linting.facts import FoldedWeight, Mask, Network

__all__ = ["Int8Ranges"]

_STEPS = 127  # of int8, on each side of 0
_LOST = 0.1  # of a channel's power is noise: 10 dB
_NOTHING = 1e-4  # of the largest channel: a dead one is lost for good, and nobody misses it


class Int8Ranges(Lint):
    """Warns of weights whose channels, once folded, are too unequal for per-tensor int8.

    The weight is quantised as it would be, with one scale, max |w| / 127. A channel is lost where more than a tenth of
    its power is rounding noise (10 dB). Channels below a ten-thousandth of the largest are taken for dead.

    Why:
        Folding multiplies each channel by its own scale / √(var + epsilon). With one int8 scale for the whole tensor
        the largest channel sets the step, and a channel that is a hundred times smaller is left with one or two levels:
        networks with depthwise convolutions fall from 71 % to chance that way.

    Example:
        max |w| of the channels after folding = [4.1, 0.9, 0.02]    # a step is 0.032: the last one becomes 0

    Instead:
        Quantise per channel (onnxruntime: ``per_channel=True``), which every recent runtime supports for weights; or
        equalise the channels across layers first; or train with quantisation.

    Reference:
        Krishnamoorthi: Quantizing Deep Convolutional Networks for Efficient Inference, 2018, section 3, https://arxiv.org/abs/1806.08342
        Nagel et al.: Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019, https://arxiv.org/abs/1906.04721
    """

    code: ClassVar[str] = "BN402"

    def look(self, network: Network) -> Iterator[Finding]:  # noqa: D102 - see Lint
        for weight in network.weights():
            lost = _lost(weight.after)
            if lost.any():
                yield self._at_weight(weight, lost)

    def _at_weight(self, weight: FoldedWeight, lost: Mask) -> Finding:
        ratio, before = _ratio(weight.after), _ratio(weight.before)
        return Finding(
            self.code,
            self.name,
            weight.node,
            weight.op_type,
            "",
            f"once folded, the largest weights of its channels differ by a factor of {number(ratio)} (unfolded "
            f"{number(before)}): per-tensor int8 would lose {channels(lost)}",
            "quantise this weight per channel, or equalise its channels before",
            {"ratio": ratio, "ratio_unfolded": before, "channels": int(lost.sum()), "of": lost.size},
        )


def _lost(rows: NDArray[np.float64]) -> Mask:
    """Which channels are mostly noise after rounding to one int8 scale."""
    largest = np.abs(rows).max()
    if largest == 0:
        return np.zeros(rows.shape[0], bool)
    step = largest / _STEPS
    noise = np.square(np.round(rows / step) * step - rows).sum(axis=1)
    found: Mask = (noise > _LOST * np.square(rows).sum(axis=1)) & _alive(rows)
    return found


def _alive(rows: NDArray[np.float64]) -> Mask:
    ranges = np.abs(rows).max(axis=1)
    found: Mask = ranges > _NOTHING * ranges.max()
    return found


def _ratio(rows: NDArray[np.float64]) -> float:
    """The largest weight of the largest channel over that of the smallest that is alive."""
    ranges = np.abs(rows).max(axis=1)
    alive = ranges[_alive(rows)]
    return float(alive.max() / alive.min()) if alive.size else 1.0
