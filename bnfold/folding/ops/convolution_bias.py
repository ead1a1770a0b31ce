"""The bias of Conv and ConvTranspose: the third input, one number for each output channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.folding.answers import Blocked
from bnfold.folding.nodes import find_input

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.view import View

__all__ = ["rewritten_bias"]

_SLOT = 2


def rewritten_bias(
    node: ir.Node,
    view: View,
    added: NDArray[np.float64],
    scale: NDArray[np.float64],
    shift: NDArray[np.float64],
) -> dict[int, NDArray[np.float64]]:
    """``scale·(bias + added) + shift`` as the constant of slot 2; nothing where that is absent and stays 0.

    Args:
        node: The convolution; its bias may be left out, or be the empty string.
        view: The plan at hand.
        added: What the shift of the input amounts to, one number for each output channel.
        scale: Applied to the output, likewise.
        shift: Applied to the output, likewise.

    Raises:
        Blocked: The bias is computed at run time, and would have to change.
    """
    bias = find_input(node, _SLOT)
    if bias is None:
        new = scale * added + shift
        return {_SLOT: new} if new.any() else {}
    old = view.find_weight(bias)
    if old is None:
        if (scale == 1).all() and not added.any() and not shift.any():
            return {}
        raise Blocked(f"has a bias '{bias.name}' that is not a constant")
    return {_SLOT: scale * (old + added) + shift}
