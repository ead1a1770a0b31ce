"""Numbers and channels in words, the same in every message."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["channels", "count", "listed", "number"]

_MOST = 4  # channels or names that one cares to read


def number(value: float) -> str:
    """Three digits, which is what one compares: ``0.25``, ``1e-5``, ``6.55e4``."""
    return re.sub(r"e([-+])0", lambda found: "e" + found[1].strip("+"), f"{value:.3g}")


def count(amount: int, noun: str) -> str:
    """``1 number``, ``2 numbers``, with commas in what is large."""
    return f"{amount:,} {noun}{'s' * (amount != 1)}"


def listed(items: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1] if items else "")))


def channels(mask: NDArray[np.bool_]) -> str:
    """``2 of 16 channels (3 and 7)``: how many, and the first few."""
    found = np.flatnonzero(mask)
    names = [str(index) for index in found[:_MOST]]
    if found.size > _MOST:
        names = [", ".join(names), f"{found.size - _MOST} more"]
    return f"{found.size:,} of {count(mask.size, 'channel')} ({listed(names)})"
