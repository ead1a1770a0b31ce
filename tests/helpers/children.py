"""Real child processes that have PyTorch loaded already: a server imports it once, and forks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

from bnfold.training import train

if TYPE_CHECKING:
    from collections.abc import Callable

_LIMIT = 60  # seconds

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    # DistributedDataParallel loads the second, for seconds
    ["torch", "torch._dynamo", "safetensors.torch", "sklearn.datasets", "sklearn.model_selection", __name__]
)


def start(act: Callable[..., object], *arguments: object) -> multiprocessing.Process:
    """Call a function of a module in a child."""
    child = _context.Process(target=act, args=arguments)
    child.start()
    return child


def end(child: multiprocessing.Process) -> int | None:
    """Wait for it: its exit code, or minus the signal that ended it."""
    child.join(_LIMIT)
    if child.exitcode is None:
        child.kill()
    return child.exitcode


def kill_myself(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train_until(place: str, count: int, settings: dict[str, Any]) -> None:
    """Train, and die by SIGKILL when ``place``, such as ``os.fsync``, is called for the ``count``-th time."""
    import pydoc

    owner_name, _, name = place.rpartition(".")
    owner = pydoc.locate(owner_name)
    original, calls = getattr(owner, name), iter(range(count - 1))

    def counted(*arguments: object, **options: object) -> object:
        if next(calls, None) is None:
            kill_myself()
        return original(*arguments, **options)

    setattr(owner, name, counted)
    train(**settings)


def together(act: Callable[..., object], count: int, *arguments: object) -> list[int | None]:
    """Call a function in several children that find each other over 127.0.0.1, as torchrun lets them; exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [start(_as_rank, rank, count, port, act, arguments) for rank in range(count)]
    return [end(child) for child in children]


def _as_rank(rank: int, count: int, port: int, act: Callable[..., object], arguments: tuple[object, ...]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    act(*arguments)
