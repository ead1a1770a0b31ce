"""What an export yields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Agreement", "ExportResult"]


@dataclass(frozen=True)
class Agreement:
    """How well onnxruntime and PyTorch agree on one set of inputs.

    Attributes:
        inputs: Which inputs: ``random`` or ``held-out``.
        rows: How many.
        batch: Rows a run.
        ratio: onnxruntime's L2 error against PyTorch in float64, over PyTorch's own in float32: about 1 where
            only rounding differs.
        scaled_error: Largest difference between the two float32 outputs, over the largest output.
    """

    inputs: str
    rows: int
    batch: int
    ratio: float
    scaled_error: float


@dataclass(frozen=True)
class ExportResult:
    """An ONNX file that says what the module says; one that does not is an ``ExportError`` and no file.

    Attributes:
        source: What was exported: a network of the zoo.
        path: The ONNX file.
        weights: The safetensors file they came from.
        size: Of the ONNX file, in bytes.
        opset: The version of ONNX's own operators.
        nodes: How many nodes of each operator.
        batch_norms: How many BatchNorms the module has; one that it calls twice is two nodes.
        parameters: Trained numbers, BatchNorms' scale and bias included, running statistics not.
        agreement: onnxruntime against PyTorch, on each set of inputs.
        accuracy: The score of onnxruntime's outputs on the held-out data, 1 where perfect; PyTorch's is the same.
        rows: How many rows are held out.
    """

    source: str
    path: Path
    weights: Path
    size: int
    opset: int
    nodes: Mapping[str, int]
    batch_norms: int
    parameters: int
    agreement: tuple[Agreement, ...]
    accuracy: float
    rows: int
