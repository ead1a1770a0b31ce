"""Where two models are timed: every combination of provider, threads, batch and level."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from bnfold.benchmarking.result import words
from bnfold.errors import BnfoldError
from bnfold.runtime.providers import CPU, Provider, parse
from bnfold.runtime.sessions import Level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnfold.runtime.sessions import Feeds

__all__ = ["Place", "grid", "parse_levels", "shapes_of"]

_TF32 = "use_tf32"


@dataclass(frozen=True)
class Place:
    """One combination.

    Attributes:
        provider: The execution provider.
        threads: How many threads one inference on the CPU uses.
        batch: What symbolic first dimensions become.
        level: How much onnxruntime may optimise.
    """

    provider: Provider = CPU
    threads: int = 1
    batch: int = 1
    level: Level = Level.ALL

    def __str__(self) -> str:
        return words(str(self.provider), self.threads, self.batch, self.level)


def grid(
    providers: Sequence[str], threads: Sequence[int], batches: Sequence[int], levels: Sequence[Level]
) -> list[Place]:
    """All combinations, each once, the level changing fastest.

    Providers are as onnxruntime has them. CUDA, by its default, multiplies float32 in TF32, with fewer bits: unless
    that is asked for or against, it is there twice, as it is and without.

    Raises:
        BnfoldError: One of the lists is empty, a number is below 1, or a provider's options cannot be read.
    """
    for what, given in (("provider", providers), ("thread", threads), ("batch", batches), ("level", levels)):
        if not given:
            raise BnfoldError(f"no {what} to time the models with")
    for what, numbers in (("threads", threads), ("batch", batches)):
        if min(numbers) < 1:
            raise BnfoldError(f"--{what} {min(numbers)}: give a number from 1 on")
    where = [variant for provider in map(parse, providers) for variant in _variants(provider)]
    return [Place(*one) for one in dict.fromkeys(product(where, threads, batches, levels))]


def _variants(provider: Provider) -> list[Provider]:
    if provider.is_cpu:
        return [CPU]
    given = replace(provider, wide=False)
    if provider.name != "CUDAExecutionProvider" or _TF32 in dict(provider.options):
        return [given]
    separator = "," if provider.options else ":"
    without = replace(given, label=f"{provider.label}{separator}{_TF32}=0", options=(*provider.options, (_TF32, "0")))
    return [given, without]


def parse_levels(levels: Sequence[Level | str]) -> list[Level]:
    """Levels by their names.

    Raises:
        BnfoldError: There is no such level.
    """
    try:
        return list(map(Level, levels))
    except ValueError as error:
        raise BnfoldError(f"level: {error}; the levels are {', '.join(Level)}") from None


def shapes_of(feed: Feeds) -> tuple[str, ...]:
    """Name and shape of each input."""
    return tuple(f"{name} {'×'.join(map(str, array.shape)) or 'scalar'}" for name, array in feed.items())
