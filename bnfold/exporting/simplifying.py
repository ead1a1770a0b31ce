"""onnxsim, without its own fusion of BatchNormalizations: those are kept here, and folded by ``fold``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from bnfold.errors import ExportError, MissingDependencyError
from bnfold.exporting.caller import one_line

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["require_simplifier", "simplify"]


def require_simplifier() -> ModuleType:
    """onnxsim, loaded.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import onnxsim
    except ModuleNotFoundError as error:
        if error.name != "onnxsim":
            raise
        raise MissingDependencyError("onnxsim", "simplify") from error
    module: ModuleType = onnxsim
    return module


def simplify(model: ir.Model) -> ir.Model:
    """What onnxsim makes of a model.

    Raises:
        ExportError: It fails.
    """
    onnxsim = require_simplifier()
    try:
        simplified, _ = onnxsim.simplify(ir.to_proto(model), skip_fuse_bn=True)
    except Exception as error:  # of its own, or protobuf's beyond 2 GiB
        raise ExportError(f"onnxsim cannot simplify the model: {one_line(error)}") from error
    found: ir.Model = ir.from_proto(simplified)
    return found
