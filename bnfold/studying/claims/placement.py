"""Claim 8: where BatchNorm stands in a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.studying.claim import Cell, Claim, Numbers, Plan, Quantity
from bnfold.studying.data import load_split
from bnfold.studying.verdict import Limit, Part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bnfold.studying.networks import Placement
    from bnfold.studying.runs import Runs

__all__ = ["PlacementInTheLayer"]

_NONE, _PRE, _INPUT, _POST = "no BN", "before the activation", "before the Linear", "behind the activation"
_ARMS: dict[str, Placement] = {_NONE: "none", _PRE: "pre", _INPUT: "input", _POST: "post"}
_USABLE = 0.90  # of the test digits right, on average over the seeds
_LESS = Limit(0.01, quick=0.03)


class PlacementInTheLayer(Claim):
    """BatchNorm stands between Linear and activation, or before the Linear; right behind the activation is rare.

    Lecture:
        BatchNorm is usually put between the fully connected layer and the activation (it normalises the output), or
        before the fully connected layer (it normalises the input). Right behind the activation is less common; perhaps
        because, rather than normalise what an activation gives, one might take another activation.

    Setup:
        Digits, standardised; 4 hidden layers of 64 ReLUs, Kaiming's initial weights, batches of 64, plain SGD, at 13
        learning rates from 0.01 to 10. The same first weights and the same order of rows for all four networks of a
        seed. A rate is usable if 90 % of the test digits are right after the last epoch, on average over the seeds.

    Rule:
        At the core: both usual placements work, which is to say that at its best rate each gets at least as much right
        as the network without BatchNorm, up to 1 point. Also, for each of the two: it has more usable rates than the
        placement behind the activation.

    Omits:
        In a chain of layers "before the Linear" and "behind the activation" are almost the same network: behind the
        activation of one layer is before the Linear of the next. They differ at both ends only: at the raw input, and
        in front of the head. What sets a placement apart is thus on which side of the activation it is.

        A rate that suits one placement need not suit another: a comparison at a single rate shows whatever one likes.

        Folding is a matter of placement too: BatchNorm behind a Linear is folded into its weights, and so is one
        in front of it; behind an activation it is folded forward only.

    Reference:
        Ioffe, Szegedy: Batch Normalization, section 3.2, ICML 2015, https://arxiv.org/abs/1502.03167
        He et al.: Identity Mappings in Deep Residual Networks, ECCV 2016, https://arxiv.org/abs/1603.05027
        Mishkin, Sergievskiy, Matas: Systematic evaluation of CNN advances on the ImageNet, 2016, https://arxiv.org/abs/1606.02228
    """

    number: ClassVar[int] = 8
    arms: ClassVar[tuple[str, ...]] = tuple(_ARMS)
    axis: ClassVar[str] = "learning rate"
    full: ClassVar[Plan] = Plan(
        seeds=5, at=(0.01, 0.018, 0.03, 0.056, 0.1, 0.18, 0.3, 0.56, 1, 1.8, 3, 5.6, 10), epochs=20
    )
    quick: ClassVar[Plan] = Plan(seeds=2, at=(0.03, 0.1, 0.3, 1, 3, 5.6, 10), epochs=10)
    quantities: ClassVar[tuple[Quantity, ...]] = (Quantity("accuracy", "test accuracy after the last epoch", ".1%"),)

    def cost(self, cell: Cell) -> float:  # noqa: D102 - see Claim
        return 0.01 * cell.epochs

    def measure(self, cell: Cell) -> Numbers:  # noqa: D102 - see Claim
        from bnfold.studying.fitting import fit
        from bnfold.studying.networks import kaiming, mlp

        split = load_split("digits")
        module = mlp(split.features, split.classes, depth=4, placement=_ARMS[cell.arm])
        kaiming(module)
        found = fit(module, split, rate=cell.at, epochs=cell.epochs, seed=cell.seed)
        return {"losses": found.losses, "accuracies": found.accuracies, "accuracy": found.accuracies[-1]}

    def judge(self, runs: Runs) -> tuple[Part, ...]:  # noqa: D102 - see Claim
        less = _LESS.of(runs)
        best = {arm: runs.best("accuracy", arm) for arm in runs.arms}
        usable = {
            arm: [at for at in runs.places(arm) if runs.mean("accuracy", arm, at) >= _USABLE] for arm in runs.arms
        }
        works = tuple(
            Part(
                f"{arm} it works: its best accuracy is at most {100 * less:g} point{'s' * (less > 0.01)} below that "
                "without BatchNorm",
                f"{best[arm][0]:.2%} at {best[arm][1]:g}, {best[_NONE][0]:.2%} at {best[_NONE][1]:g} without",
                best[arm][0] >= best[_NONE][0] - less,
                core=True,
            )
            for arm in (_PRE, _INPUT)
        )
        wider = tuple(
            Part(
                f"{arm} it has more usable rates than {_POST}",
                f"{_window(usable[arm])}, and {_window(usable[_POST])} {_POST}",
                len(usable[arm]) > len(usable[_POST]),
            )
            for arm in (_PRE, _INPUT)
        )
        return works + wider

    def draw(self, runs: Runs, figure: Figure) -> None:  # noqa: D102 - see Claim
        axes = figure.subplots()
        rates = runs.places()
        means = [[runs.mean("accuracy", arm, at) for at in rates] for arm in runs.arms]
        axes.pcolormesh(means, cmap="cividis", vmin=0, vmax=1, edgecolors="face", linewidth=0.3)
        for row, numbers in enumerate(means):
            for column, number in enumerate(numbers):
                # Neither colour is the page's ink: they stand on the map, which is the same on any page.
                ink = "#101010" if number > 0.5 else "#f4f4f4"
                axes.text(column + 0.5, row + 0.5, f"{100 * number:.0f}", ha="center", va="center", color=ink)
        axes.set_xticks([column + 0.5 for column in range(len(rates))], [f"{at:g}" for at in rates])
        axes.set_yticks([row + 0.5 for row in range(len(means))], runs.arms)
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.set_xlabel("learning rate")
        axes.set_title("test accuracy in %, mean over the seeds")


def _window(rates: list[float]) -> str:
    return f"{len(rates)} rates ({rates[0]:g} to {rates[-1]:g})" if rates else "no rate"
