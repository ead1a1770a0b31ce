"""From float64 to the dtype in which a weight is stored, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FLOATS", "SMALLEST_NORMAL", "largest", "round_once"]

FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE})

# float16 is left out: see round_once. bfloat16 has the exponents of float32.
SMALLEST_NORMAL = {
    ir.DataType.FLOAT: 2.0**-126,
    ir.DataType.BFLOAT16: 2.0**-126,
    ir.DataType.DOUBLE: 2.0**-1022,
}


def largest(dtype: ir.DataType) -> float:
    """The largest finite number of a type."""
    return float(ml_dtypes.finfo(dtype.numpy()).max)  # type: ignore[no-untyped-call]


def round_once(array: NDArray[np.float64], dtype: ir.DataType, *, tiny: bool = True) -> tuple[np.ndarray, int]:
    """The nearest values of ``dtype``, ties to even, and how many subnormal ones were flushed to zero.

    Subnormal float32 weights run hundreds of times slower on CPUs; float16 ones do not (they are widened before use)
    and are kept, since float16 has no precision to spare.

    Args:
        array: Any shape.
        dtype: One of ``FLOATS``, or a type of integers, whose range the numbers do not leave.
        tiny: Whether any may be subnormal; to look costs as much as to round.
    """
    rounded: np.ndarray
    if dtype.is_integer():
        return np.rint(array).astype(dtype.numpy()), 0
    if dtype is ir.DataType.BFLOAT16:
        rounded = _to_bfloat16(array)
    else:
        with np.errstate(over="ignore", under="ignore"):
            rounded = array.astype(dtype.numpy())
    if not tiny:
        return rounded, 0
    smallest = rounded.dtype.type(SMALLEST_NORMAL.get(dtype, 0.0))
    with np.errstate(invalid="ignore"):  # bfloat16 warns of a NaN
        subnormal = (rounded != 0) & (np.abs(rounded) < smallest)
    count = int(np.count_nonzero(subnormal))
    return np.where(subnormal, np.zeros_like(rounded), rounded) if count else rounded, count


def _to_bfloat16(array: NDArray[np.float64]) -> np.ndarray:
    """Round to nearest even at once; ``astype`` goes through float32, which would be a second rounding.

    Rounding to float32 *to odd* first keeps what decides a tie: 24 bits are more than 8 + 2 (Boldo and Melquiond,
    "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008).
    """
    with np.errstate(over="ignore", under="ignore"):
        nearest = array.astype(np.float32)
    away = np.abs(nearest.astype(np.float64)) > np.abs(array)
    truncated = np.where(away, np.nextafter(nearest, np.float32(0)), nearest)
    inexact = np.isfinite(array) & (truncated.astype(np.float64) != array)
    bits = np.ascontiguousarray(truncated).view(np.uint32) | inexact.astype(np.uint32)
    result: np.ndarray = bits.view(np.float32).astype(ml_dtypes.bfloat16)
    return result
