"""Claim 4: BatchNorm keeps what goes into an activation out of its flat parts."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, ClassVar

from bnfold.studying.claim import Cell, Claim, Numbers, Plan, Quantity
from bnfold.studying.data import load_split
from bnfold.studying.drawing import COLOURS, SOFT
from bnfold.studying.verdict import Limit, Part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bnfold.studying.networks import Placement
    from bnfold.studying.runs import Runs

__all__ = ["Saturation"]

_ARMS: dict[str, Placement] = {
    "without BN": "none",
    "Linear → BN → sigmoid": "pre",
    "BN → Linear → sigmoid": "input",
    "Linear → sigmoid → BN": "post",
}
_BASE, _PRE, _INPUT, _POST = _ARMS
_DEPTH = 4
_RATE = 0.1
_FLAT = 4.0
_MANY = 0.25
_FEW = Limit(0.05, quick=0.08)
_LESS = Limit(0.5, quick=0.6)
_REACH, _BIN = 20, 1  # of the histogram


class Saturation(Claim):
    """BatchNorm keeps what goes into an activation out of its saturated parts.

    Lecture:
        BatchNorm fits the features of each layer to the range that suits the activation, which keeps them from falling
        into the saturated parts of activations, sigmoids first of all, where gradients vanish. Usually it stands
        between the fully connected layer and the activation, or in front of the fully connected layer; right behind an
        activation it is seen less.

    Setup:
        Digits, standardised; 4 hidden layers of 64 sigmoids, weights drawn from N(0, 1). The share of the numbers that
        go into a sigmoid beyond ±4, where its slope is below 7 % of that at 0, over all training digits and layers,
        normalised by batch statistics: before training, and after some epochs of plain SGD at the rate 0.1.

    Rule:
        At the core: without BatchNorm at least a quarter is saturated before training, and with BatchNorm in front of
        the sigmoid at most 5 %. Also: it stays so in training; BatchNorm in front of the Linear halves the share; and
        so does BatchNorm behind the sigmoid.

    Omits:
        Only BatchNorm right in front of the activation decides about what goes into it. In front of the Linear, or
        behind the activation, it makes the Linear's inputs larger, and as many or more of the sigmoids saturated. With
        initial weights that fit the width of the layer, Xavier's say, almost none is saturated without BatchNorm.

        The scale and bias that BatchNorm learns may lead back into saturation, if that serves the loss.

    Reference:
        Ioffe, Szegedy: Batch Normalization, ICML 2015, https://arxiv.org/abs/1502.03167
        Glorot, Bengio: Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010, https://proceedings.mlr.press/v9/glorot10a.html
    """

    number: ClassVar[int] = 4
    arms: ClassVar[tuple[str, ...]] = tuple(_ARMS)
    axis: ClassVar[str] = ""
    full: ClassVar[Plan] = Plan(seeds=5, at=(0,), epochs=30)
    quick: ClassVar[Plan] = Plan(seeds=3, at=(0,), epochs=8)
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("share", "share of saturated sigmoids before training", ".1%"),
        Quantity("share_trained", "the same after training", ".1%"),
        Quantity("accuracy", "test accuracy after training", ".1%"),
    )

    def measure(self, cell: Cell) -> Numbers:  # noqa: D102 - see Claim
        import torch

        from bnfold.studying.fitting import fit
        from bnfold.studying.networks import mlp, normal
        from bnfold.training.probes import preactivations, saturation

        split = load_split("digits")
        placement = _ARMS[cell.arm]
        module = mlp(split.features, split.classes, depth=_DEPTH, activation="sigmoid", placement=placement)
        normal(module, 1.0)
        pooled = torch.cat([values.flatten() for values in preactivations(module, split.inputs).values()])
        edges = torch.arange(-_REACH, _REACH + _BIN, _BIN, dtype=torch.float32)
        counts = torch.histogram(pooled.clamp(-_REACH, _REACH), edges).hist
        before = list(saturation(module, split.inputs, beyond=_FLAT).values())
        found = fit(module, split, rate=_RATE, epochs=cell.epochs, seed=cell.seed)
        module.train()
        after = list(saturation(module, split.inputs, beyond=_FLAT).values())
        return {
            "histogram": [count / len(pooled) for count in counts.tolist()],
            "layers": before,
            "layers_trained": after,
            "share": statistics.fmean(before),
            "share_trained": statistics.fmean(after),
            "accuracy": found.accuracies[-1],
        }

    def judge(self, runs: Runs) -> tuple[Part, ...]:  # noqa: D102 - see Claim
        few, less = _FEW.of(runs), _LESS.of(runs)
        share = {arm: runs.mean("share", arm) for arm in runs.arms}
        trained = runs.mean("share_trained", _PRE)
        return (
            Part(
                f"without BatchNorm at least {_MANY:.0%} of the sigmoids are saturated",
                f"{share[_BASE]:.1%}",
                share[_BASE] >= _MANY,
                core=True,
            ),
            Part(
                f"with BatchNorm in front of the sigmoid at most {few:.0%} are",
                f"{share[_PRE]:.2%}",
                share[_PRE] <= few,
                core=True,
            ),
            Part("that stays so in training", f"{trained:.2%} after training", trained <= few),
            *(
                Part(
                    f"BatchNorm {where} leaves at most {less:.0%} of them",
                    f"{share[arm]:.1%} are saturated",
                    share[arm] <= less * share[_BASE],
                )
                for arm, where in ((_INPUT, "in front of the Linear, too,"), (_POST, "behind the sigmoid, too,"))
            ),
        )

    def draw(self, runs: Runs, figure: Figure) -> None:  # noqa: D102 - see Claim
        import numpy as np

        places = np.arange(-_REACH, _REACH, _BIN) + _BIN / 2
        panels = figure.subplots(1, len(_ARMS), sharey=True)
        for axes, arm, colour in zip(panels, _ARMS, COLOURS, strict=False):
            axes.bar(places, runs.curve("histogram", arm), width=_BIN, color=colour, alpha=0.75, linewidth=0)
            slope = axes.twinx()  # the sigmoid from 0 to 1, whatever the scale of the bars
            slope.plot(places, 1 / (1 + np.exp(-places)), color=SOFT, linewidth=1)
            slope.set_axis_off()
            for edge in (-_FLAT, _FLAT):
                axes.axvline(edge, color=SOFT, linewidth=0.8, linestyle=":")
            axes.set_title(f"{arm}\n{runs.mean('share', arm):.1%} saturated", fontsize=9)
            axes.set_xlabel("input of the sigmoid")
        panels[0].set_ylabel("share of the inputs a bin; grey: the sigmoid")
