"""Weights beside what the reference says that they must be, some rows at a time: they may be large."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bnfold.verifying.certificate.rounding import deviations, epsilon, is_excused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

__all__ = ["Product", "any_shift"]

_CHUNK = 1 << 20  # numbers that are widened to float64 at once


@dataclass
class Product:
    """The weights of both models as rows, and what the reference's are multiplied by.

    Attributes:
        rows: The reference's, [outputs, inputs of a group, taps].
        theirs: The candidate's, likewise.
        in_scale: Of what each is multiplied by, [outputs, inputs of a group].
        alpha: Times the reference's.
        their_alpha: Times the candidate's.
    """

    rows: NDArray[Any]
    theirs: NDArray[Any]
    in_scale: Numbers
    alpha: float
    their_alpha: float

    @property
    def epsilon(self) -> float:
        """The distance from 1 to the next number of the candidate's type."""
        return epsilon(self.theirs.dtype)

    def is_unchanged(self) -> bool:
        """Whether both have the same numbers."""
        return self.rows.dtype == self.theirs.dtype and bool((self.rows == self.theirs).all())

    def _chunks(self) -> Iterator[tuple[slice, Numbers, NDArray[Any]]]:
        outputs, inputs, taps = self.rows.shape
        step = max(1, _CHUNK // max(1, inputs * taps))
        for start in range(0, outputs, step):
            part = slice(start, min(start + step, outputs))
            with np.errstate(all="ignore"):
                exact = self.alpha / self.their_alpha * self.rows[part].astype(np.float64)
                yield part, exact * self.in_scale[part, :, None], self.theirs[part]

    @cached_property
    def estimate(self) -> Numbers:
        """The scale of each output that explains its row best; nan where none does."""
        result = np.empty(len(self.rows))
        with np.errstate(all="ignore"):
            for part, exact, stored in self._chunks():
                wide = stored.astype(np.float64)
                exact = np.where(np.isfinite(exact), exact, 0.0)
                wide = np.where(exact == 0, 0.0, wide)
                largest = np.abs(wide).max(axis=(1, 2), keepdims=True)
                wide, exact = wide / largest, exact / largest  # float16 and tiny numbers square to 0
                result[part] = (exact * wide).sum((1, 2)) / (wide * wide).sum((1, 2))
        return result

    def compare(self, scale: Numbers) -> tuple[float, tuple[int, ...], float, bool, float]:
        """The largest deviation in ulps, where, what should be there; whether some are unknown; the noise in a row."""
        worst, index, expected, unknown, noise = 0.0, (0, 0, 0), 0.0, False, 0.0
        for part, exact, stored in self._chunks():
            with np.errstate(all="ignore"):
                wanted = exact / scale[part, None, None]
                off = deviations(stored, wanted, np.abs(wanted) if stored.dtype == np.float64 else 0.0)
                unknown |= not np.isfinite(off).all()
                known = np.nan_to_num(off, nan=0.0, posinf=0.0)
                if not known.size or known.max() <= max(worst, 1.0):
                    worst = max(worst, float(known.max(initial=0.0)))
                    continue
                fitted = deviations(stored, exact / self.estimate[part, None, None], 0.0)
            noise = max(noise, float(np.nan_to_num(fitted, nan=0.0, posinf=0.0).max()))
            place = np.unravel_index(int(known.argmax()), known.shape)
            worst, expected = float(known[place]), float(wanted[place])
            index = (int(place[0]) + part.start, int(place[1]), int(place[2]))
        return worst, index, expected, unknown, noise

    def is_excused(self, scale: Numbers) -> bool:
        """Whether a weight of float64 is only as right as float64 tells."""
        return self.theirs.dtype == np.float64 and any(
            is_excused(stored, exact / scale[part, None, None], np.abs(exact / scale[part, None, None]))
            for part, exact, stored in self._chunks()
        )

    def moved(self, in_shift: Numbers) -> tuple[Numbers, Numbers]:
        """What the shift of the input amounts to for each output, and the sum of the sizes of its terms."""
        total, size = np.zeros(len(self.rows)), np.zeros(len(self.rows))
        if not any_shift(in_shift):
            return total, size
        with np.errstate(all="ignore"):
            for start in range(0, len(self.rows), 64):
                part = slice(start, start + 64)
                terms = self.alpha * self.rows[part].astype(np.float64) * in_shift[part, :, None]
                total[part], size[part] = terms.sum((1, 2)), np.abs(terms).sum((1, 2))
        return total, size


def any_shift(shift: Numbers) -> bool:
    """Whether anything is added at all."""
    return bool((np.nan_to_num(shift) != 0).any())
