"""How constants broadcast, for the ops that add them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BROADCASTS", "without_leading_ones"]

BROADCASTS = 7  # the opset from which Add and Gemm broadcast as numpy does; before, an attribute said along which axis


def without_leading_ones(array: NDArray[np.float64], rank: int = 1) -> NDArray[np.float64]:
    """The array without leading axes of size 1, down to ``rank`` axes.

    It broadcasts all the same; a bias of shape [N] rather than [1, N] is what runtimes fuse into a product.
    """
    while array.ndim > max(rank, 1) and array.shape[0] == 1:
        array = array[0]
    return array
