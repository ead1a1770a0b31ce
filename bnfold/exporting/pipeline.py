"""From a network of the zoo to an ONNX file that was checked against it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold import modelfile, zoo
from bnfold.errors import ModelFileError
from bnfold.exporting.checking import check_agreement, check_graph, count_batch_norms
from bnfold.exporting.conversion import convert
from bnfold.exporting.result import ExportResult
from bnfold.exporting.tidying import tidy
from bnfold.exporting.weights import load_weights
from bnfold.runtime import sessions
from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    import os

    import onnx_ir as ir
    from torch import nn

    from bnfold.zoo import Network

__all__ = ["export"]


def export(
    source: str,
    *,
    output: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
) -> ExportResult:
    """Export a trained network as an ONNX inference graph with every BatchNormalization kept.

    The file is kept only if onnxruntime (unoptimised, in a child process) agrees with PyTorch on random rows
    and on the held-out data, judged by PyTorch in float64. The same weights give the same bytes.

    Args:
        source: A network of ``bnfold.zoo``.
        output: The file to write; ``model.onnx`` beside the weights if None.
        weights: A safetensors file; ``models/NAME/weights.safetensors`` if None.

    Raises:
        MissingDependencyError: torch, safetensors, onnxscript, scikit-learn or onnxruntime is not installed.
        BnfoldError: The zoo has no such network.
        ModelError: The weights cannot be read or do not fit, or the file cannot be written.
        ExportError: ONNX and PyTorch disagree. No file is left, and one that was there is untouched.
        ExecutionError: onnxruntime cannot run the exported model.
    """
    network = zoo.find(source)
    require("torch", "safetensors", "onnxscript", "sklearn")
    sessions.require()
    weights_file = Path(weights) if weights is not None else Path("models") / source / "weights.safetensors"
    path = Path(output) if output is not None else weights_file.with_name("model.onnx")
    if path.resolve() == weights_file.resolve():
        raise ModelFileError(f"{path}: would overwrite the weights; choose another name")
    if not weights_file.exists():
        raise ModelFileError(f"{weights_file}: no such file; run 'bnfold train {source}', or give --weights FILE")

    module = network.build()
    load_weights(module, weights_file)
    data = network.load_data()
    model = _to_onnx(module, network)
    check_graph(model, module, network)
    with modelfile.staged(path) as temporary:
        modelfile.save(model, temporary)
        agreement, accuracy = check_agreement(temporary, module, network, data)
        size = temporary.stat().st_size
    nodes = Counter(node.op_type for node in model.graph.all_nodes())
    return ExportResult(
        source=source,
        path=path,
        weights=weights_file,
        size=size,
        opset=model.opset_imports[""],
        nodes=dict(sorted(nodes.items())),
        batch_norms=count_batch_norms(module),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        agreement=agreement,
        accuracy=accuracy,
        rows=len(data.held_out_targets),
    )


def _to_onnx(module: nn.Module, network: Network) -> ir.Model:
    import torch

    example = torch.from_numpy(network.example_input(rows=2))
    model = convert(module, example, input_name=network.input_name, output_name=network.output_name)
    tidy(model, parameters=module.state_dict().keys())
    return model
