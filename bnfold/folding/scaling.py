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


@dataclass(eq=False)
class Stored:
    """What a weight was before the first change; all that come from it share what is found out about its numbers.

    Attributes:
        weight: A tensor of the model, or an exact weight.
    """

    weight: ir.TensorProtocol | NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, ...]:
        """As numbers."""
        return tuple(self.weight.shape) if isinstance(self.weight, np.ndarray) else tuple(self.weight.shape.numpy())

    @property
    def is_in_file(self) -> bool:
        """Whether the numbers are read each time."""
        return not isinstance(self.weight, np.ndarray) and is_in_file(self.weight)

    def numbers(self) -> np.ndarray:
        """In the type in which they are stored."""
        return self.weight if isinstance(self.weight, np.ndarray) else self.weight.numpy()

    def chunks(self) -> Iterator[slice | tuple[()]]:
        """Rows of the first axis, as many as are to be computed at once."""
        if not self.shape:
            yield ()
            return
        rows = max(1, _CHUNK // max(1, math.prod(self.shape[1:])))
        yield from (slice(first, first + rows) for first in range(0, self.shape[0], rows))

    @cached_property
    def extremes(self) -> tuple[float, float]:
        """The largest absolute value, and the smallest but 0; nan if there is a nan."""
        numbers = self.numbers()
        high, low = 0.0, math.inf
        for rows in self.chunks():
            with np.errstate(all="ignore"):
                sizes = np.abs(numbers[rows])
                high = max(high, float(sizes.max(initial=0.0)), key=lambda number: (math.isnan(number), number))
                least = float(sizes.min(initial=np.inf))
                if not least > 0:  # a zero, or a nan: seldom, and slower
                    least = float(np.where(sizes > 0, sizes, np.inf).min(initial=np.inf))
                low = min(low, least)
        return high, low


@dataclass(frozen=True, eq=False)
class Scaled:
    """A stored weight times each of ``factors``.

    Attributes:
        stored: What it was before.
        factors: Arrays of as many axes, of size 1 or that of the weight; no two of one shape.
    """

    stored: Stored
    factors: tuple[NDArray[np.float64], ...] = field(default=())

    @classmethod
    def of(cls, weight: ir.TensorProtocol | NDArray[np.float64]) -> Scaled:
        """A weight that is not changed yet."""
        return cls(Stored(weight))

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the weight."""
        return self.stored.shape

    @property
    def is_unchanged(self) -> bool:
        """Whether all factors are 1."""
        return not self.factors

    def times(self, *factors: NDArray[np.float64]) -> Scaled:
        """The same, multiplied further."""
        known = {array.shape: array for array in self.factors}
        for array in factors:
            known[array.shape] = known[array.shape] * array if array.shape in known else array
        return replace(self, factors=tuple(array for array in known.values() if (array != 1).any()))

    def is_same(self, other: Scaled) -> bool:
        """Whether both are known to be the same weight: they come from one, by the same factors."""
        return (
            self.stored.weight is other.stored.weight
            and len(self.factors) == len(other.factors)
            and all(map(np.array_equal, self.factors, other.factors))
        )

    def numbers(self) -> NDArray[np.float64]:
        """The weight in float64, computed anew."""
        return self._product(self.stored.numbers(), ())

    def rounded(self, dtype: ir.DataType) -> tuple[np.ndarray, int]:
        """The weight as it is stored, and how many subnormal numbers were flushed: see ``round_once``."""
        numbers = self.stored.numbers()
        tiny = not self._is_normal(dtype)
        if not self.shape:
            return round_once(self._product(numbers, ()), dtype, tiny=tiny)
        result = np.empty(self.shape, dtype.numpy())
        flushed = 0
        for rows in self.stored.chunks():
            result[rows], count = round_once(self._product(numbers, rows), dtype, tiny=tiny)
            flushed += count
        return result, flushed

    def _product(self, numbers: np.ndarray, rows: slice | tuple[()]) -> NDArray[np.float64]:
        array = numbers[rows].astype(np.float64)
        with np.errstate(all="ignore"):  # what is not finite is found by fits()
            for factor in self.factors:
                array *= factor if factor.shape[:1] == (1,) else factor[rows]
        return array

    def fits(self, dtype: ir.DataType) -> bool:
        """Whether no number leaves the range of a type; False if that can be told only by computing them."""
        high, _ = self.stored.extremes
        return high * math.prod(float(np.abs(factor).max(initial=0.0)) for factor in self.factors) < largest(dtype)

    def count_flushed(self, dtype: ir.DataType) -> int:
        """How many numbers become subnormal, and 0: see ``round_once``."""
        return 0 if self._is_normal(dtype) else self.rounded(dtype)[1]

    def _is_normal(self, dtype: ir.DataType) -> bool:
        """Whether no number is subnormal; False if that can be told only by computing them."""
        _, low = self.stored.extremes
        least = math.prod(float(np.abs(factor[factor != 0]).min(initial=np.inf)) for factor in self.factors)
        return low * least >= 2 * SMALLEST_NORMAL.get(dtype, 0.0)

    def tensor(self, dtype: ir.DataType, name: str | None) -> ir.TensorProtocol:
        """The weight as it is stored.

        It is computed each time, if the old one is in a file and need not be in memory: an array in memory may be
        changed by its owner.
        """
        if not self.stored.is_in_file:
            return self._computed(dtype, name)
        compute = partial(self._computed, dtype, name)  # no function in a function: that could not be pickled
        return ir.LazyTensor(compute, dtype, ir.Shape(self.shape), name=name)

    def _computed(self, dtype: ir.DataType, name: str | None) -> ir.TensorProtocol:
        return ir.Tensor(self.rounded(dtype)[0], dtype=dtype, name=name)
