"""The two sizes that decide which way the numbers of a tensor go."""

from __future__ import annotations

from typing import Final

__all__ = ["LARGEST", "THRESHOLD"]

THRESHOLD: Final[int] = 4096  # bytes; a smaller tensor is no trouble for protobuf, and no reason for another file
LARGEST: Final[int] = 2**31 - 1  # bytes; protobuf reads no larger message
