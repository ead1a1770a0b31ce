"""What inference would be without running statistics: each batch normalised by its own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from bnfold.training.hooks import first_argument
from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor, nn

__all__ = ["batch_statistics"]


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[nn.Module]:
    """Within it, every BatchNorm normalises by the batch that it sees, and all else is as at inference.

    Unlike ``model.train()`` it leaves Dropout off and the running statistics as they were, and takes a batch of a
    single row as well: its variance is 0, so that all of its channels become the bias. BatchNorms that keep no running
    statistics do this anyway, and are left alone.

    Args:
        model: Its modes and running statistics are put back at the end. Not to be run by two threads at once.

    Yields:
        The model.

    Raises:
        MissingDependencyError: torch is not installed.
    """
    require("torch")
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [part for part in model.modules() if isinstance(part, _BatchNorm) and part.running_mean is not None]
    kept = [{name: buffer.clone() for name, buffer in norm.named_buffers(recurse=False)} for norm in norms]
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    handles = [norm.register_forward_pre_hook(_take_over, with_kwargs=True) for norm in norms]
    try:
        yield model
    finally:
        for handle in handles:
            handle.remove()
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                getattr(norm, name).copy_(buffer)
        for part, training in modes:
            part.training = training


def _take_over(norm: nn.Module, arguments: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> None:
    """Make the batch's statistics those that the BatchNorm runs with."""
    rows = first_argument(arguments, named).detach().transpose(0, 1).flatten(1)
    norm.running_mean.copy_(rows.mean(1))  # type: ignore[operator]
    norm.running_var.copy_(rows.var(1, correction=0))  # type: ignore[operator]
