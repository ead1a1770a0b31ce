"""What a lint may ask: the facts of one network, whoever told them.

``graph.py`` reads them off an ONNX graph. What only a PyTorch module knows (its momentum, how many batches it has seen)
is None until a module tells it. So each lint is written once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding import Kept

    Vector = NDArray[np.float64]
    Mask = NDArray[np.bool_]

__all__ = ["BatchNorm", "FoldedWeight", "Kind", "Layer", "Network", "Shrinkage"]

_NOTHING = 1e-3  # of the liveliest channel: a millionth of its variance is a constant for whoever reads both


class Kind(StrEnum):
    """What a lint needs to know of an op next to a BatchNormalization."""

    WEIGHTS = "weights"
    ACTIVATION = "activation"
    DROPOUT = "dropout"
    PASSING = "passing"
    OTHER = "other"


@dataclass(frozen=True)
class Layer:
    """An op on the way into a BatchNormalization or out of it.

    Attributes:
        name: Its name.
        op_type: What it is, such as ``Conv``.
        kind: What that is to a lint.
        biases: How many numbers of a bias it adds that are one for each channel of the BatchNormalization, and go
            nowhere else; 0 where it has none.
        rate: The share that a Dropout sets to 0, if that is known.
        reaches_batch_norm: Whether a BatchNormalization comes later on: what a Dropout does, it sees in training.
        is_shared: Whether another op, too, reads what it writes, or the network gives it out.
    """

    name: str
    op_type: str
    kind: Kind
    biases: int = 0
    rate: float | None = None
    reaches_batch_norm: bool = False
    is_shared: bool = False

    def __str__(self) -> str:
        return f"{self.op_type} '{self.name}'"


@dataclass(frozen=True)
class Shrinkage:
    """What goes with one channel of a BatchNormalization if it is taken out of the network.

    Attributes:
        layers: The ops around it whose weights lose a row or a column.
        parameters: How many numbers one channel has there, the BatchNormalization's own four included.
    """

    layers: tuple[Layer, ...]
    parameters: int


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """One BatchNormalization.

    Attributes:
        name: That of its node.
        module: That of its PyTorch module, as far as the model tells it; or empty.
        scale: float64 [C], or None where it is no constant.
        bias: The same.
        mean: The same.
        var: The same.
        epsilon: What is added to the variance.
        dtype: In which the parameters are stored, or will be.
        before: The ops that lead in, the nearest first, up to one that has weights or more than one source.
        after: The ops that it leads to, likewise, as long as nobody else reads what is between.
        training: Why it normalises with the statistics of the batch; empty when it does not.
        momentum: The weight of a new batch in the running statistics, as PyTorch has it; None if that is not known or
            does not matter: at inference.
        batches: How many batches the running statistics have seen; None if that is not known.
        elements: Of how many numbers a channel's statistics are in training, counting one sample; None if that is not
            known, or does not matter.
        rank: How many axes its input has; None if that is not known.
        rows: How many samples a batch has, if that never changes.
        shrinkage: What one channel costs; None where a channel cannot be taken out by itself.
    """

    name: str
    module: str
    scale: Vector | None
    bias: Vector | None
    mean: Vector | None
    var: Vector | None
    epsilon: float
    dtype: ir.DataType
    before: tuple[Layer, ...] = ()
    after: tuple[Layer, ...] = ()
    training: str = ""
    momentum: float | None = None
    batches: int | None = None
    elements: int | None = None
    rank: int | None = None
    rows: int | None = None
    shrinkage: Shrinkage | None = None

    @cached_property
    def numbers(self) -> Numbers | None:
        """Its parameters, if all are known and it can be computed with them."""
        if self.scale is None or self.bias is None or self.mean is None or self.var is None:
            return None
        numbers = Numbers(self.scale, self.bias, self.mean, self.var, self.epsilon)
        return numbers if numbers.are_sound else None

    @property
    def is_untouched(self) -> bool:
        """Whether the running statistics are those that every framework begins with."""
        if self.mean is None or self.var is None or not self.mean.size:
            return False
        return not self.mean.any() and bool((self.var == 1).all())


@dataclass(frozen=True, eq=False)
class Numbers:
    """The parameters of a BatchNormalization in float64, one for each channel."""

    scale: Vector
    bias: Vector
    mean: Vector
    var: Vector
    epsilon: float

    @property
    def are_sound(self) -> bool:
        """Whether all are finite, and no root is taken of what is not positive."""
        finite = all(np.isfinite(array).all() for array in (self.scale, self.bias, self.mean, self.var))
        return finite and self.scale.size > 0 and bool((self.var + self.epsilon > 0).all())

    @cached_property
    def factor(self) -> Vector:
        """What a channel is multiplied by: scale / √(var + epsilon)."""
        return self.scale / np.sqrt(self.var + self.epsilon)

    @cached_property
    def shift(self) -> Vector:
        """What is added to a channel: bias − mean·factor."""
        return self.bias - self.mean * self.factor

    @cached_property
    def dead(self) -> Mask:
        """Which channels are constants: behind the BatchNormalization they vary by nothing, against the others."""
        spread = np.abs(self.factor) * np.sqrt(np.maximum(self.var, 0))
        found: Mask = spread <= _NOTHING * spread.max()
        return found

    @property
    def swamped(self) -> Mask:
        """Which of the other channels have more epsilon than variance."""
        return ~self.dead & (self.var < self.epsilon)


@dataclass(frozen=True, eq=False)
class FoldedWeight:
    """A weight that took in BatchNormalizations, as the fold would leave it.

    Attributes:
        node: The name of its op.
        op_type: What that is.
        name: Of the weight.
        dtype: In which it is stored, or will be.
        before: float64 [channels, numbers of each]: what it was, one row for each channel that the op writes.
        after: The same, folded.
    """

    node: str
    op_type: str
    name: str
    dtype: ir.DataType
    before: NDArray[np.float64]
    after: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Network:
    """All of it.

    Attributes:
        batch_norms: In the order of the graph.
        kept: The affines that no fold could move, as the planner tells it.
        repairable: The names of those that it could move for a node or a channel more.
        parameters: How many numbers its floating-point constants have.
        weights: Reads the folded weights, one after another: large ones are not all in memory.
    """

    batch_norms: tuple[BatchNorm, ...]
    kept: tuple[Kept, ...]
    repairable: frozenset[str]
    parameters: int
    weights: Callable[[], Iterator[FoldedWeight]]
