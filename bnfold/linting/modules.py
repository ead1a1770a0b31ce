"""Reads the facts of a network off a PyTorch module: off its export, and off what it does in training."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold.errors import BnfoldError, ExportError, ModelError
from bnfold.linting.calls import with_calls
from bnfold.linting.graph import survey

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir
    from torch import Tensor, nn

    from bnfold.exporting.conversion import Request
    from bnfold.linting.facts import Network

__all__ = ["ModuleSource", "survey_module", "survey_source"]


@dataclass(frozen=True)
class ModuleSource:
    """A PyTorch module, as ``bnfold export`` names it.

    Attributes:
        name: ``FILE.py:FACTORY``, ``PACKAGE.MODULE:FACTORY``, whose code is run, a network of the zoo, ….
        input_shape: For each input ``[NAME:]2x3x224x224[:TYPE]``, with a name for each axis of any size.
        arguments: What a factory is called with.
        weights: A file of weights to load; for a network of the zoo those that were trained for it if None.
    """

    name: str
    input_shape: Sequence[str] = ()
    arguments: Mapping[str, object] = field(default_factory=dict)
    weights: str | os.PathLike[str] | None = None


def survey_module(module: nn.Module, inputs: tuple[Tensor, ...], export_dtype: ir.DataType | None = None) -> Network:
    """The facts of a module.

    Args:
        module: It stays as it is, its mode and its statistics included.
        inputs: What it is called with, at least 2 rows of each.
        export_dtype: In which its weights will be stored; as they are if None.

    Raises:
        MissingDependencyError: torch or onnxscript is not installed.
        ModelError: It cannot be exported, or not be run in training mode.
    """
    from bnfold.exporting.conversion import Request  # torch is loaded for a module only
    from bnfold.zoo.dependencies import require

    require("torch", "onnxscript")
    names = ["input"] if len(inputs) == 1 else [f"input_{number}" for number in range(1, len(inputs) + 1)]
    axes = [{0: "batch"}] if len(inputs) == 1 else [{} for _ in inputs]  # of several, nobody says which are alike
    return _survey(Request(module, inputs, {}, names, axes, ["output"]), export_dtype)


def survey_source(source: ModuleSource, export_dtype: ir.DataType | None = None) -> Network:
    """The facts of a module that is named.

    Raises:
        MissingDependencyError: torch, onnxscript, safetensors, or what the module comes from is not installed.
        BnfoldError: There is no such network, or nobody says what it takes.
        ModelError: Its weights do not fit, it takes other inputs, or it cannot be exported or run in training mode.
    """
    from bnfold.exporting import sources
    from bnfold.exporting.caller import name_inputs, name_outputs
    from bnfold.exporting.conversion import Request, inference
    from bnfold.exporting.examples import example_feeds, find_sizes
    from bnfold.exporting.shapes import Symbol, parse_shapes
    from bnfold.exporting.weights import load_weights
    from bnfold.zoo.dependencies import require

    if Path(source.name).suffix == ".pt2":
        raise BnfoldError(f"{source.name}: a program has no training mode to look at: give its .onnx file, or its code")
    asked = parse_shapes(source.input_shape)
    require("torch", "onnxscript", "safetensors")
    loaded = sources.load(source.name, source.arguments, sources.Permissions(), source.weights)
    if not (asked or loaded.shapes):
        raise BnfoldError(
            f"{source.name}: what does it take? Give --input-shape Nx3x224x224, once for each input; N is a batch"
        )
    if (weights := loaded.find_weights(source.weights)) is not None:
        load_weights(loaded.module, weights)
    caller = name_inputs(loaded.module, asked or loaded.shapes, "float32")
    feeds = example_feeds(caller, find_sizes(loaded.module, caller)[0])
    args, named = caller.arguments(caller.tensors(feeds))
    with inference(loaded.module):
        given = caller.call(loaded.module, feeds)
    outputs = name_outputs(loaded.module, given, loaded.output_names, caller.inputs)
    axes = [{at: axis.name for at, axis in enumerate(s.axes) if isinstance(axis, Symbol)} for s in caller.inputs]
    names = [shape.name for shape in caller.inputs]
    return _survey(Request(loaded.module, args, named, names, axes, outputs), export_dtype)


def _survey(request: Request, export_dtype: ir.DataType | None) -> Network:
    from bnfold.exporting.conversion import convert
    from bnfold.exporting.tidying import tidy
    from bnfold.exporting.tracing import trace

    try:
        model = convert(request)
    except ExportError as error:
        raise ModelError(str(error)) from error  # there is nothing to lint: not a no, but no answer
    tidy(model, parameters=request.module.state_dict().keys())
    return with_calls(survey(model, export_dtype), trace(request.module, request.args, request.kwargs))
