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
_GONE = Limit(-2.0, quick=-1.5)
_EVEN = Limit(0.5, quick=0.7)
_SHRUNK = -0.3
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
        of the last one's gradient, and with BatchNorm the two differ by less than a factor of 3 (10^0.5). Also: the deeper,
        the worse; the same holds for ReLU, which shrinks by a half at least (10^-0.3); and BatchNorm brings the two layers of a
        ReLU network closer together.

    Omits:
        That gradients vanish is a matter of the activation and of the initial weights, not of depth alone. Kaiming's
        weights were made so that they do not in a ReLU network, and there is nothing there for BatchNorm to mend.

        With ReLU, BatchNorm turns the imbalance round: towards the input each layer's gradient is about 1.2 times
        larger, and the theory of wide networks has √(π/(π − 1)) = 1.211. Deep networks of this kind train because of
        their residual connections, not because of BatchNorm alone.

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
        at_eight = {arm: runs.mean("imbalance", arm, _DEEP) for arm in runs.arms}
        by_depth = [runs.mean("imbalance", "sigmoid", depth) for depth in runs.places()]
        depths = ", ".join(f"{depth:g}" for depth in runs.places())
        return (
            Part(
                f"with sigmoids and without BatchNorm, the first of 8 layers has at most 10^{gone:g} of the last "
                "one's gradient",
                f"10^{at_eight['sigmoid']:+.2f}",
                at_eight["sigmoid"] <= gone,
                core=True,
            ),
            Part(
                f"with BatchNorm, they differ by less than 10^±{even:g}",
                f"10^{at_eight['sigmoid, BN']:+.2f}",
                abs(at_eight["sigmoid, BN"]) < even,
                core=True,
            ),
            Part(
                "the deeper, the worse",
                f"10^{', 10^'.join(f'{number:+.1f}' for number in by_depth)} at {depths} layers",
                by_depth == sorted(by_depth, reverse=True),
            ),
            Part(
                f"it is so in general: with ReLU, too, the first layer has at most 10^{_SHRUNK:g} of the last one's",
                f"10^{at_eight['ReLU']:+.2f} with Kaiming's initial weights",
                at_eight["ReLU"] <= _SHRUNK,
            ),
            Part(
                "BatchNorm evens out the gradients of a ReLU network",
                f"10^{at_eight['ReLU']:+.2f} without and 10^{at_eight['ReLU, BN']:+.2f} with it: × "
                f"{runs.mean('growth', 'ReLU, BN', _DEEP):.3f} a layer, {_THEORY:.3f} in theory",
                abs(at_eight["ReLU, BN"]) < abs(at_eight["ReLU"]),
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
