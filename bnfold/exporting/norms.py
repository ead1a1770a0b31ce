"""BatchNorms of other kinds become torch's own, and those that need a batch at inference are refused.

SyncBatchNorm        at inference the same function; torch's exporters know it less well
FrozenBatchNorm2d    of torchvision, detectron2, DETR, …: four buffers and a formula, which exporters turn into
                     Mul and Add; told by what it holds

Each is taken for one only if it gives the same numbers: a subclass or a hook may compute more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnfold.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["Conversion", "convert_norms", "count_batch_norms", "needs_conversion", "refuse_batch_statistics"]

_FROZEN = frozenset({"weight", "bias", "running_mean", "running_var"})
_EPSILON = 1e-5  # where a frozen one has it in its code alone
_REMEDY = (
    "build it with track_running_stats=True, and fill its statistics with "
    "bnfold.training.recompute_statistics(module, batches)"
)


@dataclass(frozen=True)
class Conversion:
    """A module that became a BatchNorm of torch.

    Attributes:
        module: Its path; empty for the network itself.
        kind: What it was.
    """

    module: str
    kind: str


def needs_conversion(module: nn.Module) -> bool:
    """Whether there is something to convert."""
    return any(True for _ in _others(module))


def convert_norms(module: nn.Module) -> tuple[nn.Module, tuple[Conversion, ...]]:
    """The network with BatchNorms of torch in place of others; it is changed itself, unless it is one.

    The new ones hold the same parameters and buffers, and are in the mode of the old.
    """
    found = list(_others(module))
    for path, old, new in found:
        new.train(old.training)
        if not path:
            return new, (Conversion("", type(old).__name__),)
        parent, _, name = path.rpartition(".")
        setattr(module.get_submodule(parent), name, new)
    return module, tuple(Conversion(path, type(old).__name__) for path, old, _ in found)


def refuse_batch_statistics(module: nn.Module) -> None:
    """See that each BatchNorm has statistics of its own, and goes into inference mode when it is told to.

    Raises:
        ModelError: One does not; the message names it, and says what to do.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    for path, part in module.named_modules():
        if not isinstance(part, _BatchNorm):
            continue
        name = f"BatchNorm '{path}'" if path else "the BatchNorm"
        if part.running_mean is None or part.running_var is None:
            raise ModelError(
                f"{name} keeps no running statistics (track_running_stats=False): it normalises each batch by itself, "
                f"so that an answer depends on what else is asked; {_REMEDY}"
            )


def count_batch_norms(module: nn.Module) -> int:
    """How many BatchNorm layers of any rank a module has."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return sum(isinstance(part, _BatchNorm) for part in module.modules())


def _others(module: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    """Each module to convert: its path, itself, and the BatchNorm that equals it."""
    import torch

    for path, part in list(module.named_modules(remove_duplicate=False)):
        if isinstance(part, torch.nn.SyncBatchNorm) or _is_frozen(part):
            epsilon = float(getattr(part, "eps", getattr(part, "epsilon", _EPSILON)))
            new = _thawed(part, epsilon)
            if _are_same(part, new):
                yield path, part, new


def _is_frozen(part: nn.Module) -> bool:
    held = {name for name, buffer in part.named_buffers(recurse=False) if buffer is not None}
    plain = not list(part.children()) and not list(part.parameters(recurse=False))
    return plain and held - {"num_batches_tracked"} == _FROZEN


def _thawed(part: nn.Module, epsilon: float) -> _BatchNorm:
    """A BatchNorm that holds what the part holds, and takes inputs of any rank, as it does."""
    import torch

    from bnfold.training.any_rank import AnyRankBatchNorm

    mean = part.running_mean
    assert isinstance(mean, torch.Tensor)  # noqa: S101 - refused before, or told by it
    new = AnyRankBatchNorm(mean.numel(), eps=epsilon, affine=False)
    for name in ("weight", "bias"):
        held = getattr(part, name)
        if held is not None:
            new.register_parameter(name, torch.nn.Parameter(held.detach(), requires_grad=held.requires_grad))
    new.affine = new.weight is not None
    new.running_mean, new.running_var = mean, part.running_var  # type: ignore[assignment]
    if not isinstance(getattr(part, "num_batches_tracked", None), torch.Tensor):
        new.num_batches_tracked = None
    return new


def _are_same(old: nn.Module, new: nn.Module) -> bool:
    """Whether the two give the same numbers for an image, within the last bits of float64."""
    import copy

    import torch

    generator = torch.Generator().manual_seed(0)
    mean = new.running_mean
    assert isinstance(mean, torch.Tensor)  # noqa: S101 - it was just put there
    image = torch.randn(2, mean.numel(), 3, 3, generator=generator, dtype=torch.float64)
    try:
        with torch.no_grad():
            given, made = (copy.deepcopy(part).cpu().double().eval()(image) for part in (old, new))
    except Exception:  # it takes something else, or is none
        return False
    return bool(torch.allclose(given, made, rtol=1e-12, atol=1e-12 * float(made.abs().max())))
