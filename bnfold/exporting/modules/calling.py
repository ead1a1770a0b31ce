"""One call of a module: run in float64, exported, and repeated with other numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnfold.errors import ExportError, ModelError
from bnfold.exporting.conversion import first_cause, inference, quiet

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir
    from torch import Tensor, nn

__all__ = ["Call"]


@dataclass(frozen=True)
class Call:
    """What a module is called with.

    Attributes:
        arguments: By position; tensors, or anything that holds tensors.
        options: By name.
    """

    arguments: tuple[Any, ...]
    options: Mapping[str, Any]

    @classmethod
    def of(cls, example: object, module: nn.Module) -> Call:
        """An example in float64, with two rows where it has one and the module takes two.

        (torch's exporter takes a size of 1 for one that never changes.)

        Args:
            example: A tensor, a tuple of arguments, or a mapping of keyword arguments.
            module: In float64, on the CPU.

        Raises:
            ModelError: The module cannot be run on it.
        """
        import torch

        if isinstance(example, Mapping):
            given = cls((), dict(example))
        else:
            given = cls(example if isinstance(example, tuple) else (example,), {})
        call = given._mapped(lambda t: t.detach().cpu().to(torch.float64 if t.is_floating_point() else t.dtype))
        two_rows = call._mapped(lambda t: torch.cat([t, t]) if t.ndim and len(t) == 1 else t)
        try:
            two_rows.run(module)
        except Exception:  # whatever the module's own code raises
            call.run(module)
            return call
        return two_rows

    def run(self, module: nn.Module) -> list[Any]:
        """What the call returns, out of whatever holds it, and what it leaves in its inputs.

        The inputs are copies, and random numbers are the same each time.

        Raises:
            ModelError: The module's own code raises something.
        """
        import torch
        from torch.utils._pytree import tree_leaves

        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            call = self._mapped(lambda tensor: tensor.clone())
            try:
                return list(tree_leaves((module(*call.arguments, **call.options), call.arguments, dict(call.options))))
            except Exception as error:
                reason = first_cause(error)
                raise ModelError(f"the module cannot be run in float64 on the example: {reason}") from error

    def randomised(self, seed: int) -> Call:
        """The call with random numbers that spread as far as the given ones, and whole numbers in another order."""
        import torch

        generator = torch.Generator().manual_seed(seed)

        def other(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                order = torch.randperm(tensor.numel(), generator=generator)
                return tensor.reshape(-1)[order].reshape(tensor.shape)
            spread = float(tensor.std(correction=0)) if tensor.numel() else 0.0
            scale = spread if 0 < spread < float("inf") else 1.0
            return torch.randn(tensor.shape, dtype=tensor.dtype, generator=generator) * scale

        return self._mapped(other)

    def export(self, module: nn.Module) -> ir.Model:
        """The module's graph as torch writes it, with each size open that torch can keep open.

        Raises:
            ExportError: torch cannot translate the module.
        """
        try:
            return self._export(module, sizes_are_open=True)
        except ExportError:
            return self._export(module, sizes_are_open=False)

    def _export(self, module: nn.Module, *, sizes_are_open: bool) -> ir.Model:
        import torch
        from torch.utils._pytree import tree_map

        def open_sizes(value: Any) -> Any:
            return dict.fromkeys(range(value.ndim), torch.export.Dim.AUTO) if isinstance(value, torch.Tensor) else None

        shapes = tree_map(open_sizes, self.options or self.arguments) if sizes_are_open else None
        with inference(module), quiet():
            try:
                program = torch.onnx.export(
                    module,
                    self.arguments,
                    kwargs=dict(self.options),
                    dynamic_shapes=shapes,
                    dynamo=True,
                    optimize=False,  # its optimiser would fold the BatchNormalizations
                    verbose=False,
                )
            except torch.onnx.OnnxExporterError as error:
                raise ExportError(f"torch cannot export the module: {first_cause(error)}") from error
        if program is None:
            raise ExportError("torch's exporter returned no model")
        return program.model

    def _mapped(self, function: Callable[[Tensor], Tensor]) -> Call:
        """The same call with other tensors."""
        import torch
        from torch.utils._pytree import tree_map

        def one(value: Any) -> Any:
            return function(value) if isinstance(value, torch.Tensor) else value

        return Call(tree_map(one, self.arguments), tree_map(one, self.options))
