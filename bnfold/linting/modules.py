"""Reads the facts of a network off a PyTorch module: off its export, and off what it does in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.errors import ExportError, ModelError
from bnfold.linting.calls import with_calls
from bnfold.linting.graph import survey

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import Tensor, nn

    from bnfold.linting.facts import Network

__all__ = ["survey_module"]


def survey_module(module: nn.Module, inputs: tuple[Tensor, ...], export_dtype: ir.DataType | None = None) -> Network:
    """The facts of a module.

    Args:
        module: It stays as it is, its mode and its statistics included.
        inputs: What it is called with: one tensor of at least 2 rows.
        export_dtype: In which its weights will be stored; as they are if None.

    Raises:
        MissingDependencyError: torch or onnxscript is not installed.
        ModelError: It cannot be exported, or not be run in training mode.
    """
    from bnfold.exporting.conversion import convert  # torch is loaded for a module only
    from bnfold.exporting.tidying import tidy
    from bnfold.exporting.tracing import trace
    from bnfold.zoo.dependencies import require

    require("torch", "onnxscript")
    if len(inputs) != 1:
        raise ModelError(f"the module is given {len(inputs)} inputs; only modules of one input can be exported")
    try:
        model = convert(module, inputs[0], input_name="input", output_name="output")
    except ExportError as error:
        raise ModelError(str(error)) from error  # there is nothing to lint: not a no, but no answer
    tidy(model, parameters=module.state_dict().keys())
    return with_calls(survey(model, export_dtype), trace(module, inputs))
