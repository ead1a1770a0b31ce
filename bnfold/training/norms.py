"""The BatchNorms of a network, replaced or set: to see what they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnfold.errors import BnfoldError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Norm", "parse_norm", "set_norms"]

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
    from torch.nn.modules.batchnorm import _BatchNorm

    from bnfold.training.ghost import GhostBatchNorm

    for parent in list(module.modules()):
        for name, part in list(parent.named_children()):
            if not isinstance(part, _BatchNorm):
                continue
            part.momentum = part.momentum if momentum is None else momentum
            part.eps = part.eps if eps is None else eps
            if norm.kind == "none":
                setattr(parent, name, nn.Identity())
            elif norm.kind == "ghost":
                ghost = GhostBatchNorm(
                    part.num_features, norm.group, eps=part.eps, momentum=part.momentum, affine=part.affine
                )
                ghost.load_state_dict(part.state_dict())
                setattr(parent, name, ghost)
