"""What an export yields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bnfold.exporting.coverage import Unused
    from bnfold.exporting.norms import Conversion
    from bnfold.folding import FoldResult
    from bnfold.verifying import Check, Comparison

__all__ = ["Agreement", "ExportResult", "Port"]


@dataclass(frozen=True)
class Port:
    """An input or an output of a graph.

    Attributes:
        name: What the graph calls it.
        dtype: Its type, such as ``float32``.
        shape: Its sizes, and the names of those that may be any; null for one that is not known.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True)
class Agreement:
    """How well onnxruntime and PyTorch agree on one set of inputs, in the output that agrees least.

    Attributes:
        inputs: Which inputs: what they hold, and their shapes.
        ratio: onnxruntime's L2 error against PyTorch in float64, over PyTorch's own: about 1 where only rounding
            differs. Where that was small by luck, over the largest of its neighbours. None where there is no float64,
            or no output with a fraction.
        scaled_error: Largest difference between the two, over the largest value.
    """

    inputs: str
    ratio: float | None
    scaled_error: float


@dataclass(frozen=True)
class ExportResult:
    """An ONNX file that says what the module says; one that does not is an ``ExportError`` and no file.

    Attributes:
        source: What was exported, as the user called it.
        path: The ONNX file.
        external: The file beside it that holds its weights; None where it holds them itself.
        weights: The file they came from; None where the source brought them.
        size: Of the ONNX file and its weights, in bytes.
        exporter: Which of torch's exporters made the graph: ``dynamo``, or ``torchscript``, the one before.
        fallback: Why the first one did not; empty where it did.
        opset: The version of ONNX's own operators.
        inputs: Of the graph.
        outputs: Of the graph.
        nodes: How many nodes of each operator.
        batch_norms: How many BatchNorms the module has; one that it calls twice is two nodes.
        parameters: Trained numbers, BatchNorms' scale and bias included, running statistics not.
        conversions: BatchNorms of other kinds, which became torch's own first.
        unused: Parameters and buffers that the graph does not hold, and why that is no loss.
        agreement: onnxruntime against PyTorch, on each set of inputs.
        checks: What that comes to for each output.
        settled: Outputs on which onnxruntime rounds more than PyTorch, and whose graph was found to be the module's
            function in float64.
        training_difference: How far the module in training mode lies from the file on the first inputs, over the
            largest value: what an export in that mode would be off by. None where it does not run in that mode.
        accuracy: The score of onnxruntime's outputs on the held-out data of a network of the zoo, 1 where perfect;
            PyTorch's is the same. None for other networks.
        score: What that score counts, such as ``accuracy``; empty likewise.
        rows: How many rows are held out.
        fold: Where each BatchNormalization went; None without ``fold``.
        comparison: How the folded file was verified against the one with its BatchNormalizations; None likewise.
        warnings: What a user should know.
    """

    source: str
    path: Path
    external: Path | None
    weights: Path | None
    size: int
    exporter: str
    fallback: str
    opset: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: Mapping[str, int]
    batch_norms: int
    parameters: int
    conversions: tuple[Conversion, ...]
    unused: tuple[Unused, ...]
    agreement: tuple[Agreement, ...]
    checks: tuple[Check, ...]
    settled: tuple[str, ...]
    training_difference: float | None
    accuracy: float | None = None
    score: str = ""
    rows: int | None = None
    fold: FoldResult | None = None
    comparison: Comparison | None = None
    warnings: tuple[str, ...] = ()
