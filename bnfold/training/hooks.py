"""What the hooks of a module are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["first_argument"]


def first_argument(arguments: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> Tensor:
    """The tensor that a layer of one input is called with, by position or by name."""
    return arguments[0] if arguments else next(iter(named.values()))
