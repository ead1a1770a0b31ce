"""From whatever names a network to an ONNX file that was checked against it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold import modelfile
from bnfold.errors import BnfoldError, ExportError, ModelFileError
from bnfold.exporting import sources
from bnfold.exporting.checking import check_graph
from bnfold.exporting.conversion import Request, convert_any
from bnfold.exporting.coverage import account_for
from bnfold.exporting.meeting import meet
from bnfold.exporting.norms import count_batch_norms
from bnfold.exporting.preparing import FLOATS, prepare
from bnfold.exporting.result import ExportResult, Port
from bnfold.exporting.shapes import Symbol, parse_shapes
from bnfold.exporting.simplifying import require_simplifier
from bnfold.exporting.simplifying import simplify as simplified
from bnfold.exporting.sources import Loaded, Permissions
from bnfold.exporting.tidying import tidy
from bnfold.exporting.writing import write
from bnfold.runtime import sessions
from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir
    from torch import nn

    from bnfold.exporting.conversion import Converted
    from bnfold.exporting.coverage import Unused
    from bnfold.exporting.meeting import Example, Met
    from bnfold.exporting.preparing import Prepared
    from bnfold.exporting.writing import Written
    from bnfold.runtime.input_files import Source as Given

__all__ = ["export"]

_OPSETS = 9, 26  # what torch's exporters and onnxruntime were seen to know


def export(
    source: str | nn.Module,
    *,
    output: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    strict: bool = True,
    arguments: Mapping[str, object] | None = None,
    input_shape: str | Sequence[str] = (),
    example: Example | None = None,
    output_names: Sequence[str] = (),
    dtype: str | None = None,
    opset: int | None = None,
    inputs: Given | Sequence[Given] | None = None,
    fold: bool = False,
    simplify: bool = False,
    external_data_above: int | None = None,
    allow_download: bool = False,
    trust: bool = False,
) -> ExportResult:
    """Export a network as an ONNX inference graph with every BatchNormalization kept, and check it against PyTorch.

    The file is kept only if onnxruntime (unoptimised, in a child process) agrees with PyTorch in inference mode on
    made-up inputs, at two sizes of every axis that may have any, and on those that are given; judged by PyTorch in
    float64. The same weights give the same bytes.

    Args:
        source: A network of ``bnfold.zoo``; ``FILE.py:NAME`` or ``PACKAGE.MODULE:NAME``, a factory, a class or a
            module, whose code is run; ``timm:NAME``, ``torchvision:NAME``, ``hf:FOLDER``; an exported program
            ``FILE.pt2``; or an ``nn.Module``, which stays as it is, its mode included.
        output: The file to write. For a network of the zoo ``model.onnx`` beside the weights if None.
        weights: A file of weights to load: safetensors, or torch's own, of which nothing but tensors is read. For a
            network of the zoo ``models/NAME/weights.safetensors`` if None.
        strict: Whether weights that are missing or left over are an error.
        arguments: What a factory is called with.
        input_shape: For each input ``[NAME:]1x3x224x224[:TYPE]``, with a name for each axis of any size, as in
            ``batchx3xHxW``; ``H=224`` gives a size to try too. The names of inputs are those of the parameters of
            ``forward``, or else any, in their order.
        example: What the module can be called with: a tensor, several, or several by the names of its parameters.
            Tells shapes and types where ``input_shape`` does not.
        output_names: What the graph calls its outputs; else as the module does, or ``output``.
        dtype: Convert the weights to ``float16``, ``float32`` or ``float64`` first.
        opset: The version of ONNX's own operators; the exporter's choice if None.
        inputs: Feed these too: arrays by name, a .npz file, a folder, or several of these, as for ``verify``.
        fold: Fold the BatchNormalizations at once, and verify the fold.
        simplify: Have onnxsim simplify the graph, without its own fusion of BatchNormalizations.
        external_data_above: Put weights of more bytes in all into a file beside the model; beyond 2 GiB they always
            are.
        allow_download: Hubs may download, and give pretrained weights.
        trust: A ``.pt2`` may be loaded, which can run code.

    Raises:
        MissingDependencyError: torch, safetensors, onnxscript, scikit-learn, onnxruntime, onnxsim or a hub is not
            installed.
        BnfoldError: There is no such network, factory, argument or option.
        ModelError: The weights cannot be read or do not fit, the network does not take such inputs, it normalises by
            the statistics of a batch, or the file cannot be written.
        ExportError: ONNX and PyTorch disagree. No file is left, and one that was there is untouched.
        VerificationError: The folded file is not equivalent; likewise.
        ExecutionError: onnxruntime cannot run the exported model.
    """
    _check_options(source, output, dtype, opset)
    asked = parse_shapes(input_shape)
    require("torch", "safetensors", "onnxscript")
    sessions.require()
    if simplify:
        require_simplifier()
    import torch

    with torch.random.fork_rng(devices=[]):  # factories are seeded, and a forward may draw numbers
        if isinstance(source, str):
            loaded = sources.load(source, arguments or {}, Permissions(trust, allow_download), weights)
        else:
            if arguments:
                raise BnfoldError("a module takes no arguments; only factories do")
            loaded = Loaded(type(source).__name__, source, is_shared=True)
        files = _files(loaded, weights, output)
        prepared = prepare(loaded, files.weights, dtype, strict=strict)
        met = meet(loaded, prepared, asked, example, output_names)
        converted = _to_onnx(prepared, met, loaded, opset)
        check_graph(converted.model, met.caller, norms=met.norms)
        unused = account_for(converted.model, prepared.module, met.caller, met.feeds)
        model = converted.model
        if simplify:
            model = simplified(model)
            check_graph(model, met.caller, norms=met.norms)
        is_external = external_data_above is not None and _weights_size(model) > external_data_above
        try:
            written = write(
                model, loaded, prepared, met, files.output, given=inputs, is_external=is_external, fold=fold
            )
        except ExportError as error:
            raise ExportError("; ".join((str(error), *converted.warnings))) from error  # they say why, if anything does
        return _result(loaded, files, prepared, met, converted, written, unused, model)


@dataclass(frozen=True)
class _Files:
    weights: Path | None
    output: Path


def _check_options(
    source: str | nn.Module, output: str | os.PathLike[str] | None, dtype: str | None, opset: int | None
) -> None:
    """What costs nothing to see.

    Raises:
        BnfoldError: An option is none.
    """
    if dtype not in (None, *FLOATS):
        raise BnfoldError(f"--dtype {dtype}: is none of {', '.join(FLOATS)}")
    if opset is not None and not _OPSETS[0] <= opset <= _OPSETS[1]:
        raise BnfoldError(f"--opset {opset}: torch exports opsets {_OPSETS[0]} to {_OPSETS[1]}")
    if output is None and not (isinstance(source, str) and sources.is_network_of_zoo(source)):
        raise BnfoldError("where to write it? Give -o FILE (in Python: output)")


def _files(loaded: Loaded, weights: str | os.PathLike[str] | None, output: str | os.PathLike[str] | None) -> _Files:
    """Where weights come from, and where the model goes.

    Raises:
        ModelFileError: There are no weights, or the model would overwrite what it is made of.
    """
    found = loaded.find_weights(weights)
    path = Path(output) if output is not None else Path(found or "").with_name("model.onnx")
    if found is not None and path.resolve() == found.resolve():
        raise ModelFileError(f"{path}: would overwrite the weights; choose another name")
    if path.resolve() in {file.resolve() for file in loaded.files}:
        raise ModelFileError(f"{path}: would overwrite the network itself; choose another name")
    return _Files(found, path)


def _to_onnx(prepared: Prepared, met: Met, loaded: Loaded, opset: int | None) -> Converted:
    """The graph, as the exporter makes it, and tidied."""
    caller = met.caller
    args, kwargs = caller.arguments(caller.tensors(met.feeds))
    axes = [
        {index: axis.name for index, axis in enumerate(shape.axes) if isinstance(axis, Symbol)}
        for shape in caller.inputs
    ]
    names = [shape.name for shape in caller.inputs]
    request = Request(prepared.module, args, kwargs, names, axes, caller.outputs, opset, loaded.program)
    converted = convert_any(request)
    tidy(converted.model, parameters=prepared.module.state_dict().keys())
    return converted


def _weights_size(model: ir.Model) -> int:
    values = (value.const_value for graph in modelfile.all_graphs(model) for value in graph.initializers.values())
    return sum(tensor.nbytes for tensor in values if tensor is not None)


def _result(
    loaded: Loaded,
    files: _Files,
    prepared: Prepared,
    met: Met,
    converted: Converted,
    written: Written,
    unused: tuple[Unused, ...],
    model: ir.Model,
) -> ExportResult:
    final = model if written.fold is None else written.fold.model
    beside = 0 if written.external is None else written.external.stat().st_size
    return ExportResult(
        source=loaded.name,
        path=files.output,
        external=written.external,
        weights=files.weights,
        size=files.output.stat().st_size + beside,
        exporter=converted.exporter,
        fallback=converted.reason,
        opset=final.opset_imports[""],
        inputs=tuple(map(_port, final.graph.inputs)),
        outputs=tuple(map(_port, final.graph.outputs)),
        nodes=dict(sorted(Counter(node.op_type for node in final.graph.all_nodes()).items())),
        batch_norms=count_batch_norms(prepared.module) or met.norms,
        parameters=sum(parameter.numel() for parameter in prepared.module.parameters()),
        conversions=prepared.conversions,
        unused=unused,
        agreement=written.agreed.agreement,
        checks=written.agreed.checks,
        settled=written.agreed.settled,
        training_difference=written.agreed.training_difference,
        accuracy=written.accuracy,
        score="" if loaded.network is None else loaded.network.task.score_name,
        rows=written.rows,
        fold=written.fold,
        comparison=written.comparison,
        warnings=(*prepared.warnings, *converted.warnings),
    )


def _port(value: ir.Value) -> Port:
    dims = tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape or ())
    dtype = "" if value.dtype is None else str(value.dtype.numpy())
    return Port(value.name or "", dtype, dims)
