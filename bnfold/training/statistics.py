"""Population statistics for BatchNorm: over all of the data, where training leaves a moving average of batches.

Called precise BN by Wu and Johnson, https://arxiv.org/abs/2105.07576. What goes wrong elsewhere: averaging the
variances of batches forgets that their means differ, and weighs a smaller last batch like a full one; and a network
wholly in training mode has its dropout on.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnfold.errors import BnfoldError
from bnfold.training.hooks import first_argument
from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from torch import Tensor, nn
    from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["input_statistics", "recompute_statistics"]


def recompute_statistics(
    model: nn.Module, loader: Iterable[Tensor | tuple[Tensor, ...] | list[Tensor]], *, layer_by_layer: bool = False
) -> int:
    """Set ``running_mean`` and ``running_var`` of every BatchNorm to those of all samples, pooled in float64.

    Each sample counts once, whatever the sizes of the batches. The variance is the unbiased one, as torch's own. All
    else is as at inference, without dropout. In one pass, which is the default, each BatchNorm normalises by its batch,
    as in training, so that those behind it see a little of the batches' noise. Layer by layer, each waits for the
    final statistics of those in front of it: the result is that of a single pass over all samples as one batch, and
    costs a pass a layer.

    Args:
        model: Any module; its weights, modes and gradients stay as they are. A BatchNorm that keeps no running
            statistics, and one that is not run, is left alone; one that is called several times pools its calls.
        loader: Batches, or tuples of which the first is what the model takes. More than once iterable for
            ``layer_by_layer``.
        layer_by_layer: Whether each layer waits for those in front of it.

    Returns:
        How many BatchNorms have new statistics.

    Raises:
        MissingDependencyError: torch is not installed.
        BnfoldError: There is no batch, the loader can be gone through once only and has to be several times, or a
            BatchNorm saw a single value a channel, which has no variance: in one pass in any batch, layer by layer in
            all of them together.
    """
    require("torch")
    import torch

    norms = _tracking(model)
    if layer_by_layer and iter(loader) is loader:
        raise BnfoldError("layer by layer takes a pass a layer: give a list or a DataLoader, not an iterator")
    with _as_it_was(model), torch.no_grad():
        model.eval()
        if layer_by_layer:
            return _in_order(model, loader, dict(norms))
        for _, norm in norms:
            norm.training, norm.track_running_stats = True, False  # its batch's statistics, and its buffers untouched
        pools = _pool(model, loader, norms)
    for name, norm in norms:
        _store(name, norm, pools[name], unbiased=True)
    return sum(pool.count > 0 for pool in pools.values())


def input_statistics(
    model: nn.Module, loader: Iterable[Tensor | tuple[Tensor, ...] | list[Tensor]]
) -> dict[str, tuple[Tensor, Tensor]]:
    """What the input of every BatchNorm is like at inference: its mean and unbiased variance, pooled in float64.

    All is as at inference, the BatchNorms too: not what they should have stored, but what they meet.

    Args:
        model: Left as it is.
        loader: Batches, or tuples of which the first is what the model takes.

    Returns:
        For each BatchNorm that keeps running statistics and is run: mean and variance, float64 [channels].

    Raises:
        MissingDependencyError: torch is not installed.
        BnfoldError: There is no batch, or a BatchNorm saw a single value a channel, which has no variance.
    """
    require("torch")
    import torch

    with _as_it_was(model), torch.no_grad():
        model.eval()
        pools = _pool(model, loader, _tracking(model))
    found = {}
    for name, pool in pools.items():
        if pool.mean is not None and pool.squares is not None:
            _check_variance(name, pool)
            found[name] = (pool.mean, pool.squares / (pool.count - 1))
    return found


def _tracking(model: nn.Module) -> list[tuple[str, _BatchNorm]]:
    """The BatchNorms that keep running statistics, with their names."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return [
        (name, part)
        for name, part in model.named_modules()
        if isinstance(part, _BatchNorm) and part.running_mean is not None and part.running_var is not None
    ]


