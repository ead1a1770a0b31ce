"""The weights of Conv, ConvTranspose and Gemm: constants, or tensors that are computed at run time.

A constant is rewritten. A weight that another op computes, such as the DequantizeLinear of a quantised model, is a
tensor like any other: what is wanted of it is asked of its writer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bnfold.affine import DUST, Affine
from bnfold.folding.answers import Answer, Blocked, Padding, Rewrite
from bnfold.folding.nodes import required_input
from bnfold.folding.reexpression import Reexpression
from bnfold.folding.view import channels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.scaling import Scaled
    from bnfold.folding.view import View

__all__ = ["Change", "Weight", "agree", "asked", "changed_bias", "find_output", "without_dust"]


@dataclass(frozen=True)
class Change:
    """What becomes of some operands of an op.

    Attributes:
        constants: Computes the new constants, by slot.
        carry: What is asked of the operands that are computed at run time.
    """

    constants: Mapping[int, Callable[[], NDArray[np.float64] | Scaled]] = field(default_factory=dict)
    carry: Mapping[ir.Value, Reexpression] = field(default_factory=dict)

    def __or__(self, other: Change) -> Change:
        return Change({**self.constants, **other.constants}, {**self.carry, **other.carry})


@dataclass(frozen=True)
class Weight:
    """The second input of an op that computes y = W·x + b, in whatever order its axes are stored.

    Attributes:
        value: The tensor.
        is_constant: Whether it is a floating-point constant.
        shape: Its shape; the first two axes are numbers.
        group: Into how many groups the channels are divided.
        inputs_first: Whether the channels of the input are on the first axis, and those of the output on the second.
    """

    value: ir.Value
    is_constant: bool
    shape: tuple[int, ...]
    group: int
    inputs_first: bool

    @classmethod
    def of(cls, node: ir.Node, view: View, *, group: int = 1, inputs_first: bool = False) -> Weight:
        """The weight of a node.

        Raises:
            Blocked: It is computed at run time, and its channels are not known.
            ValueError: Its channels cannot be divided into so many groups.
        """
        value = required_input(node, 1)
        constant = view.weight_shape(value)
        shape = constant if constant is not None else view.shape(value)
        if not all(isinstance(size, int) for size in shape[:2]):
            raise Blocked(f"has a weight '{value.name}' that is computed at run time, with channels that are not known")
        if shape[0] % group:  # type: ignore[operator]  # a number
            raise ValueError(f"{shape[0]} channels are not {group} groups")
        return cls(value, constant is not None, shape, group, inputs_first)  # type: ignore[arg-type]  # of the taps only the count

    @property
    def outputs(self) -> int:
        """How many channels the op writes."""
        return self.shape[1] * self.group if self.inputs_first else self.shape[0]

    @property
    def inputs(self) -> int:
        """How many channels the op reads."""
        return self.shape[0] if self.inputs_first else self.shape[1] * self.group

    def numbers(self, view: View) -> NDArray[np.float64]:
        """The weights as [group, outputs / group, inputs / group, taps].

        Raises:
            Blocked: They are known at run time only.
        """
        numbers = view.numbers(self.value)
        if numbers is None:
            raise Blocked(f"has a weight '{self.value.name}' that is known at run time only, behind a shift")
        return self._seen(numbers.reshape(*self.shape[:2], -1))

    def times(self, out_scale: NDArray[np.float64], in_scale: NDArray[np.float64], view: View) -> Change:
        """The weight times a factor for each channel of the output, and one for each channel of the input."""
        first, second = (in_scale, out_scale) if self.inputs_first else (out_scale, in_scale)
        factors = self._along_first(first), self._along_second(second)
        if self.is_constant:
            return Change({1: lambda: view.scaled(self.value, *factors)})
        product = factors[0] * factors[1]
        return asked(self.value, Reexpression.from_write(Affine(product, np.zeros_like(product))), view)

    def _along_first(self, scale: NDArray[np.float64]) -> NDArray[np.float64]:
        return scale.reshape(-1, *[1] * (len(self.shape) - 1))

    def _along_second(self, scale: NDArray[np.float64]) -> NDArray[np.float64]:
        """The second axis holds the channels of one group: where there are several, each row has factors of its own."""
        rows = scale.reshape(self.group, -1)
        if self.group > 1:
            rows = np.repeat(rows, self.shape[0] // self.group, axis=0)
        return rows.reshape(*rows.shape, *[1] * (len(self.shape) - 2))

    def demanded(self, view: View) -> NDArray[np.float64] | None:
        """By which factors, likewise, the rest of the plan multiplies the weight; None if it does not care.

        Raises:
            Blocked: It does something else to it.
        """
        if self.is_constant or view.settled(self.value) is None:
            return None
        affine = view.write(self.value)
        if affine.shift.any() or affine.axes - {0, 1}:
            raise Blocked(f"has a weight '{self.value.name}' that would be changed otherwise than by a scale")
        stored = np.broadcast_to(affine.scale, [*self.shape[:2], *[1] * (len(self.shape) - 2)])
        return self._seen(stored.reshape(*self.shape[:2], 1))[..., 0]

    def _seen(self, stored: NDArray[np.float64]) -> NDArray[np.float64]:
        taps = stored.shape[2]
        first = self.inputs if self.inputs_first else self.outputs
        grouped = stored.reshape(self.group, first // self.group, stored.shape[1], taps)
        return grouped.swapaxes(1, 2) if self.inputs_first else grouped


def find_output(
    weight: Weight,
    output: ir.Value,
    in_scale: NDArray[np.float64],
    added: NDArray[np.float64],
    view: View,
    *,
    bias: ir.Value | None,
    beta: float = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64], Change]:
    """By what the op's output changes: as it is settled, or as a bias or a weight makes it that is settled.

    Args:
        weight: Its weight.
        output: Its output.
        in_scale: The scale of its input, one number for each channel.
        added: What the shift of its input amounts to, one number for each channel of the output.
        view: The plan at hand.
        bias: Its bias, or None.
        beta: By what the bias is multiplied.

    Returns:
        Scale and shift as vectors, and what that asks of the output.

    Raises:
        Blocked: The output cannot make up for what has changed.
    """
    affine = None
    if view.settled(output) is None:
        if bias is not None and view.settled(bias) is not None:
            scale, shift = _of_bias(view.write(bias), weight.outputs, bias)
            affine = Affine.per_channel(scale, beta * shift - scale * added, rank=view.rank(output))
        elif (factors := weight.demanded(view)) is not None:
            scale = _of_weight(factors, in_scale.reshape(weight.group, 1, -1), weight)
            affine = Affine.per_channel(scale, np.zeros_like(scale), rank=view.rank(output))
    if affine is None:
        return *channels(view.write(output), 1, weight.outputs, "output"), Change()
    carried = Change(carry={output: Reexpression.from_write(affine)})
    return *channels(affine, 1, weight.outputs, "output"), carried


def _of_bias(write: Affine, outputs: int, bias: ir.Value) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    vectors = write.vectors(-1, outputs) if write.rank else None
    if vectors is None:
        raise Blocked(f"adds '{bias.name}', which would change along another axis than the channels")
    return vectors


def _of_weight(factors: NDArray[np.float64], in_scale: NDArray[np.float64], weight: Weight) -> NDArray[np.float64]:
    if (in_scale == 0).any():
        raise Blocked("shares its weight, and cannot make up for a scale of 0 in front of it")
    factors = factors / in_scale
    scale = factors[..., :1]
    if (np.abs(factors - scale) > DUST * np.abs(scale)).any():
        raise Blocked(f"has a weight '{weight.value.name}' that would change along the channels of the input")
    return scale.reshape(-1)


def changed_bias(
    node: ir.Node,
    view: View,
    value: ir.Value | None,
    added: NDArray[np.float64],
    scale: NDArray[np.float64],
    shift: NDArray[np.float64],
    *,
    slot: int = 2,
) -> Change:
    """``scale·(bias + added) + shift`` as the bias; nothing where the bias is absent and stays 0.

    Args:
        node: The op.
        view: The plan at hand.
        value: Its bias, or None.
        added: What the shift of the input amounts to, one number for each output channel.
        scale: Applied to the output, likewise.
        shift: Applied to the output, likewise.
        slot: Which input the bias is.

    Raises:
        Blocked: A bias would have to be made, and the type of its numbers is not known.
    """
    constant = scale * added + shift
    if value is None:
        if constant.any() and view.dtype(required_input(node, 1)) is None:
            raise Blocked("would get a bias, whose type is not known")
        return Change({slot: lambda: constant}) if constant.any() else Change()
    old = view.find_weight(value)
    if old is not None:
        return Change({slot: lambda: scale * (old + added) + shift})
    return asked(value, Reexpression.from_write(Affine(scale, constant)), view)


def agree(
    node: ir.Node,
    view: View,
    change: Change,
    tensors: Sequence[ir.Value],
    attributes: Mapping[str, ir.Attr] | None = None,
    *,
    op_type: str | None = None,
    dtype_slot: int = 1,
    bias_behind: NDArray[np.float64] | None = None,
    padding: Padding | None = None,
) -> Answer:
    """The answer of an op whose operands change.

    As long as one of ``tensors`` is open, what is asked of operands assumes that it stays as it is. The last arguments
    are those of ``Rewrite``.
    """

    def change_constants() -> Rewrite:
        constants = {slot: make() for slot, make in change.constants.items()}
        return Rewrite(node, constants, dtype_slot, op_type, attributes or {}, bias_behind, padding)

    new_nodes = int(bias_behind is not None) + int(padding is not None)
    rewrite = change_constants if change.constants or new_nodes else None
    if not change.carry:
        return Answer(rewrite=rewrite, new_nodes=new_nodes)
    waiting = [value for value in tensors if view.settled(value) is None and value not in change.carry]
    same = {value: Reexpression.from_read(Affine.identity(view.rank(value))) for value in waiting}
    return Answer({**same, **change.carry}, rewrite, new_nodes, is_default=bool(waiting))


def asked(value: ir.Value, wanted: Reexpression, view: View) -> Change:
    """What is asked of an operand; nothing where it stays as it is, which it does anyway."""
    if wanted.is_identity and view.settled(value) is None:
        return Change()
    return Change(carry={value: wanted})


def without_dust(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum, and 0 where the two cancel but for the last bits of float64: a shift that was handed on is no bias."""
    total = left + right
    return np.where(np.abs(total) <= DUST * np.abs(left), 0.0, total)
