"""What the weights of an export can be stored in."""

from __future__ import annotations

import onnx_ir as ir

from bnfold.errors import BnfoldError

__all__ = ["find_dtype"]

_DTYPES = {
    "bfloat16": ir.DataType.BFLOAT16,
    "float16": ir.DataType.FLOAT16,
    "float32": ir.DataType.FLOAT,
    "float64": ir.DataType.DOUBLE,
}


def find_dtype(name: str) -> ir.DataType:
    """The dtype of a name.

    Raises:
        BnfoldError: There is none that weights can be stored in.
    """
    if name not in _DTYPES:
        raise BnfoldError(f"{name!r} is no dtype of an export; take one of {', '.join(_DTYPES)}")
    return _DTYPES[name]
