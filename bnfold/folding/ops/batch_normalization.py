"""BatchNormalization: as an op that takes in what others move to it, and what makes it an affine at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.folding.answers import Answer, Blocked, Rewrite
from bnfold.folding.nodes import find_input, flag, integer, number, required_input
from bnfold.folding.view import channels

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.folding.view import View

__all__ = ["BatchNormalizationRule", "epsilon_of", "why_no_affine", "why_training"]

_DEFAULT_EPSILON = float(np.float32(1e-5))  # attributes are float32, and so is their default


def epsilon_of(node: ir.Node) -> float:
    """The attribute, or what the operator page says when it is absent."""
    return number(node, "epsilon", _DEFAULT_EPSILON)


def why_no_affine(node: ir.Node, opset: int) -> tuple[str, str] | None:
    """Why a BatchNormalization is not the affine of its running statistics: a reason and a hint, or None.

    Conditions:
        1. The caller of a function sets none of its attributes.
        2. It is at inference. Which mode it is in was said by is_test before opset 7 (and training was the default), by
           the number of outputs before opset 14, and by training_mode since.
        3. It has statistics for each channel, and not for each position: before opset 9, spatial is not 0.
    """
    hint = "exported in training mode: call model.eval() before exporting"
    if any(attribute.is_ref() for attribute in node.attributes.values()):  # condition 1
        return "the caller of the function sets one of its attributes", ""
    if training := why_training(node, opset):  # condition 2
        return f"training mode: {training}", hint
    if opset < 9 and not integer(node, "spatial", 1):  # condition 3
        return "spatial = 0: it has statistics for each position, not for each channel", ""
    return None


def why_training(node: ir.Node, opset: int) -> str | None:
    """Why a BatchNormalization normalises with the statistics of the batch, or may; None at inference."""
    if flag(node, "training_mode"):
        return "it normalises with the statistics of the batch"
    if opset < 7 and not flag(node, "is_test"):
        return "is_test is not set"
    if any(output.name and (output.uses() or output.is_graph_output()) for output in node.outputs[1:]):
        return "its further outputs are used"
    return None


class BatchNormalizationRule:
    """Takes an affine on either side into its own parameters; it stays, with the affine of two.

    Drawing:
        x → BN → scale·y + shift   ⇒   x → BN′
        scale·x + shift → BN → y   ⇒   x → BN′

    Algebra:
        behind:      scale′ = scale·γ                bias′ = scale·β + shift
        in front:    scale′ = γ·scale                mean′ = (mean − shift)/scale
        Where the scale in front is 0: scale′ = 0, and bias′ = β + (shift − mean)·γ/√(var + epsilon).
        The variance stays as it is: a variance of 1 would lose bits.

    Conditions:
        1. It is at inference, and its four parameters are constants.
        2. Each affine varies along the channel axis only.

    Source:
        https://onnx.ai/onnx/operators/onnx__BatchNormalization.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"BatchNormalization"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        in_front (float[N,3,5] x, float[3] scale, float[3] bias, float[3] mean, float[3] var,
                  float[3] scale2, float[3] bias2, float[3] mean2, float[3] var2) => (float[N,3,5] y) {
            h = BatchNormalization (x, scale, bias, mean, var)
            g = BatchNormalization (h, scale2, bias2, mean2, var2)
            y = Sigmoid (g)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        if refusal := why_no_affine(node, view.opset(node)):  # condition 1
            raise Blocked(f"is no affine ({refusal[0]})")
        data, output = required_input(node, 0), node.outputs[0]
        names = ("scale", "bias", "mean", "var")
        gamma, beta, mean, var = (
            view.weight(find_input(node, slot), f"a parameter {name}") for slot, name in enumerate(names, start=1)
        )
        in_scale, in_shift = channels(view.read(data), 1, gamma.size, "input")  # condition 2
        out_scale, out_shift = channels(view.write(output), 1, gamma.size, "output")

        def rewrite() -> Rewrite:
            dead = in_scale == 0
            constant = (in_shift - mean) * gamma / np.sqrt(var + epsilon_of(node))
            new_mean = np.where(dead, mean, (mean - in_shift) / np.where(dead, 1.0, in_scale))
            new_bias = out_scale * np.where(dead, beta + constant, beta) + out_shift
            return Rewrite(node, {1: out_scale * gamma * in_scale, 2: new_bias, 3: new_mean})

        return Answer(rewrite=rewrite)
