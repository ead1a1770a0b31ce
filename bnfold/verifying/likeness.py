"""What people look at, and what never decides: the cosine of two outputs, and whether the largest value is the same.

A bias that is lost leaves both as they were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bnfold.verifying.comparison import Check, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.generic]

__all__ = ["likeness"]


def likeness(name: str, reference: Sequence[Array], candidate: Sequence[Array]) -> list[Check]:
    """The smallest cosine over the sets, and for ``[N, classes]`` the rows with the same largest value."""
    cosines = [
        _cosine(left, right)
        for left, right in zip(reference, candidate, strict=True)
        if (np.isfinite(left) & np.isfinite(right)).any()
    ]
    if not cosines:
        return []
    words = [f"cosine {min(cosines):.9f}"]
    pairs = [pair for pair in zip(reference, candidate, strict=True) if pair[0].ndim == 2 and pair[0].shape[1] > 1]
    rows = sum(len(left) for left, _ in pairs)
    if rows:
        same = sum(int(np.count_nonzero(left.argmax(1) == right.argmax(1))) for left, right in pairs)
        words.append(f"top-1 the same in {same} of {rows} rows")
    return [Check(f"likeness of '{name}'", Verdict.NOTE, f"{', '.join(words)}; never decides")]


def _cosine(left: Array, right: Array) -> float:
    """1 for two zeros; where one is not finite, neither counts."""
    finite = np.isfinite(left) & np.isfinite(right)
    one, other = left[finite].astype(np.float64), right[finite].astype(np.float64)
    sizes = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(one @ other) / sizes if sizes else float(not one.any() and not other.any())
