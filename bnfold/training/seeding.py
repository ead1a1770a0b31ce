"""The same seed, the same numbers."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["one_seeded_thread"]


@contextmanager
def one_seeded_thread(seed: int, device: str = "cpu") -> Iterator[None]:
    """The default generator, which weights and dropout draw from, starts at ``seed``; all is put back.

    One thread, because two add up in another order and differ in the last bits.
    """
    import torch

    threads = torch.get_num_threads()
    gpus = [] if device == "cpu" else [torch.device(device)]
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed all GPUs as well
        for gpu in gpus:
            torch.cuda.default_generators[gpu.index].manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
