"""Does the graph have what the module has, and under the names that were promised?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bnfold.errors import ExportError, ModelError
from bnfold.exporting.conversion import inference
from bnfold.modelfile import all_graphs

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir
    from torch import nn

    from bnfold.exporting.caller import Arrays, Caller

__all__ = ["check_graph", "count_norm_calls"]

_TRAINING = 5  # the place of the argument of torch.nn.functional.batch_norm


def count_norm_calls(module: nn.Module, caller: Caller, feeds: Arrays) -> int:
    """How often a BatchNorm normalises in one run at inference.

    Raises:
        ModelError: One does so by the statistics of the batch, whatever mode the module is in.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    if isinstance(module, torch.fx.GraphModule):  # a program, whose modes were looked at when it was loaded
        return sum("batch_norm" in str(node.target) for node in module.graph.nodes if node.op == "call_function")

    class Counter(TorchFunctionMode):
        """Counts, and looks at the mode of each call."""

        calls = 0

        def __torch_function__(
            self, function: Any, types: Any, arguments: tuple[Any, ...] = (), options: Mapping[str, Any] | None = None
        ) -> Any:
            options = options or {}
            if getattr(function, "__name__", "") == "batch_norm":
                self.calls += 1
                place = arguments[_TRAINING] if len(arguments) > _TRAINING else options.get("training", False)
                if place:
                    raise ModelError(
                        f"{_where(module)} by the statistics of the batch at inference too, so that an answer depends "
                        "on what else is asked; give it running statistics: "
                        "bnfold.training.recompute_statistics(module, batches) fills those of each BatchNorm"
                    )
            return function(*arguments, **options)

    counter = Counter()
    with inference(module), torch.no_grad(), counter:
        caller.call(module, feeds)
    return counter.calls


def _where(module: nn.Module) -> str:
    """A BatchNorm that stays in training mode when the network leaves it, or else the code itself."""
    from torch.nn.modules.batchnorm import _BatchNorm

    for path, part in module.named_modules():
        if isinstance(part, _BatchNorm) and part.training:
            return f"BatchNorm '{path}' stays in training mode after eval(), and normalises"
    return "the network normalises (batch_norm with training=True)"


def check_graph(model: ir.Model, caller: Caller, *, norms: int) -> None:
    """Every BatchNorm that the module calls is there and in inference mode, and the interface is as promised.

    Args:
        model: The graph.
        caller: How its inputs and outputs are to be called.
        norms: How often the module calls a BatchNorm.

    Raises:
        ExportError: It is not so.
    """
    nodes = [node for graph in all_graphs(model) for node in graph if node.op_type == "BatchNormalization"]
    if len(nodes) < norms:
        raise ExportError(f"the module calls {norms} BatchNorms, and its export has {len(nodes)} BatchNormalizations")
    if training := [node.name for node in nodes if node.attributes.get_int("training_mode", 0)]:
        raise ExportError(f"exported in training mode: {', '.join(map(str, training))}")
    given = [value.name for value in model.graph.inputs]
    if given != [shape.name for shape in caller.inputs]:
        asked = [shape.name for shape in caller.inputs]
        lost = [name for name in asked if name not in given]
        hint = f": forward does not read {', '.join(lost)}" if lost else ""
        raise ExportError(f"the graph has the inputs {given} where {asked} were asked for{hint}")
    if [value.name for value in model.graph.outputs] != list(caller.outputs):
        names = [value.name for value in model.graph.outputs]
        raise ExportError(f"the graph has the outputs {names} where {list(caller.outputs)} were asked for")
    for value, shape in zip(model.graph.inputs, caller.inputs, strict=True):
        _check_shape(value, shape.dims)


def _check_shape(value: ir.Value, dims: tuple[int | str, ...]) -> None:
    found = tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape or ())
    fixed = [f"'{dim}'" for dim, given in zip(dims, found, strict=False) if isinstance(dim, str) and dim != given]
    if fixed:
        raise ExportError(
            f"the exporter fixed axis {', '.join(fixed)} of {value.name}: {list(found)}; give its size, not a name"
        )
    if found != dims:
        raise ExportError(f"the graph's input {value.name} is {list(found)} where {list(dims)} was asked for")
