"""Claim 3: a network with BatchNorm is less sensitive to its initial weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.studying.claim import Cell, Claim, Numbers, Plan, Quantity
from bnfold.studying.data import load_split
from bnfold.studying.drawing import lines
from bnfold.studying.verdict import Limit, Part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bnfold.studying.runs import Runs

__all__ = ["Initialisation"]

_BASE, _BN = "without BN", "with BN"
_RATE = 0.1
_RATES = (0.01, _RATE, 1.0)
_LEARNT = 0.9
_TIMES = Limit(2, quick=1.5)
_LOSS = Limit(0.01, quick=0.03)


class Initialisation(Claim):
    """BatchNorm makes a network less sensitive to its initial weights.

    Lecture:
        BatchNorm lowers the model's sensitivity to initialisation.

    Setup:
        Digits, standardised; 3 hidden layers of 64 ReLUs, weights drawn from N(0, s²) with s from 0.001 to 10, biases
        0, batches of 64, plain SGD; BatchNorm between Linear and ReLU. At the rate 0.1; and, because a rate that suits
        one s need not suit another, at the best of 0.01, 0.1 and 1, chosen by the test digits for both alike. A
        standard deviation works if 90 % of the test digits are right on average after the last epoch.

    Rule:
        At the core: at the rate 0.1, at least twice as many of the standard deviations work with BatchNorm. Also: at
        the best rate of three it is still so; and where the network without BatchNorm is at its best, BatchNorm costs
        at most 1 point.

    Omits:
        It is the scale of the weights that BatchNorm makes a matter of indifference: the output of BatchNorm is the
        same for w and 10 w. The gradient is not, it is a tenth, and so very large weights turn slowly: the scale of
        the weights has become a learning rate. The last Linear, behind which no BatchNorm stands, stays sensitive.

        Nobody draws weights from N(0, 1): Kaiming's rule gives the network without BatchNorm the scale that works,
        which is here √(2/64) = 0.18.

    Reference:
        Ioffe, Szegedy: Batch Normalization, ICML 2015, section 3.3, https://arxiv.org/abs/1502.03167
        He et al.: Delving Deep into Rectifiers, ICCV 2015, https://arxiv.org/abs/1502.01852
        van Laarhoven: L2 Regularization versus Batch and Weight Normalization, 2017, https://arxiv.org/abs/1706.05350
    """

    number: ClassVar[int] = 3
    arms: ClassVar[tuple[str, ...]] = (_BASE, _BN)
    axis: ClassVar[str] = "standard deviation of the weights"
    full: ClassVar[Plan] = Plan(seeds=5, at=(0.001, 0.01, 0.03, 0.1, 0.3, 1, 3, 10), epochs=15)
    quick: ClassVar[Plan] = Plan(seeds=2, at=(0.001, 0.01, 0.1, 0.3, 1, 10), epochs=6)
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("accuracy", "test accuracy after the last epoch, at the rate 0.1", ".1%"),
        Quantity("tuned", "the same at the best of the rates 0.01, 0.1 and 1", ".1%"),
    )

    def cost(self, cell: Cell) -> float:  # noqa: D102 - see Claim
        return len(_RATES) * super().cost(cell)

    def measure(self, cell: Cell) -> Numbers:  # noqa: D102 - see Claim
        from copy import deepcopy

        from bnfold.studying.fitting import fit
        from bnfold.studying.networks import mlp, normal

        split = load_split("digits")
        module = mlp(split.features, split.classes, placement="pre" if cell.arm == _BN else "none")
        normal(module, cell.at)
        reached = {
            rate: fit(deepcopy(module), split, rate=rate, epochs=cell.epochs, seed=cell.seed).accuracies[-1]
            for rate in _RATES
        }
        return {"accuracy": reached[_RATE], "tuned": max(reached.values())}

    def judge(self, runs: Runs) -> tuple[Part, ...]:  # noqa: D102 - see Claim
        times, loss = _TIMES.of(runs), _LOSS.of(runs)
        count = len(runs.places())
        working = {
            (name, arm): sum(runs.mean(name, arm, at) >= _LEARNT for at in runs.places())
            for name in ("accuracy", "tuned")
            for arm in self.arms
        }
        best, at = runs.best("accuracy", _BASE)
        there = runs.mean("accuracy", _BN, at)
        return (
            *(
                Part(
                    f"{where}, at least {times:g} times as many standard deviations work with BatchNorm",
                    f"{working[name, _BN]} with and {working[name, _BASE]} without it, of {count}",
                    working[name, _BN] >= max(times * working[name, _BASE], 1),
                    core=name == "accuracy",
                )
                for name, where in (("accuracy", "at one rate"), ("tuned", "at the best of three rates"))
            ),
            Part(
                f"where the network without BatchNorm is at its best, BatchNorm costs at most {loss:.0%}",
                f"at {at:g}: {there:.1%} with and {best:.1%} without it",
                there >= best - loss,
            ),
        )

    def draw(self, runs: Runs, figure: Figure) -> None:  # noqa: D102 - see Claim
        panels = figure.subplots(1, 2, sharey=True)
        for axes, name, title in zip(
            panels, ("accuracy", "tuned"), ("learning rate 0.1", "best of the rates 0.01, 0.1 and 1"), strict=True
        ):
            lines(axes, runs, name)
            axes.set_xscale("log")
            axes.set_title(title)
            axes.set_xlabel("standard deviation of the initial weights")
        panels[0].set_ylabel("test accuracy")
        panels[0].legend(loc="center left")
