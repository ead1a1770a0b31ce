"""Claim 1: gradients shrink towards the input, and BatchNorm evens them out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from bnfold.studying.claim import Cell, Claim, Numbers, Plan, Quantity
from bnfold.studying.data import load_split
from bnfold.studying.drawing import style_of
from bnfold.studying.verdict import Limit, Part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bnfold.studying.networks import Placement
    from bnfold.studying.runs import Runs

__all__ = ["GradientsByLayer"]

_ARMS: dict[str, tuple[str, Placement]] = {
    "sigmoid": ("sigmoid", "none"),
    "sigmoid, BN": ("sigmoid", "pre"),
    "ReLU": ("relu", "none"),
    "ReLU, BN": ("relu", "pre"),
}
_DEEP = 8  # the depth that decides
_GONE = Limit(1 / 100, quick=1 / 30)
_EVEN = Limit(3, quick=5)
_SHRUNK = 1 / 2
_THEORY = math.sqrt(math.pi / (math.pi - 1))


class GradientsByLayer(Claim):
    """Gradients shrink towards the input, and BatchNorm evens them out.

    Lecture:
        In the backward pass the layers near the output generally have large gradients and learn fast; those near the
        input have small ones and learn slowly. BatchNorm is mainly there to solve this.

    Setup:
        Digits, standardised. Networks of 4, 8 and 16 hidden layers of 64 units, sigmoid with Xavier's initial weights,
        or ReLU with Kaiming's: each activation with the weights that were made for it. Before any training, the root
        mean square of the loss's gradient over each layer's weights, for one batch of 64 rows; then the decimal
        logarithm of the first hidden layer's over the last one's. BatchNorm stands between Linear and activation.

    Rule:
        Decided at 8 layers. At the core: with sigmoids and without BatchNorm the first layer has at most a hundredth
        of the last one's gradient, and with BatchNorm the two differ by a factor of 3 at most. Also: the deeper, the
        worse; ReLU networks, too, lose half of the gradient on the way; and BatchNorm brings their first and last
        layers closer together.

    Omits:
        That gradients vanish is a matter of the activation and of the initial weights, not of depth alone. Kaiming's
        weights were made so that they do not in a ReLU network, and there is nothing there for BatchNorm to mend.

        With ReLU, BatchNorm turns the imbalance round: towards the input each layer's gradient is about 1.2 times
        larger, and the theory of wide networks has √(π/(π − 1)) = 1.211. Deep networks of this kind train because of
        their residual connections, not because of BatchNorm alone.

        The size of the batch enters as well: rows that look alike to the last layers differ at the first, where their
        gradients cancel in the mean. For a batch of all training rows, tried beside this study, the first layer of both
        ReLU networks has about half as much: without BatchNorm that is less than half of the last one's then, and with
        BatchNorm still more than all of it.

    Reference:
        Ioffe, Szegedy: Batch Normalization, ICML 2015, https://arxiv.org/abs/1502.03167
        Glorot, Bengio: Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010, https://proceedings.mlr.press/v9/glorot10a.html
        He et al.: Delving Deep into Rectifiers, ICCV 2015, https://arxiv.org/abs/1502.01852
        Yang et al.: A Mean Field Theory of Batch Normalization, ICLR 2019, https://arxiv.org/abs/1902.08129
    """

    number: ClassVar[int] = 1
    arms: ClassVar[tuple[str, ...]] = tuple(_ARMS)
    axis: ClassVar[str] = "hidden layers"
    full: ClassVar[Plan] = Plan(seeds=5, at=(4, 8, 16))
    quick: ClassVar[Plan] = Plan(seeds=2, at=(4, 8))
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("imbalance", "log₁₀ of the first hidden layer's gradient over the last one's", "+.2f"),
        Quantity("growth", "factor by which the gradient grows from a layer to the one before it", ".3f"),
    )

    def measure(self, cell: Cell) -> Numbers:  # noqa: D102 - see Claim
        import torch
        from torch.nn import functional

        from bnfold.studying.fitting import BATCH
        from bnfold.studying.networks import kaiming, mlp, xavier
        from bnfold.training.probes import gradient_norms

        split, depth = load_split("digits"), int(cell.at)
        activation, placement = _ARMS[cell.arm]
        module = mlp(split.features, split.classes, depth=depth, activation=activation, placement=placement)
        (kaiming if activation == "relu" else xavier)(module)
        rows = torch.randperm(len(split.inputs))[:BATCH]
        loss = functional.cross_entropy(module(split.inputs[rows]), split.targets[rows])
        norms = gradient_norms(module, loss)
        gradients = [norms[f"linear{number}.weight"] for number in range(1, depth + 1)]
        imbalance = math.log10(gradients[0] / gradients[-1])
        return {"gradients": gradients, "imbalance": imbalance, "growth": 10 ** (imbalance / (depth - 1))}

    def judge(self, runs: Runs) -> tuple[Part, ...]:  # noqa: D102 - see Claim
        gone, even = _GONE.of(runs), _EVEN.of(runs)
        share = {arm: 10 ** runs.mean("imbalance", arm, _DEEP) for arm in runs.arms}
        shares = [10 ** runs.mean("imbalance", "sigmoid", depth) for depth in runs.places()]
        uneven = {arm: max(number, 1 / number) for arm, number in share.items()}
        return (
            Part(
                f"without BatchNorm the first of 8 sigmoid layers has at most {_ratio(gone)} of the last's gradient",
                _ratio(share["sigmoid"]),
                share["sigmoid"] <= gone,
                core=True,
            ),
            Part(
                f"with BatchNorm they differ by a factor of {even:g} at most",
                f"{uneven['sigmoid, BN']:.2f}",
                uneven["sigmoid, BN"] <= even,
                core=True,
            ),
            Part(
                "the deeper, the worse",
                ", ".join(
                    f"{_ratio(number)} at {depth:g}" for number, depth in zip(shares, runs.places(), strict=True)
                ),
                shares == sorted(shares, reverse=True),
            ),
            Part(
                f"it is so in general: with ReLU, too, the first layer has at most {_ratio(_SHRUNK)} of the last one's",
                f"{share['ReLU']:.2f} of it with Kaiming's initial weights",
                share["ReLU"] <= _SHRUNK,
            ),
            Part(
                "BatchNorm evens out the gradients of a ReLU network",
                f"first over last: {share['ReLU']:.2f} without and {share['ReLU, BN']:.2f} with it, "
                f"{runs.mean('growth', 'ReLU, BN', _DEEP):.3f} a layer (in theory {_THEORY:.3f})",
                uneven["ReLU, BN"] < uneven["ReLU"],
            ),
        )

    def draw(self, runs: Runs, figure: Figure) -> None:  # noqa: D102 - see Claim
        depth = runs.places()[-1]
        panels = figure.subplots(1, 2, sharey=True)
        for axes, activation, weights in zip(panels, ("sigmoid", "ReLU"), ("Xavier", "Kaiming"), strict=True):
            for index, (arm, label) in enumerate(((activation, "without BN"), (f"{activation}, BN", "with BN"))):
                layers = range(1, int(depth) + 1)
                style = style_of(index)
                for curve in runs.curves("gradients", arm, depth):
                    axes.plot(layers, curve, color=style["color"], alpha=0.3, linewidth=0.8)
                axes.plot(layers, runs.curve("gradients", arm, depth), label=label, **style)
            axes.set_yscale("log")
            axes.set_title(f"{activation}, {depth:g} layers, {weights}'s initial weights")
            axes.set_xlabel("hidden layer, from input to output")
        panels[0].set_ylabel("gradient of the weights (RMS)")
        panels[0].legend()


def _ratio(share: float) -> str:
    """As one over a number with two digits that count."""
    number = 1 / share
    return f"1/{round(number, 1 - math.floor(math.log10(number))):,.0f}"
