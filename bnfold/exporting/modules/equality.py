"""How far what two modules return lies apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["difference"]


def difference(reference: list[Any], candidate: list[Any]) -> float:
    """The largest difference of two outputs over the largest number of that output; infinite where they are not alike.

    Args:
        reference: What one module returns: tensors, and anything else that must be equal.
        candidate: The same of the other.
    """
    if len(reference) != len(candidate):
        return float("inf")
    return max((_difference(*pair) for pair in zip(reference, candidate, strict=True)), default=0.0)


def _difference(reference: Any, candidate: Any) -> float:
    from torch import Tensor

    if not isinstance(reference, Tensor) or not isinstance(candidate, Tensor):
        return 0.0 if type(reference) is type(candidate) and reference == candidate else float("inf")
    if reference.shape != candidate.shape or reference.dtype != candidate.dtype:
        return float("inf")
    if not reference.is_floating_point():
        return 0.0 if reference.equal(candidate) else float("inf")
    finite = reference.isfinite()
    if not finite.equal(candidate.isfinite()) or not _same(reference[~finite], candidate[~finite]):
        return float("inf")
    error = (reference[finite] - candidate[finite]).abs().max() if finite.any() else 0.0
    return float(error / reference[finite].abs().max()) if error else 0.0


def _same(reference: Tensor, candidate: Tensor) -> bool:
    """Whether infinities have the same sign, and what is no number in one is none in the other."""
    return bool(((reference == candidate) | (reference.isnan() & candidate.isnan())).all())
