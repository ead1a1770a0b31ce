"""Inputs on which rounding decides: a softmax between two logits that are nearly equal, say, or a threshold.

There the error of a correct candidate may be a thousand times that of the reference, by luck alone. A set of inputs is
such an edge if both hold:

    in float64 the candidate errs no more than a sound model may: it computes the reference's function there, and
    two at least of its own neighbours, whose weights differ in their last bits, err no more than that either.

Wrong weights fail the first, on every input. What makes a candidate badly conditioned, or a kernel that is wrong, is
there in all its neighbours, and fails the second. A quarter of the neighbours of a LeViT that falls over an edge do
not fall.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.agreement import EXACT_KINDS, error_ratio
from bnfold.verifying.judging import PASS_RATIO

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from bnfold.verifying.judging import OutputRuns

    Array = NDArray[np.generic]

__all__ = ["edges"]

_FEWEST = 2  # neighbours of the candidate; a single one would be luck itself


def edges(
    runs: OutputRuns, exactly: Callable[[int], Array | None], neighbours: Callable[[int], Sequence[Array]]
) -> list[int]:
    """The sets of inputs that are edges, by index; none if they do not explain all that is wrong, or are all there is.

    Args:
        runs: An output that is not equivalent.
        exactly: The candidate's own function in float64, for one of the sets; None where that is not known.
        neighbours: What the neighbours of the candidate give, for one of the sets.
    """
    if runs.exact is None or runs.reference[0].dtype.kind in EXACT_KINDS:
        return []
    found = []
    for index, (reference, candidate, exact, near) in enumerate(
        zip(runs.reference, runs.candidate, runs.exact, runs.neighbours(), strict=True)
    ):
        if reference.shape != candidate.shape:
            return []
        if error_ratio(reference, candidate, exact, near) <= PASS_RATIO:
            continue
        own = exactly(index)
        if own is None or error_ratio(reference, own, exact, near) > PASS_RATIO:
            return []
        sound = [one for one in neighbours(index) if error_ratio(reference, one, exact, near) <= PASS_RATIO]
        if len(sound) < _FEWEST:
            return []
        found.append(index)
    return found if len(found) < len(runs.sets) else []
