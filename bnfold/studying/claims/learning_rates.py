"""Claim 2: BatchNorm takes a larger learning rate, and is of no use without one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from bnfold.studying.claim import Cell, Claim, Numbers, Plan, Quantity
from bnfold.studying.data import load_split
from bnfold.studying.drawing import lines, style_of
from bnfold.studying.verdict import Limit, Part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bnfold.studying.runs import Runs

__all__ = ["LearningRates"]

_BASE, _BN, _KAIMING, _ADAM, _ADAM_BN = "SGD", "SGD, BN", "SGD, Kaiming", "Adam", "Adam, BN"
_GOAL = 0.95
_USABLE = 0.9
_LARGER = Limit(3, quick=2)
_FASTER = Limit(0.75, quick=0.9)
_ADAM_SHARE = 1 / 100  # of the rates of SGD


class LearningRates(Claim):
    """BatchNorm allows a larger learning rate and speeds up training; the rate must be raised for that.

    Lecture:
        BatchNorm suppresses covariate shift, which allows a larger learning rate and so speeds up training. With
        BatchNorm, remember to raise the learning rate: else it cannot bring its faster convergence to bear.

    Setup:
        Digits, standardised; 3 hidden layers of 64 ReLUs, batches of 64, plain SGD at a constant rate from 0.003 to
        30. Without BatchNorm, with torch's own initial weights and with Kaiming's; with BatchNorm between Linear and
        ReLU. The same with Adam, at a hundredth of these rates. Speed is how many epochs it takes to get 95 % of the
        test digits right; a rate is usable if the last epoch gets 90 % on average.

    Rule:
        At the core: with BatchNorm the largest usable rate is at least 3 times as large, and the best rate needs at
        most three quarters of the epochs that the best rate without it needs. Also: at the rate that is best without
        it, BatchNorm is not faster (it "must" be raised); it beats Kaiming's initial weights by as much; and with Adam
        the largest usable rate and the epochs gain by as much, too.

    Omits:
        BatchNorm is faster at the same rate already, and the fastest rate is not the largest that it takes: what it
        does is to widen the range of rates that work, at both ends.

        A part of what it is compared with is initial weights that are too small: with Kaiming's the network without
        BatchNorm needs a third fewer epochs.

        Adam hides a part of the effect: it divides each gradient by its own size, and is fast without BatchNorm.
        There, too, the best rate with BatchNorm is no larger one, so that the advice to raise it has no object.

    Reference:
        Ioffe, Szegedy: Batch Normalization, ICML 2015, https://arxiv.org/abs/1502.03167
        Bjorck et al.: Understanding Batch Normalization, NeurIPS 2018, https://arxiv.org/abs/1806.02375
        Kingma, Ba: Adam, ICLR 2015, https://arxiv.org/abs/1412.6980
    """

    number: ClassVar[int] = 2
    arms: ClassVar[tuple[str, ...]] = (_BASE, _BN, _KAIMING, _ADAM, _ADAM_BN)
    axis: ClassVar[str] = "learning rate"
    full: ClassVar[Plan] = Plan(seeds=5, at=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30), epochs=20)
    quick: ClassVar[Plan] = Plan(seeds=2, at=(0.03, 0.1, 0.3, 1, 3, 10), epochs=10)
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("accuracy", "test accuracy after the last epoch", ".1%"),
        Quantity("epochs", "epochs until 95 % of the test digits are right", ".3g"),
    )

    def cells(self, plan: Plan, seed: int = 0) -> tuple[Cell, ...]:
        """Every arm at every rate; Adam at a hundredth of each."""
        return tuple(
            Cell(
                cell.arm, float(f"{cell.at * _ADAM_SHARE:g}") if "Adam" in cell.arm else cell.at, cell.seed, cell.epochs
            )
            for cell in super().cells(plan, seed)
        )

    def measure(self, cell: Cell) -> Numbers:  # noqa: D102 - see Claim
        from bnfold.studying.fitting import epochs_to, fit
        from bnfold.studying.networks import kaiming, mlp

        split = load_split("digits")
        module = mlp(split.features, split.classes, placement="pre" if "BN" in cell.arm else "none")
        if cell.arm == _KAIMING:
            kaiming(module)
        optimizer = "adam" if "Adam" in cell.arm else "sgd"
        found = fit(module, split, rate=cell.at, epochs=cell.epochs, seed=cell.seed, optimizer=optimizer)
        return {
            "losses": found.losses,
            "accuracies": found.accuracies,
            "accuracy": found.accuracies[-1],
            "epochs": epochs_to(_GOAL, found.accuracies),
        }

    def judge(self, runs: Runs) -> tuple[Part, ...]:  # noqa: D102 - see Claim
        larger, faster = _LARGER.of(runs), _FASTER.of(runs)
        usable = {arm: _largest_usable(runs, arm) for arm in runs.arms}
        best = {arm: _fastest(runs, arm) for arm in runs.arms}
        same = runs.mean("epochs", _BN, best[_BASE][1])
        return (
            Part(
                f"BatchNorm allows a learning rate at least {larger:g} times as large",
                f"{usable[_BN]:g} with and {usable[_BASE]:g} without it",
                _is_times(usable[_BN], larger, usable[_BASE]),
                core=True,
            ),
            Part(
                f"at its best rate it needs at most {faster:.0%} of the epochs",
                f"{best[_BN][0]:.1f} epochs at {best[_BN][1]:g}, {best[_BASE][0]:.1f} at {best[_BASE][1]:g} without it",
                _is_share(best[_BN][0], faster, best[_BASE][0]),
                core=True,
            ),
            Part(
                "the rate must be raised: at the rate that is best without it, BatchNorm is not faster",
                f"at {best[_BASE][1]:g}: {same:.1f} epochs with and {best[_BASE][0]:.1f} without it",
                math.isfinite(best[_BASE][0]) and same >= best[_BASE][0],
            ),
            Part(
                f"it needs at most {faster:.0%} of the epochs that Kaiming's initial weights need",
                f"{best[_BN][0]:.1f} epochs, and {best[_KAIMING][0]:.1f} at {best[_KAIMING][1]:g}",
                _is_share(best[_BN][0], faster, best[_KAIMING][0]),
            ),
            Part(
                f"with Adam, too, the largest usable rate is at least {larger:g} times as large",
                f"{usable[_ADAM_BN]:g} with and {usable[_ADAM]:g} without BatchNorm",
                _is_times(usable[_ADAM_BN], larger, usable[_ADAM]),
            ),
            Part(
                f"with Adam, too, BatchNorm needs at most {faster:.0%} of the epochs",
                f"{best[_ADAM_BN][0]:.1f} epochs at {best[_ADAM_BN][1]:g}, {best[_ADAM][0]:.1f} at "
                f"{best[_ADAM][1]:g} without it",
                _is_share(best[_ADAM_BN][0], faster, best[_ADAM][0]),
            ),
        )

    def draw(self, runs: Runs, figure: Figure) -> None:  # noqa: D102 - see Claim
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        lines(left, runs, "accuracy")
        left.set_xscale("log")
        left.set_xlabel("learning rate")
        left.set_ylabel("test accuracy after the last epoch")
        left.legend(loc="lower left", fontsize=8)
        base, raised = _fastest(runs, _BASE)[1], _largest_usable(runs, _BN)
        for place, (arm, rate) in enumerate(((_BASE, base), (_BN, base), (_BN, raised))):
            curve = runs.curve("losses", arm, rate)
            style = {**style_of(min(place, 1)), "linestyle": "--" if place > 1 else "-"}
            right.plot(range(1, len(curve) + 1), curve, label=f"{arm} at {rate:g}", **style)
        right.set_yscale("log")
        right.set_xlabel("epoch")
        right.set_ylabel("training loss")
        right.legend(fontsize=8)


def _largest_usable(runs: Runs, arm: str) -> float:
    """0 where there is none."""
    return max((at for at in runs.places(arm) if runs.mean("accuracy", arm, at) >= _USABLE), default=0.0)


def _fastest(runs: Runs, arm: str) -> tuple[float, float]:
    """The fewest epochs, and the rate of them; infinite where a seed never got there."""
    return min(((runs.mean("epochs", arm, at), at) for at in runs.places(arm)), default=(math.inf, 0.0))


def _is_times(rate: float, times: float, other: float) -> bool:
    """Whether a rate is so many times another: 0.3 is 3 times 0.1, although 3 × 0.1 is more to a computer."""
    return rate > 0 and (rate >= times * other or math.isclose(rate, times * other))


def _is_share(epochs: float, share: float, of: float) -> bool:
    """Whether so many epochs are at most that share of others; what never got there is no share of anything."""
    return math.isfinite(epochs) and epochs <= share * of
