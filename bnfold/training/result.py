"""What a training run yields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bnfold.training.settings import Settings

__all__ = ["Epoch", "TrainingResult"]


@dataclass(frozen=True)
class Epoch:
    """One pass over the training data, and what was measured at its end.

    Attributes:
        number: From 1.
        loss: Mean loss of the epoch's batches, as trained: dropout on, batch statistics. Cross entropy in nats, or the
            mean squared error of a network that rebuilds images.
        train_accuracy: The score on the training data, in inference mode: the share that is right, 0…1, or the
            explained variance of a network that rebuilds images.
        held_out_accuracy: The same for the held-out data.
        seconds: Wall-clock time of the epoch, measuring included.
    """

    number: int
    loss: float
    train_accuracy: float
    held_out_accuracy: float
    seconds: float


@dataclass(frozen=True)
class TrainingResult:
    """A trained network and how it came about. True when it reached its target, or had none.

    Attributes:
        network: The zoo's name of it.
        data: The name of the data set that it was trained with.
        folder: Where ``weights.safetensors``, ``metrics.json``, ``metrics.jsonl``, ``curve.svg`` and ``card.md`` are.
        accuracy: The score of the last epoch's weights on the held-out data: the share that is right, 0…1, or the
            explained variance; with exact statistics, if those were asked for.
        reached: Whether ``accuracy`` is at least the target; True without one.
        settings: What ``train`` was told.
        train_size: Rows trained on.
        held_out_size: Rows measured on.
        parameters: Trained numbers, BatchNorms' scale and bias included, running statistics not.
        batch_norms: Each BatchNorm's name in the module, and its channels.
        epochs: In order.
        resumed_after: How many of them an interrupted run had done before; 0 where there was none.
        seconds: Wall-clock time of all epochs.
        command: The command line that rebuilds the same weights.
        versions: What it was trained with.
    """

    network: str
    data: str
    folder: Path
    accuracy: float
    reached: bool
    settings: Settings
    train_size: int
    held_out_size: int
    parameters: int
    batch_norms: Mapping[str, int]
    epochs: tuple[Epoch, ...]
    resumed_after: int
    seconds: float
    command: str
    versions: Mapping[str, str]

    def __bool__(self) -> bool:
        return self.reached
