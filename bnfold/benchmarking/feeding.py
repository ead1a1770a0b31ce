"""What two models are fed: made-up inputs, the same for both, for each batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.benchmarking.grid import shapes_of
from bnfold.errors import ExecutionError, ModelError
from bnfold.runtime.inputs import Sizes, fed_inputs, make_inputs, only_tensors
from bnfold.runtime.isolation import run_isolated
from bnfold.runtime.sessions import Level, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bnfold.runtime.sessions import Feeds
    from bnfold.runtime.sources import Opened

__all__ = ["feeds_of", "see_same_inputs"]

_LENGTHS = (224, 64, 32)  # what symbolic dimensions other than the batch become: photographs first


def see_same_inputs(left: Opened, right: Opened) -> None:
    """See that both take the same, and that it can be made up.

    Raises:
        ModelError: They differ in their inputs, or these are no tensors of numbers.
    """
    only_tensors(left.model, left.name)
    inputs = [
        [f"{value.name} {value.dtype.name if value.dtype else '?'}{value.shape}" for value in fed_inputs(opened.model)]
        for opened in (left, right)
    ]
    if inputs[0] != inputs[1]:
        raise ModelError(f"{right.name}: its inputs are {inputs[1]}, and those of {left.name} are {inputs[0]}")


def feeds_of(left: Opened, batches: Iterable[int], timeout: float) -> dict[int, Feeds]:
    """Inputs by batch; a batch whose shapes are those of another is left out.

    Raises:
        ExecutionError: The reference takes none.
    """
    found: dict[int, Feeds] = {}
    for batch in batches:
        feed = _feed(left, batch, timeout)
        if shapes_of(feed) not in map(shapes_of, found.values()):
            found[batch] = feed
    return found


def _feed(left: Opened, batch: int, timeout: float) -> Feeds:
    """Inputs of the largest size that the reference takes: some networks are made for small images."""
    for length in _LENGTHS:
        feed = make_inputs(left.model, "normal", 0, Sizes(batch, length)).feeds
        arguments = {"path": left.path, "level": Level.DISABLED, "feeds": [feed]}
        (result,) = run_isolated("bnfold.runtime.sessions:run", arguments, subject=left.name, timeout=timeout)
        if not isinstance(result, Refusal):
            return feed
    raise ExecutionError(f"{left.name}: refuses its inputs of batch {batch}: {result.reason}")
