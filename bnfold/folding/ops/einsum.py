"""Einsum of data and a constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.affine import Affine
from bnfold.folding.answers import Blocked, Choice
from bnfold.folding.nodes import required_input, text
from bnfold.folding.ops.broadcasting import without_leading_ones
from bnfold.folding.ops.weights import Change, agree, asked, without_dust
from bnfold.folding.reexpression import Reexpression

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.answers import Answer
    from bnfold.folding.view import View

__all__ = ["EinsumRule"]


class EinsumRule:
    """Absorbs a scale on either side, along the labels of its constant; a shift is handed on, as MatMul does.

    Drawing:
        x → Einsum(W) → scale·y                    ⇒   x → Einsum(W′)
        scale·x + shift → Einsum(W) → y            ⇒   x → Einsum(W′) → y + shift′

    Algebra:
        For y[i, j] = Σ_k x[i, k]·W[k, j], where each of i, j, k stands for any labels (and W may have some of i, too):
        behind:      W′ = W·scale, along the labels that y and W share
        in front:    W′ = W·scale, along the labels that x and W share        shift′ = Σ_k shift[i, k]·W[k, j]

    Conditions:
        1. There are two operands, of which one is a constant, or quantised; no ellipsis, and no label twice in one.
        2. The scale varies along labels of the constant only, which has the whole size along them.
        3. A shift in front is summed with weights: every label that is summed over is one of the constant.
        4. A shift that stays goes to the readers, or into a new Add.

    Source:
        https://onnx.ai/onnx/operators/onnx__Einsum.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Einsum"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0, 1})
    examples: ClassVar[tuple[str, ...]] = (
        """
        behind (float[N,7,5] x, float[5,4] w, float[4,1] b, float[4] scale, float[4] bias, float[4] mean, float[4] var)
                => (float[N,4,7] y) {
            product = Einsum <equation = "nlk, kc -> ncl"> (x, w)
            h = Add (product, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        """
        in_front (float[N,5,7] x, float[4,5] w, float[4] b, float[5] scale, float[5] bias, float[5] mean, float[5] var)
                => (float[N,7,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            product = Einsum <equation = "oi,nil->nlo"> (w, n)
            y = Add (product, b)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer | Choice:  # noqa: D102 - see Rule
        labels = _Labels.of(node, view)  # condition 1
        operand, data = required_input(node, labels.slot), required_input(node, 1 - labels.slot)
        output = node.outputs[0]
        constant, weight = view.find_weight(operand), labels.numbers
        read = view.read(data)
        in_scale = _along(read.scale, labels.data, labels.weight, weight)  # condition 2
        added = _added(read.shift, labels, weight)
        may_add = view.new_nodes_allowed and (constant is not None or view.dtype(operand) is not None)

        def scaled(out_scale: NDArray[np.float64]) -> Change:
            factors = in_scale * _along(out_scale, labels.output, labels.weight, weight)  # condition 2
            if constant is not None:
                return Change({labels.slot: lambda: constant * factors})
            return asked(operand, Reexpression.from_write(Affine(factors, np.zeros_like(factors))), view)

        def with_bias(out_scale: NDArray[np.float64], bias: NDArray[np.float64]) -> Answer:
            if not bias.any():
                return agree(node, view, scaled(out_scale), (data, output))
            if not may_add:  # condition 4
                raise Blocked("has no bias that could take the shift in")
            behind = without_leading_ones(bias)
            tensors = (data, output)
            return agree(node, view, scaled(out_scale), tensors, dtype_slot=labels.slot, bias_behind=behind)

        ones = np.ones((1,) * len(labels.output))
        if added.any() and view.settled(output) is None:  # condition 4
            shift = Change(carry={output: Reexpression.from_read(Affine(ones, added))})
            handed_on = agree(node, view, scaled(ones) | shift, (data, output))
            return Choice((handed_on, with_bias(ones, added))) if may_add else handed_on
        write = view.write(output)
        return with_bias(write.scale, without_dust(write.scale * added, write.shift))


@dataclass(frozen=True)
class _Labels:
    """The equation of one data operand and one constant.

    Attributes:
        slot: Which operand is the constant.
        data: The labels of the other one, in order.
        weight: The labels of the constant.
        output: The labels of the output.
        numbers: The constant.
    """

    slot: int
    data: str
    weight: str
    output: str
    numbers: NDArray[np.float64]

    @classmethod
    def of(cls, node: ir.Node, view: View) -> _Labels:
        equation = text(node, "equation", "").replace(" ", "")
        inputs, arrow, output = equation.partition("->")
        operands = inputs.split(",")
        if len(operands) != 2:  # condition 1
            raise Blocked(f"has {len(operands)} operands")
        if "." in equation:  # condition 1
            raise Blocked(f"has an ellipsis in its equation {equation}")
        if not arrow:  # what appears once, in alphabetical order
            output = "".join(sorted(label for label in set("".join(operands)) if "".join(operands).count(label) == 1))
        if any(len(set(labels)) < len(labels) for labels in (*operands, output)):  # condition 1
            raise Blocked(f"has a label twice in one operand of its equation {equation}")
        for find in (view.find_weight, view.numbers):
            for slot in (1, 0):
                numbers = find(node.inputs[slot])
                if numbers is not None:
                    return cls(slot, operands[1 - slot], operands[slot], output, numbers)
        raise Blocked("multiplies two tensors that are both computed at run time")


def _along(array: NDArray[np.float64], labels: str, wanted: str, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """What varies along ``labels`` as an array that broadcasts against the constant."""
    varying = {label: size for label, size in zip(labels, array.shape, strict=True) if size > 1}
    sizes = dict(zip(wanted, weight.shape, strict=True))
    if foreign := [label for label, size in varying.items() if sizes.get(label) != size]:  # condition 2
        raise Blocked(f"has a constant that does not vary along {', '.join(foreign)}, as the affine does")
    shape = [varying.get(label, 1) for label in wanted]
    order = sorted(varying, key=wanted.index)
    reduced = array.reshape([varying[label] for label in labels if label in varying])
    kept = [label for label in labels if label in varying]
    return reduced.transpose([kept.index(label) for label in order]).reshape(shape)


def _added(shift: NDArray[np.float64], labels: _Labels, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a shift in front amounts to, as an array that broadcasts against the output."""
    if not shift.any():  # 0 times an infinite weight is no 0
        return np.zeros((1,) * len(labels.output))
    sizes = dict(zip(labels.weight, weight.shape, strict=True))
    for label in labels.data:
        if label not in labels.output and sizes.get(label, 1) == 1:  # condition 3
            raise Blocked(f"sums over {label}, along which its constant does not vary: carries no shift")
    full = [max(sizes.get(label, 1), size) for label, size in zip(labels.data, shift.shape, strict=True)]
    equation = f"{labels.data},{labels.weight}->{labels.output}"
    added: NDArray[np.float64] = np.einsum(equation, np.broadcast_to(shift, full), weight)
    return added
