"""What onnxruntime makes of BatchNormalizations at load, read off the graph that it saves; for a child process.

It folds one into the Conv before it at ``basic``, some into a MatMul. What is left then becomes a depthwise 1×1 Conv
at ``all``, where a Conv before it writes blocks of channels: there is no BatchNormalization in that graph, and the work
is still done. The optimiser that does so can be switched off by name, which tells the two apart without knowing how
it calls what it makes.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold.errors import ExecutionError
from bnfold.runtime.providers import CPU
from bnfold.runtime.sessions import Level, message_of, session_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from onnx import GraphProto, NodeProto

__all__ = ["BatchNorm", "Optimised", "optimised"]

_MAKES_DEPTHWISE = "NchwcTransformer"
_ALL_EXTERNAL = "1"  # bytes: no tensor of more is written into the graph's own file, which would end at 2 GiB


@dataclass(frozen=True)
class BatchNorm:
    """What tells a BatchNormalization from others, in any graph that was made of the same model.

    Attributes:
        output: The tensor that it writes. onnxruntime gives it another name where it takes out an Identity behind it.
        name: Its own name; empty for many.
        parameters: The tensors that it reads: scale, bias, mean and var.
    """

    output: str
    name: str
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Optimised:
    """The BatchNormalizations of the graph that onnxruntime runs.

    Attributes:
        left: Those that still are some.
        depthwise: Those that are left without the optimiser that makes depthwise Convs of them; ``left`` and others.
    """

    left: tuple[BatchNorm, ...]
    depthwise: tuple[BatchNorm, ...]


def optimised(path: str, levels: Sequence[Level]) -> tuple[tuple[BatchNorm, ...], list[Optimised]]:
    """The BatchNormalizations of a model with its functions inlined, and what each level leaves of them, on the CPU.

    Raises:
        ExecutionError: onnxruntime refuses the model, or cannot save what it makes of it.
    """
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        file = Path(folder, "optimised.onnx")
        before = _saved(path, Level.DISABLED, file)
        return before, [_at(path, level, file, before) for level in levels]


def _at(path: str, level: Level, file: Path, before: tuple[BatchNorm, ...]) -> Optimised:
    if level is Level.DISABLED or not before:
        return Optimised(before, before)
    left = _saved(path, level, file)
    return Optimised(left, _saved(path, level, file, _MAKES_DEPTHWISE) if level is Level.ALL else left)


def _saved(path: str, level: Level, file: Path, *without: str) -> tuple[BatchNorm, ...]:
    """Those of the graph that onnxruntime saves to ``file``, ``without`` optimisers of these names."""
    import onnx
    import onnxruntime as ort

    ort.set_default_logger_severity(4)  # it warns that such a file is for this machine alone
    options = session_options(level)
    options.optimized_model_filepath = str(file)
    options.add_session_config_entry("session.disable_prepacking", "1")  # nothing is run
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", f"{file.name}.data")
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", _ALL_EXTERNAL)
    try:
        ort.InferenceSession(path, options, providers=[CPU.name], disabled_optimizers=list(without))
    except Exception as error:  # onnxruntime's exceptions have no base class of their own
        raise ExecutionError(f"{path}: onnxruntime does not save what it makes of it: {message_of(error)}") from error
    nodes = _nodes(onnx.load(file, load_external_data=False).graph)
    return tuple(
        BatchNorm(node.output[0], node.name, tuple(node.input[1:5]))
        for node in nodes
        if node.op_type == "BatchNormalization" and node.domain in {"", "ai.onnx"}
    )


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Those of a graph, and of the bodies of If, Loop and Scan in it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _nodes(body)
