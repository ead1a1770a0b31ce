"""The processes that train one network together: on several GPUs, on several machines, or on one CPU.

``torchrun --nproc-per-node 2 -m bnfold train digits_cnn`` starts two. They share each batch: a step of all of them is,
to rounding, the step of one process with the whole batch. So ``--batch-size`` means all rows of a step, however many
processes there are.

    batch of 65 rows   process 0: rows 0…32     loss × 33·2/65   ╮ DistributedDataParallel:
                       process 1: rows 33…64    loss × 32·2/65   ╯ the mean of their gradients
"""

from __future__ import annotations

import inspect
import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from bnfold.errors import BnfoldError
from bnfold.training.norms import synchronise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

__all__ = ["DEVICES", "Processes", "is_first", "together"]

DEVICES = ("cpu", "cuda")

# Groups that were left. DistributedDataParallel must not be the last to hold one: where it is, as in the frames of an
# error, PyTorch joins the group's threads with Python's lock held, for which one of them may wait (seen in 2.13).
_LEFT: list[object] = []

T = TypeVar("T")


def is_first() -> bool:
    """Whether this process writes and reports: the only one, or the first of those that torchrun started."""
    return _started() == 1 or os.environ.get("RANK", "0") == "0"


def _started() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


@dataclass(frozen=True)
class Processes:
    """All of them, seen from this one.

    Attributes:
        device: Where this one computes, such as ``cpu`` or ``cuda:1``.
        rank: The number of this one, from 0.
        count: How many there are.
    """

    device: str = "cpu"
    rank: int = 0
    count: int = 1

    def check(self, batch_size: int, group: int) -> None:
        """See that a batch has something for every process.

        Args:
            batch_size: Rows of a step, all processes together.
            group: Rows that a ghost BatchNorm normalises together, and which stay together; 0 without one.

        Raises:
            BnfoldError: It has not.
        """
        if len(_cuts(batch_size, group)) <= self.count:
            groups = f" and groups of {group}" if group else ""
            raise BnfoldError(f"--batch-size {batch_size}: too few rows for {self.count} processes{groups}")

    def shard(self, batch: Tensor, group: int) -> Tensor:
        """The rows of a batch that are this process's; the shares differ by no more than a row or a group."""
        cuts = _cuts(len(batch), group)
        start, end = ((len(cuts) - 1) * rank // self.count for rank in (self.rank, self.rank + 1))
        return batch[cuts[start] : cuts[end]]

    def share(self, module: nn.Module) -> nn.Module:
        """The module as all train it together: its BatchNorms synchronised, its gradients averaged.

        It is the module itself where there is one process. All begin with the first one's weights; each of the others
        continues with random numbers of its own, so that no two drop out the same.
        """
        if self.count == 1:
            return module
        import torch

        synchronise(module)
        if self.rank:
            torch.default_generator.manual_seed((torch.initial_seed() + self.rank) % 2**63)
        parallel = torch.nn.parallel.DistributedDataParallel
        # The first process's statistics are nobody else's: ``settle`` sees to them.
        newer = "forward_sync_buffers" in inspect.signature(parallel).parameters
        no_broadcast: dict[str, Any] = {"forward_sync_buffers" if newer else "broadcast_buffers": False}
        return parallel(module, device_ids=None if self.device == "cpu" else [self.device], **no_broadcast)

    def mean(self, number: float) -> float:
        """The mean over all processes."""
        return number if self.count == 1 else sum(self.all(number)) / self.count

    def all(self, what: T) -> list[T]:
        """What each process has, in the order of their ranks."""
        if self.count == 1:
            return [what]
        from torch import distributed

        found: list[T] = [what] * self.count
        distributed.all_gather_object(found, what)
        return found

    def first(self, act: Callable[[], T]) -> T:
        """What the first process gets by ``act``, which only that one does.

        Raises:
            BnfoldError: It raised one; all of them do then.
        """
        if self.count == 1:
            return act()
        from torch import distributed

        outcome: list[tuple[T | None, str | None]] = [(None, None)]
        error: BnfoldError | None = None
        if self.rank == 0:
            try:
                outcome = [(act(), None)]
            except BnfoldError as caught:
                error, outcome = caught, [(None, str(caught))]
        distributed.broadcast_object_list(outcome)
        result, message = outcome[0]
        if message is not None:
            raise error or BnfoldError(message)
        return result  # type: ignore[return-value]  # None only where act returned it

    def settle(self, module: nn.Module, batch_size: int) -> None:
        """Give every process the running statistics that one process would have now.

        Synchronised BatchNorms have them. A ghost BatchNorm moves its own by the mean of its process's groups; as that
        is linear, and the shares are the same in each step, theirs are the mean, weighted by the number of groups.
        """
        from torch import distributed

        from bnfold.training.ghost import GhostBatchNorm

        for norm in module.modules():
            if not isinstance(norm, GhostBatchNorm) or self.count == 1:
                continue
            groups = len(_cuts(batch_size, norm.group)) - 1
            start, end = (groups * rank // self.count for rank in (self.rank, self.rank + 1))
            for buffer in (norm.running_mean, norm.running_var):
                if buffer is not None:
                    buffer.mul_((end - start) / groups)
                    distributed.all_reduce(buffer)


def _cuts(rows: int, group: int) -> list[int]:
    """Where a batch can be cut: between any two rows, or between groups, of which the last takes a single row in."""
    if group == 0:
        return list(range(rows + 1))
    return [*range(0, max(rows - 1, 1), group), rows]


@contextmanager
def together(device: str) -> Iterator[Processes]:
    """Join the other processes, if torchrun started several, and leave them at the end.

    A process group that is there already is used, and stays.

    Args:
        device: ``cpu``, or ``cuda``, of which each process of a machine gets its own.

    Raises:
        BnfoldError: PyTorch has no such device here, or the others cannot be found.
    """
    import torch
    from torch import distributed

    if device == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if torch.cuda.device_count() <= local:
            raise BnfoldError(f"--device cuda: PyTorch finds {torch.cuda.device_count()} CUDA devices here")
        device = f"cuda:{local}"
    joined = distributed.is_available() and distributed.is_initialized()
    if not joined and _started() == 1:
        yield Processes(device)
        return
    if device != "cpu":
        torch.cuda.set_device(device)
    if not joined:
        try:
            distributed.init_process_group("gloo" if device == "cpu" else "nccl")
        except ValueError as error:  # a variable that torchrun sets is missing
            raise BnfoldError(f"WORLD_SIZE is {_started()}, but the others are not to be found: {error}") from error
    try:
        with warnings.catch_warnings():  # of axes of length 1, whose strides mean nothing
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
            yield Processes(device, distributed.get_rank(), distributed.get_world_size())
    finally:
        if not joined:
            _LEFT.append(distributed.group.WORLD)
            distributed.destroy_process_group()
