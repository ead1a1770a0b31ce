"""The BatchNorms of a network, replaced or set: to see what they do, and to train in several processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnfold.errors import BnfoldError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["Norm", "parse_norm", "set_norms", "synchronise"]

_FEWEST = 2  # rows that have a variance


@dataclass(frozen=True)
class Norm:
    """What stands where a network has BatchNorm.

    Attributes:
        kind: ``batch``, ``ghost`` or ``none``.
        group: Rows that a ghost BatchNorm normalises together; 0 for the others.
    """

    kind: str = "batch"
    group: int = 0

    def __str__(self) -> str:
        return f"ghost:{self.group}" if self.kind == "ghost" else self.kind


def parse_norm(text: str) -> Norm:
    """``batch``, ``none``, or ``ghost:16`` for groups of 16 rows.

    Raises:
        BnfoldError: It is none of them.
    """
    kind, colon, group = text.partition(":")
    if kind == "ghost" and group.isdecimal() and int(group) >= _FEWEST:
        return Norm("ghost", int(group))
    if kind in {"batch", "none"} and not colon:
        return Norm(kind)
    raise BnfoldError(f"--norm {text}: give batch, none, or ghost:N, with N at least {_FEWEST}")


def set_norms(module: nn.Module, norm: Norm, *, momentum: float | None = None, eps: float | None = None) -> None:
    """Replace every BatchNorm of a module in place, or set its momentum and epsilon.

    Args:
        module: It must not be a BatchNorm itself.
        norm: What takes their places. A ghost BatchNorm has the same parameters and statistics.
        momentum: How far a batch moves the running statistics, 0…1; None leaves it.
        eps: What is added to the variance; None leaves it.
    """
    from torch import nn

    from bnfold.training.ghost import GhostBatchNorm

    def changed(part: _BatchNorm) -> nn.Module:
        part.momentum = part.momentum if momentum is None else momentum
        part.eps = part.eps if eps is None else eps
        if norm.kind == "none":
            return nn.Identity()
        if norm.kind == "ghost":
            ghost = GhostBatchNorm(part.num_features, norm.group, eps=part.eps, momentum=part.momentum)
            return _taking_over(ghost, part)
        return part

    _replace(module, changed)


def synchronise(module: nn.Module) -> None:
    """Let every BatchNorm of a module, in place, have the statistics of all processes' rows; ghosts keep to groups.

    Args:
        module: On the device on which it will run; it must not be a BatchNorm itself.
    """
    from torch import nn

    from bnfold.training.ghost import GhostBatchNorm
    from bnfold.training.synced import SynchronisedBatchNorm

    def changed(part: _BatchNorm) -> _BatchNorm:
        if isinstance(part, GhostBatchNorm):
            return part
        on_gpu = any(tensor.is_cuda for tensor in (*part.parameters(), *part.buffers()))
        kind = nn.SyncBatchNorm if on_gpu else SynchronisedBatchNorm
        return _taking_over(kind(part.num_features, part.eps, part.momentum), part)

    _replace(module, changed)


def _taking_over(new: _BatchNorm, old: _BatchNorm) -> _BatchNorm:
    """The new one with the parameters, the statistics and the mode of the old: shared, not copied."""
    new._parameters, new._buffers = old._parameters, old._buffers
    new.affine, new.track_running_stats, new.training = old.affine, old.track_running_stats, old.training
    return new


def _replace(module: nn.Module, change: Callable[[_BatchNorm], nn.Module]) -> None:
    """Put ``change(norm)`` wherever a BatchNorm is; one that is in several places stays one."""
    from torch.nn.modules.batchnorm import _BatchNorm

    changed: dict[nn.Module, nn.Module] = {}
    for parent in list(module.modules()):
        for name, part in parent._modules.items():
            if isinstance(part, _BatchNorm):
                if part not in changed:
                    changed[part] = change(part)
                parent._modules[name] = changed[part]
