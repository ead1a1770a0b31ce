"""torch's exporters: an ``nn.Module`` as an ONNX inference graph, as the exporter makes it.

The modern one (``dynamo``) first. What it does not take goes to the one before (``torchscript``), which runs the module
once and writes down what it did: a branch that depends on data is then whichever was taken, so that it is warned of.
Whatever either makes is checked against the module afterwards.
"""

from __future__ import annotations

import inspect
import io
import logging
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnfold.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx_ir as ir
    from torch import Tensor, nn
    from torch.export import ExportedProgram

__all__ = ["Converted", "Request", "convert", "convert_any", "first_cause", "inference", "quiet"]

DYNAMO, TORCHSCRIPT = "dynamo", "torchscript"
_ADVICE = ' For more information, run with TORCH_LOGS="+dynamic".'
_BRANCH = "Python boolean"  # of the older exporter's warnings, the one that is about what was computed


@dataclass(frozen=True)
class Request:
    """What is to be exported.

    Attributes:
        module: The network.
        args: What it is called with by position.
        kwargs: What it is called with by name.
        inputs: What the graph calls its inputs, in the same order.
        axes: For each input, what the graph calls those of its axes that may have any size.
        outputs: What the graph calls its outputs.
        opset: The version of ONNX's operators; None for the exporter's own choice.
        program: What the module was made of, if that is an exported program.
    """

    module: nn.Module
    args: tuple[Tensor, ...]
    kwargs: Mapping[str, Tensor]
    inputs: Sequence[str]
    axes: Sequence[Mapping[int, str]]
    outputs: Sequence[str]
    opset: int | None = None
    program: ExportedProgram | None = None


@dataclass(frozen=True)
class Converted:
    """A graph, and how it came about.

    Attributes:
        model: As the exporter made it.
        exporter: ``dynamo`` or ``torchscript``.
        reason: Why the first exporter was not the one; empty where it was.
        warnings: What the exporter could not keep.
    """

    model: ir.Model
    exporter: str
    reason: str = ""
    warnings: tuple[str, ...] = ()


def convert(request: Request) -> ir.Model:
    """The module in inference mode as an ONNX model, by the exporter that keeps its names, or not at all.

    The module's own mode is left as it was. Its weights are not copied: the model reads them from the module.

    Raises:
        ExportError: torch's exporter cannot translate the module.
    """
    with inference(request.module):
        try:
            return _by_dynamo(request)
        except Exception as error:
            raise ExportError(f"torch cannot export the network: {first_cause(error)}") from error


def convert_any(request: Request) -> Converted:
    """The module in inference mode as an ONNX model, by the first of torch's exporters that takes it.

    The module's own mode is left as it was. Its weights are not copied by the first.

    Raises:
        ExportError: None does.
    """
    with inference(request.module):
        try:
            return Converted(_by_dynamo(request), DYNAMO)
        except Exception as error:  # of many kinds, among them those of the module's own code
            reason = first_cause(error)
        if request.program is not None:
            raise ExportError(f"torch cannot export the program: {reason}")
        try:
            model, remarks = _by_torchscript(request)
        except Exception as error:
            raise ExportError(
                f"torch cannot export the network: {reason}; nor can its older exporter: {first_cause(error)}"
            ) from error
    return Converted(model, TORCHSCRIPT, reason, remarks)


def _by_dynamo(request: Request) -> ir.Model:
    import torch

    options: dict[str, Any] = {}
    if request.program is None and any(request.axes):
        # Names, not torch.export.Dim: those are refused where an axis has a least size.
        shapes = [dict(axes) or None for axes in request.axes]
        if request.kwargs:
            options["dynamic_shapes"] = dict(zip(request.kwargs, shapes, strict=True))
        else:  # by the parameters of forward, one of which, *images, may take several
            options["dynamic_shapes"] = inspect.signature(request.module.forward).bind(*shapes).arguments
    if request.opset is not None:
        options["opset_version"] = request.opset
    given = request.program is not None
    with quiet():
        program = torch.onnx.export(
            request.program if request.program is not None else request.module,
            () if given else request.args,
            kwargs=None if given else dict(request.kwargs) or None,
            input_names=list(request.inputs),
            dynamo=True,
            optimize=False,  # its optimiser would fold the BatchNormalizations
            verbose=False,
            **options,
        )
    if program is None:
        raise ExportError("torch's exporter returned no model")
    _check_opset(program.model, request.opset)
    _name_outputs(program.model, request.outputs)
    return program.model


def _by_torchscript(request: Request) -> tuple[ir.Model, tuple[str, ...]]:
    import onnx
    import onnx_ir as ir
    import torch

    buffer = io.BytesIO()
    axes = {name: dict(axes) for name, axes in zip(request.inputs, request.axes, strict=True) if axes}
    with quiet() as told:
        torch.onnx.export(
            request.module,
            request.args,
            buffer,  # type: ignore[arg-type]  # which it takes
            kwargs=dict(request.kwargs) or None,
            input_names=list(request.inputs),
            output_names=list(request.outputs),
            dynamic_axes=axes,
            opset_version=request.opset,
            dynamo=False,
            # As the module is, that is in inference mode: EVAL would fold the BatchNormalizations behind Conv.
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )
    branches = {
        f"{Path(entry.filename).name}, line {entry.lineno}: a branch depends on numbers; exported as it was taken"
        for entry in told
        if _BRANCH in str(entry.message)
    }
    model = ir.from_proto(onnx.load_model_from_string(buffer.getvalue()))
    _check_opset(model, request.opset)
    return model, tuple(sorted(branches))


def _name_outputs(model: ir.Model, names: Sequence[str]) -> None:
    """Call the outputs so; one that is an input too, or another output, is a value of its own then.

    Raises:
        ExportError: There are more, or fewer.
    """
    import onnx_ir as ir

    graph = model.graph
    if len(graph.outputs) != len(names):
        raise ExportError(f"it writes {len(graph.outputs)} outputs, and the network has {len(names)}")
    for index, (value, name) in enumerate(zip(tuple(graph.outputs), names, strict=True)):
        for node in graph:  # what is in the way of a name
            for other in node.outputs:
                if other.name == name and other is not value:
                    other.name = f"{name}_inside"
        if value.producer() is None or value in tuple(graph.outputs)[:index]:
            node = ir.node("Identity", [value], name=f"{name}_is")
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
            graph.append(node)
            graph.outputs[index] = value = node.outputs[0]
        value.name = name


def _check_opset(model: ir.Model, asked: int | None) -> None:
    """The modern exporter only logs it when it could not convert."""
    found = model.opset_imports.get("")
    if asked is not None and found != asked:
        raise ExportError(f"it writes opset {found}, which could not be converted to opset {asked}")


def first_cause(error: BaseException) -> str:
    """One line. The exporter's own message is advice about its steps; what went wrong is in what it wraps."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    told = lines[0]
    if len(lines) > 1 and (told.endswith(":") or told.startswith("Constraints violated")):
        told = f"{told.removesuffix(':')}: {lines[1].removeprefix('- ')}"
    return told.replace(_ADVICE, "")


@contextmanager
def inference(module: nn.Module) -> Iterator[None]:
    """The module in inference mode; each of its parts gets its own mode back at the end."""
    modes = {part: part.training for part in module.modules()}
    try:
        module.eval()
    except NotImplementedError:  # an exported program, whose mode is in its graph
        yield
        return
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextmanager
def quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Keep back what torch tells its own developers; what a user needs to know is raised, or picked from the list."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(record=True) as told, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("always")
            yield told
    finally:
        logger.setLevel(level)
