"""torch's exporter: an ``nn.Module`` as an ONNX inference graph, as the exporter makes it."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

from bnfold.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir
    from torch import Tensor, nn

__all__ = ["convert", "inference"]


def convert(module: nn.Module, example: Tensor, *, input_name: str, output_name: str) -> ir.Model:
    """The module in inference mode as an ONNX model whose first axis is called ``batch``.

    The module's own mode is left as it was. Its weights are not copied: the model reads them from the module.

    Args:
        module: It takes one tensor and returns one tensor.
        example: An input of at least 2 rows (torch takes an axis of length 1 for a constant).
        input_name: What the graph calls its input.
        output_name: What the graph calls its output.

    Raises:
        ExportError: torch's exporter cannot translate the module.
    """
    import torch

    with inference(module), _quiet():
        try:
            program = torch.onnx.export(
                module,
                (example,),
                input_names=[input_name],
                output_names=[output_name],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                optimize=False,  # its optimiser would fold the BatchNormalizations
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(f"torch cannot export the network: {_first_cause(error)}") from error
    if program is None:
        raise ExportError("torch's exporter returned no model")
    return program.model


def _first_cause(error: BaseException) -> str:
    """One line. The exporter's own message is advice about its steps; what went wrong is in what it wraps."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]


@contextmanager
def inference(module: nn.Module) -> Iterator[None]:
    """The module in inference mode; each of its parts gets its own mode back at the end."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what torch tells its own developers; what a user needs to know is raised."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")  # of an LSTM's own weights, for one
            yield
    finally:
        logger.setLevel(level)
