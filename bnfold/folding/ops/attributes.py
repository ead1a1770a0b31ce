"""Numbers that an op keeps in its attributes, which ONNX stores as float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from bnfold.folding.answers import Blocked

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["number_attributes"]

# Float32 is as good as these, or better.
_NO_FINER = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


def number_attributes(values: Mapping[str, float], dtype: ir.DataType | None) -> dict[str, ir.Attr]:
    """Attributes for tensors of a dtype; they are rounded when the model is written, once.

    Raises:
        Blocked: A number is beyond the range of float32, or would lose bits that the tensors have, or may have.
    """
    for name, value in values.items():
        rounded = float(np.float32(value))
        if np.isfinite(value) and not np.isfinite(rounded):
            raise Blocked(f"would get an attribute {name} beyond the range of FLOAT")
        if dtype not in _NO_FINER and rounded != value:
            raise Blocked(f"would get its attribute {name} rounded to FLOAT, which its tensors need not be")
    return {name: ir.AttrFloat32(name, value) for name, value in values.items()}
