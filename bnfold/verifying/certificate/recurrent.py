"""RNN, GRU and LSTM by the weights of their input: what they write is what it was, whatever is in front of them.

W [directions, gates·hidden, inputs]   B [directions, 2·gates·hidden], of which the first half stands beside W
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bnfold.affine import Affine
from bnfold.verifying.certificate.linear import Linear
from bnfold.verifying.certificate.reading import given, is_standard

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.verifying.certificate.hypotheses import Hypothesis, Reach
    from bnfold.verifying.certificate.reading import Constants

    Array = NDArray[Any]
    Numbers = NDArray[np.float64]

__all__ = ["Recurrent", "recurrent_of"]

_KINDS = frozenset({"GRU", "LSTM", "RNN"})


@dataclass(frozen=True)
class Recurrent(Linear):
    """A recurrent operator; a row is one gate of one hidden number in one direction."""

    @property
    def pins(self) -> bool:
        """Activations are behind the weights."""
        return True

    @property
    def bias_slot(self) -> int:
        """Behind the recurrent weights."""
        return 3

    @property
    def data(self) -> ir.Value | None:
        """The sequence."""
        return self.node.inputs[0]

    def rows(self, array: Array) -> Array:
        """Stored weights as [outputs, inputs, 1]."""
        return array.reshape(-1, array.shape[-1], 1)

    def outgoing(self, scale: Numbers, shift: Numbers, rank: int) -> Affine:
        """What it was."""
        return Affine.identity(rank)

    def along(self, ahead: Reach, outputs: int) -> tuple[list[Hypothesis], list[Hypothesis]]:
        """A gate is behind the weights: nothing passes."""
        return [(np.ones(outputs), False)], [(np.zeros(outputs), False)]

    def bias(self, constants: Constants, outputs: int) -> Numbers | None:
        """What is added beside the input's product."""
        value = given(self.node, 3)
        numbers = np.zeros(2 * outputs) if value is None else constants.numbers(value)
        return None if numbers is None or numbers.size != 2 * outputs else self.bias_of(numbers, outputs)

    def bias_of(self, array: Array, outputs: int) -> Array:
        """The first half of each direction."""
        return self._halves(array, outputs)[:, 0].reshape(-1)

    @property
    def beside(self) -> tuple[int, ...]:
        """The recurrent weights, the states to begin with, and peepholes: what is written is what it was."""
        return (2, 5, 6, 7)

    def changed_beside(self, constants: Constants, theirs: Linear, others: Constants) -> bool:
        """Whether the recurrent half of B changed: a fold may have moved a bias from the one half to the other."""
        old, new = (one.array(given(node, 3)) for one, node in ((constants, self.node), (others, theirs.node)))
        if old is None and new is None:
            return False
        outputs = (old if old is not None else new).size // 2  # type: ignore[union-attr]
        left, right = (
            np.zeros(outputs) if one is None else self._halves(one, outputs)[:, 1].reshape(-1) for one in (old, new)
        )
        return not np.array_equal(left, right)

    def _halves(self, array: Array, outputs: int) -> Array:
        return array.reshape(-1, 2, outputs // (array.shape[0] if array.ndim == 2 else 1))


def recurrent_of(node: ir.Node, constants: Constants) -> Recurrent | None:
    """The recurrent operator that a node is; None if it is none, or its weights are no constants."""
    if not is_standard(node) or node.op_type not in _KINDS or len(node.inputs) < 3:
        return None
    array, bias = constants.array(node.inputs[1]), given(node, 3)
    if array is None or array.ndim != 3 or (bias is not None and not constants.is_constant(bias)):
        return None
    return Recurrent(node, 1, 1, -1, -1)