@dataclass
class _Pool:
    """Count, mean and sum of squared differences from the mean of each channel, in float64."""

    count: int = 0
    mean: Tensor | None = None
    squares: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """Merge a batch (Chan, Golub, LeVeque 1983): no difference of large sums, as E[x²] − E[x]² would be."""
        rows = values.double().transpose(0, 1).flatten(1)
        count, mean = rows.shape[1], rows.mean(1)
        squares = (rows - mean[:, None]).square().sum(1)
        if self.mean is None or self.squares is None:
            self.count, self.mean, self.squares = count, mean, squares
            return
        total, apart = self.count + count, mean - self.mean
        self.squares = self.squares + squares + apart.square() * (self.count * count / total)
        self.mean = self.mean + apart * (count / total)
        self.count = total


def _pool(
    model: nn.Module, loader: Iterable[object], norms: Iterable[tuple[str, _BatchNorm]], *, stop: bool = False
) -> dict[str, _Pool]:
    """What goes into each BatchNorm, over all batches; ``stop`` ends each pass at the first of them."""
    pools: dict[str, _Pool] = {}
    handles = []
    for name, norm in norms:
        pools[name] = _Pool()
        handles.append(norm.register_forward_pre_hook(_adding(name, pools[name], stop=stop), with_kwargs=True))
    empty = True
    try:
        for batch in loader:
            empty = False
            try:
                model(batch[0] if isinstance(batch, tuple | list) else batch)
            except _ReachedError:
                continue
    finally:
        for handle in handles:
            handle.remove()
    if empty:
        raise BnfoldError("there is no batch to compute statistics of")
    return pools


class _ReachedError(Exception):
    """The layer has seen the batch; what is behind it need not run."""


def _adding(name: str, pool: _Pool, *, stop: bool) -> Callable[..., None]:
    def add(norm: nn.Module, arguments: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> None:
        values = first_argument(arguments, named)
        pool.add(values)
        if norm.training and values.numel() == values.shape[1]:
            raise BnfoldError(
                f"{name or 'the BatchNorm'}: a batch with a single value a channel cannot be normalised by itself; "
                "give batches of another size, or layer_by_layer=True"
            )
        if stop:
            raise _ReachedError

    return add


def _in_order(model: nn.Module, loader: Iterable[object], norms: dict[str, _BatchNorm]) -> int:
    calls = _calls(model, loader, norms)
    pools: dict[str, _Pool] = {}
    for name, count in calls.items():
        # What is called again further back must not end the pass at its first call.
        pools |= _pool(model, loader, [(name, norms[name])], stop=count == 1)
        _store(name, norms[name], pools[name], unbiased=False)  # as a batch normalises itself
    for name, pool in pools.items():
        _store(name, norms[name], pool, unbiased=True)
    return len(calls)


def _calls(model: nn.Module, loader: Iterable[object], norms: dict[str, _BatchNorm]) -> dict[str, int]:
    """How often each BatchNorm is called for the first batch, in the order in which they are first called."""
    first = next(iter(loader), None)
    if first is None:
        raise BnfoldError("there is no batch to compute statistics of")
    calls: dict[str, int] = {}

    def counting(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def count(*_: object) -> None:
            calls[name] = calls.get(name, 0) + 1

        return count

    handles = [norm.register_forward_pre_hook(counting(name)) for name, norm in norms.items()]
    try:
        model(first[0] if isinstance(first, tuple | list) else first)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _store(name: str, norm: _BatchNorm, pool: _Pool, *, unbiased: bool) -> None:
    if pool.mean is None or pool.squares is None or norm.running_mean is None or norm.running_var is None:
        return
    _check_variance(name, pool)
    norm.running_mean.copy_(pool.mean)
    norm.running_var.copy_(pool.squares / (pool.count - unbiased))


def _check_variance(name: str, pool: _Pool) -> None:
    if pool.count == 1:
        raise BnfoldError(f"{name or 'the BatchNorm'}: a single value a channel has no variance")


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """Modes and what the BatchNorms track, put back at the end."""
    modes = [(part, part.training, getattr(part, "track_running_stats", None)) for part in model.modules()]
    try:
        yield
    finally:
        for part, training, tracks in modes:
            part.training = training
            if tracks is not None:
                part.track_running_stats = tracks
