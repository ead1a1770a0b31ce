"""How a network is trained: checked before any work, and written down so that it can be done again."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from bnfold.errors import BnfoldError
from bnfold.training.norms import parse_norm
from bnfold.training.processes import DEVICES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch.nn import Parameter
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from bnfold.training.result import Epoch

__all__ = ["OPTIMIZERS", "SCHEDULES", "Settings"]

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("cosine", "constant")
_MOMENTUM = 0.9
_WEIGHT_DECAY = 5e-4
_ALWAYS_NAMED = ("epochs", "seed", "lr", "batch_size")


@dataclass(frozen=True)
class Settings:
    """What ``train`` was told.

    Attributes:
        epochs: Passes over the training data, at most.
        seed: Of the initial weights, the dropout and the order of the batches.
        lr: Learning rate of the first epoch.
        batch_size: Rows a step, of all processes together.
        optimizer: ``sgd``, with momentum 0.9, or ``adamw``; both with a weight decay of 5e-4.
        schedule: ``cosine``, from ``lr`` to 0, or ``constant``.
        norm: What stands where the network has BatchNorm: ``batch``, ``none`` or ``ghost:N``.
        placement: Where the BatchNorms stand: ``pre``, ``post`` or ``input``; null for the network's own.
        momentum: Of the running statistics, 0…1; null for the network's own.
        eps: Of the BatchNorms; null for the network's own.
        exact_stats: Whether the running statistics are those of all training data, computed at the end.
        target: The accuracy at which training ends; null without one.
        device: ``cpu`` or ``cuda``.
    """

    epochs: int = 20
    seed: int = 0
    lr: float = 0.05
    batch_size: int = 64
    optimizer: str = "sgd"
    schedule: str = "cosine"
    norm: str = "batch"
    placement: str | None = None
    momentum: float | None = None
    eps: float | None = None
    exact_stats: bool = False
    target: float | None = None
    device: str = "cpu"

    @classmethod
    def of(cls, recipe: Mapping[str, Any], **told: Any) -> Settings:
        """What is told, where it is not None; else what the recipe has, else the defaults."""
        return cls(**{**recipe, **{name: value for name, value in told.items() if value is not None}})

    def check(self, rows: int | None = None) -> None:
        """See that every setting makes sense, and that there are enough of ``rows`` for a batch.

        Raises:
            BnfoldError: One does not.
        """
        problems = [
            (self.epochs < 1, f"--epochs {self.epochs}: train for at least 1"),
            (not 0 <= self.seed < 2**63, f"--seed {self.seed}: give a number from 0 to 2**63 - 1"),
            (not (math.isfinite(self.lr) and self.lr > 0), f"--lr {self.lr}: give a learning rate above 0"),
            (
                self.batch_size < 2,
                f"--batch-size {self.batch_size}: BatchNorm needs at least 2 rows to have statistics of",
            ),
            (self.optimizer not in OPTIMIZERS, f"--optimizer {self.optimizer}: give {' or '.join(OPTIMIZERS)}"),
            (self.schedule not in SCHEDULES, f"--schedule {self.schedule}: give {' or '.join(SCHEDULES)}"),
            (self.device not in DEVICES, f"--device {self.device}: give {' or '.join(DEVICES)}"),
            (
                self.momentum is not None and not 0 < self.momentum <= 1,
                f"--momentum {self.momentum}: how far a batch moves the statistics lies above 0 and up to 1",
            ),
            (
                self.eps is not None and not (math.isfinite(self.eps) and self.eps > 0),
                f"--eps {self.eps}: give a number above 0",
            ),
            (
                self.target is not None and not 0 <= self.target <= 1,
                f"--target {self.target}: an accuracy lies between 0 and 1",
            ),
            (
                rows is not None and self.batch_size > rows,
                f"--batch-size {self.batch_size}: there are {rows} rows to train on",
            ),
        ]
        for wrong, message in problems:
            if wrong:
                raise BnfoldError(message)
        norm = parse_norm(self.norm)
        if norm.group > self.batch_size:
            raise BnfoldError(f"--norm {self.norm}: a batch has {self.batch_size} rows")

    def options(self, recipe: Mapping[str, Any]) -> str:
        """The options of ``bnfold train`` that say the same, of a network with this recipe."""
        words = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value == field.default and field.name not in {*_ALWAYS_NAMED, *recipe}:
                continue
            name = f"--{field.name.replace('_', '-')}"
            words.append(name if value is True else f"{name} {value}")
        return " ".join(words)

    def are_met(self, history: Sequence[Epoch]) -> bool:
        """Whether training is over after these epochs: they are all, or the last one reached the target."""
        if self.target is not None and history and history[-1].held_out_accuracy >= self.target:
            return True
        return len(history) >= self.epochs

    def build_optimizer(self, parameters: Iterable[Parameter]) -> tuple[Optimizer, LRScheduler]:
        """What changes the weights, and what changes its rate, once an epoch."""
        from torch import optim

        made: Optimizer
        if self.optimizer == "adamw":
            made = optim.AdamW(parameters, self.lr, weight_decay=_WEIGHT_DECAY)
        else:
            made = optim.SGD(parameters, self.lr, momentum=_MOMENTUM, weight_decay=_WEIGHT_DECAY)
        if self.schedule == "constant":
            return made, optim.lr_scheduler.ConstantLR(made, factor=1.0)
        return made, optim.lr_scheduler.CosineAnnealingLR(made, T_max=self.epochs)
