"""How the content of one tensor changes: ``old = read(new)`` for its readers, ``new = write(old)`` for its writer.

The two are each other's inverse, unless a scale is 0 (a *dead* channel: γ = 0). Then only one of them exists. A
writer can be told to write a constant, but no reader could recover what it used to read; and a reader can be told
that a channel is a constant, but no writer could know what to write there. So both maps are kept, and whoever needs
the missing one blocks. Nothing ever divides by a scale of 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from bnfold.affine import Affine

__all__ = ["Reexpression"]


@dataclass(frozen=True, eq=False)
class Reexpression:
    """At least one of ``read`` and ``write``; the other is None where it does not exist."""

    read: Affine | None
    write: Affine | None

    @classmethod
    def from_write(cls, write: Affine) -> Reexpression:
        """The tensor shall hold ``write(old)``."""
        return cls(read=write.find_inverse(), write=write)

    @classmethod
    def from_read(cls, read: Affine) -> Reexpression:
        """The tensor's old content shall be ``read(new)``."""
        return cls(read=read, write=read.find_inverse())

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        known = self.read or self.write
        return known is not None and known.is_identity

    def map(self, function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Reexpression:
        """The re-expression of a tensor that is this one with its axes moved, or a part of it.

        A part may have both maps where the whole has one: the dead channel need not be in it.
        """
        read = self.read.map(function) if self.read else None
        write = self.write.map(function) if self.write else None
        if read is None and write is not None:
            read = write.find_inverse()
        elif write is None and read is not None:
            write = read.find_inverse()
        return Reexpression(read, write)

    def map_affine(self, function: Callable[[Affine], Affine]) -> Reexpression:
        """The re-expression of a tensor on which both maps are other ones: ``function`` keeps them inverse."""
        return Reexpression(
            read=function(self.read) if self.read else None,
            write=function(self.write) if self.write else None,
        )

    def agrees(self, other: Reexpression) -> bool:
        """Whether both say the same."""
        if self.read and other.read:
            return self.read.is_close(other.read)
        if self.write and other.write:
            return self.write.is_close(other.write)
        return False
