"""A weight that is a stored one times a factor for each of its channels; computed when it is asked for.

Most rewritten weights are of this kind. Kept as arrays of float64, those of a large network would take three times as
much memory as its file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from bnfold.folding.rounding import SMALLEST_NORMAL, largest, round_once
from bnfold.modelfile import is_in_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Scaled"]

_CHUNK = 1 << 16  # numbers that are widened to float64 at once: half a megabyte, which stays in a cache


@dataclass(frozen=True, eq=False)
class Scaled:
    """``base`` times each of ``factors``.

    Attributes:
        base: What was stored before the first change, or an exact weight.
        factors: Arrays of as many axes, of size 1 or that of the weight; no two of one shape.
    """

    base: ir.TensorProtocol | NDArray[np.float64]
    factors: tuple[NDArray[np.float64], ...] = field(default=())

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the weight."""
        return tuple(self.base.shape) if isinstance(self.base, np.ndarray) else tuple(self.base.shape.numpy())

    @property
    def is_unchanged(self) -> bool:
        """Whether all factors are 1."""
        return not self.factors

    def times(self, *factors: NDArray[np.float64]) -> Scaled:
        """The same, multiplied further."""
        known = {array.shape: array for array in self.factors}
        for array in factors:
            known[array.shape] = known[array.shape] * array if array.shape in known else array
        changed = replace(self, factors=tuple(array for array in known.values() if (array != 1).any()))
        if "_extremes" in self.__dict__:
            changed.__dict__["_extremes"] = self._extremes
        return changed

    def is_same(self, other: Scaled) -> bool:
        """Whether both are known to be the same weight: they come from one, by the same factors."""
        return (
            self.base is other.base
            and len(self.factors) == len(other.factors)
            and all(map(np.array_equal, self.factors, other.factors))
        )

    def numbers(self) -> NDArray[np.float64]:
        """The weight in float64, computed anew."""
        return self._product(self._stored(), ())

    def rounded(self, dtype: ir.DataType) -> tuple[np.ndarray, int]:
        """The weight as it is stored, and how many subnormal numbers were flushed: see ``round_once``."""
        stored = self._stored()
        if not self.shape:
            return round_once(self._product(stored, ()), dtype)
        result = np.empty(self.shape, dtype.numpy())
        flushed = 0
        for rows in self._chunks():
            result[rows], count = round_once(self._product(stored, rows), dtype)
            flushed += count
        return result, flushed

    def _product(self, stored: np.ndarray, rows: slice | tuple[()]) -> NDArray[np.float64]:
        array = stored[rows].astype(np.float64)
        with np.errstate(all="ignore"):  # what is not finite is found by fits()
            for factor in self.factors:
                array *= factor if factor.shape[:1] == (1,) else factor[rows]
        return array

    def fits(self, dtype: ir.DataType) -> bool:
        """Whether no number leaves the range of a type; False if that can be told only by computing them."""
        high, _ = self._extremes
        return high * math.prod(float(np.abs(factor).max(initial=0.0)) for factor in self.factors) < largest(dtype)

    def count_flushed(self, dtype: ir.DataType) -> int:
        """How many numbers become subnormal, and 0: see ``round_once``."""
        _, low = self._extremes
        least = math.prod(float(np.abs(factor[factor != 0]).min(initial=np.inf)) for factor in self.factors)
        return 0 if low * least >= 2 * SMALLEST_NORMAL.get(dtype, 0.0) else self.rounded(dtype)[1]

    def tensor(self, dtype: ir.DataType, name: str | None) -> ir.TensorProtocol:
        """The weight as it is stored.

        It is computed each time, if the old one is in a file and need not be in memory: an array in memory may be
        changed by its owner.
        """
        if isinstance(self.base, np.ndarray) or not is_in_file(self.base):
            return self._computed(dtype, name)
        compute = partial(self._computed, dtype, name)  # no function in a function: that could not be pickled
        return ir.LazyTensor(compute, dtype, ir.Shape(self.shape), name=name)

    def _computed(self, dtype: ir.DataType, name: str | None) -> ir.TensorProtocol:
        return ir.Tensor(self.rounded(dtype)[0], dtype=dtype, name=name)

    @cached_property
    def _extremes(self) -> tuple[float, float]:
        """The largest absolute value of the old weight, and the smallest but 0; nan if there is a nan."""
        stored = self._stored()
        high, low = 0.0, math.inf
        for rows in self._chunks():
            with np.errstate(all="ignore"):
                sizes = np.abs(stored[rows])
                high = max(high, float(sizes.max(initial=0.0)), key=lambda number: (math.isnan(number), number))
                low = min(low, float(np.where(sizes > 0, sizes, np.inf).min(initial=np.inf)))
        return high, low

    def _stored(self) -> np.ndarray:
        return self.base if isinstance(self.base, np.ndarray) else self.base.numpy()

    def _chunks(self) -> Iterator[slice | tuple[()]]:
        """Rows of the first axis, as many as are to be computed at once."""
        if not self.shape:
            yield ()
            return
        rows = max(1, _CHUNK // max(1, math.prod(self.shape[1:])))
        yield from (slice(first, first + rows) for first in range(0, self.shape[0], rows))
