"""A ``TrainingResult`` for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.reporting.cases import Case, Outcome, Suite
from bnfold.reporting.document import Document, Table, Text

if TYPE_CHECKING:
    from bnfold.training import Epoch, TrainingResult

__all__ = ["document", "suite"]

_COLUMNS = ("epoch", "loss", "train accuracy", "held-out accuracy", "seconds")


def document(result: TrainingResult) -> Document:
    """The verdict, about five of the epochs, and where the files are."""
    return Document(
        title=f"{result.network}: {result.accuracy:.2%} of {result.held_out_size} held-out rows",
        blocks=(
            Table(_COLUMNS, tuple(map(_row, _some(result.epochs))), numeric=frozenset(_COLUMNS)),
            Text(
                f"{result.parameters} parameters, {len(result.batch_norms)} BatchNorms, {len(result.epochs)} "
                f"epoch{'s' * (len(result.epochs) != 1)} in {result.seconds:.1f} s{_resumed(result)}"
            ),
            *_verdict(result),
            Text(f"weights, metrics, curve.svg and card.md are in {result.folder}"),
        ),
    )


def suite(result: TrainingResult) -> Suite:
    """One case: the accuracy, against the target if there was one."""
    target = "" if result.settings.target is None else f", and the target is {result.settings.target:.2%}"
    message = f"{result.accuracy:.2%} of {result.held_out_size} held-out rows{target}"
    return Suite("train", (Case("held-out accuracy", Outcome.PASS if result else Outcome.FAIL, message),))


def _some(epochs: tuple[Epoch, ...]) -> tuple[Epoch, ...]:
    stride = max(1, len(epochs) // 5)
    return tuple(epoch for epoch in epochs if (len(epochs) - epoch.number) % stride == 0)


def _row(epoch: Epoch) -> tuple[str, ...]:
    return (
        str(epoch.number),
        f"{epoch.loss:.4f}",
        f"{epoch.train_accuracy:.2%}",
        f"{epoch.held_out_accuracy:.2%}",
        f"{epoch.seconds:.2f}",
    )


def _resumed(result: TrainingResult) -> str:
    done = result.resumed_after
    return f", {done} of them before the interruption" if done else ""


def _verdict(result: TrainingResult) -> tuple[Text, ...]:
    target = result.settings.target
    if target is None:
        return ()
    if result.reached:
        return (Text(f"the target of {target:.2%} is reached", "good"),)
    return (Text(f"the target of {target:.2%} is missed", "bad"),)
