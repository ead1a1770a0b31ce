"""Claim 7: BatchNorm hardly changes the final accuracy."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from bnfold.studying.claim import Cell, Claim, Numbers, Plan, Quantity
from bnfold.studying.data import load_split
from bnfold.studying.drawing import SOFT, lines, strips
from bnfold.studying.verdict import Limit, Part
from bnfold.zoo.data import idx

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bnfold.studying.networks import Placement
    from bnfold.studying.runs import Runs

__all__ = ["FinalAccuracy"]

_BN = ", BN"


class _Data(NamedTuple):
    """A data set as the networks see it: ``passes`` are such that each takes about the same time."""

    name: str
    rows: int  # to learn from and to choose the rate with
    passes: float
    standardised: bool = False


_FASHION = {"Fashion-MNIST": _Data("fashion", 10_000, 0.4)}
_DATA = {
    **(_FASHION if idx.is_installed() else {}),
    "MNIST-5k": _Data("mnist5k", 3_750, 1.0),
    "MNIST-5k, standardised": _Data("mnist5k", 3_750, 1.0, standardised=True),
    "digits": _Data("digits", 1_347, 2.0),
}
_LEARN = 0.8  # the share of rows that is learned from; with the rest the rate is chosen
_HARDLY = Limit(0.01, quick=0.02)
_WINDOW = 0.05  # of accuracy, the same for every data set


class FinalAccuracy(Claim):
    """BatchNorm hardly changes the final accuracy.

    Lecture:
        Note: it has been shown that BatchNorm does not significantly raise a model's final accuracy.

    Setup:
        MNIST-5k and digits, and Fashion-MNIST (10,000 rows of it) where it is installed; pixels from 0 to 1, and those
        of MNIST-5k also standardised each by itself, as is done elsewhere in this study. Three hidden layers of 128
        ReLUs, Kaiming's initial weights, batches of 64, plain SGD; with BatchNorm between Linear and ReLU, and without.

        Both are tuned alike: trained at each of five learning rates on 80 % of the training rows until nothing more is
        gained, with the rate chosen by the accuracy on the other 20 %, on average over the seeds. Only then the test
        rows are looked at.

    Rule:
        On each of these, the mean test accuracy with BatchNorm differs from that without it by less than 1 point, in
        either direction, each at its own rate. The claim reproduces if that is so on all, and partly if on some.

    Omits:
        "Hardly" is a matter of what is left to gain. On a small data set, where a network fits every training row
        whatever one does, the noise of the batches regularises a little, and a point is a good part of the errors.

        Both need data that suit them. Where each pixel of MNIST-5k is standardised by itself, those that are rarely
        lit become huge, and both networks get less right; BatchNorm bears that better.

        Without tuning BatchNorm does change the final accuracy, and greatly: at a rate at which the other network falls
        apart. And where a network would not train at all without it, it decides about everything.

    Reference:
        Ioffe, Szegedy: Batch Normalization, ICML 2015, https://arxiv.org/abs/1502.03167
        Zhang, Dauphin, Ma: Fixup Initialization, ICLR 2019, https://arxiv.org/abs/1901.09321
        Xiao, Rasul, Vollgraf: Fashion-MNIST, 2017, https://arxiv.org/abs/1708.07747
    """

    number: ClassVar[int] = 7
    arms: ClassVar[tuple[str, ...]] = tuple(plain + suffix for plain in _DATA for suffix in ("", _BN))
    axis: ClassVar[str] = "learning rate"
    full: ClassVar[Plan] = Plan(seeds=5, at=(0.03, 0.1, 0.3, 1, 3), epochs=30)
    quick: ClassVar[Plan] = Plan(seeds=2, at=(0.1, 0.3, 1), epochs=10)
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("validation", "validation accuracy, which chooses the rate", ".1%"),
        Quantity("accuracy", "test accuracy", ".2%"),
    )
    data: ClassVar[tuple[str, ...]] = tuple(dict.fromkeys(used.name for used in _DATA.values()))

    def cells(self, plan: Plan, seed: int = 0) -> tuple[Cell, ...]:
        """Every arm at every rate; the larger the data set, the fewer passes."""
        return tuple(
            Cell(cell.arm, cell.at, cell.seed, max(1, round(cell.epochs * _data_of(cell.arm).passes)))
            for cell in super().cells(plan, seed)
        )

    def cost(self, cell: Cell) -> float:  # noqa: D102 - see Claim
        return cell.epochs * _data_of(cell.arm).rows / 64 * 0.0006

    def measure(self, cell: Cell) -> Numbers:  # noqa: D102 - see Claim
        from bnfold.studying.fitting import accuracy, fit
        from bnfold.studying.networks import kaiming, mlp

        used = _data_of(cell.arm)
        split = load_split(used.name, standardised=used.standardised, rows=used.rows)
        placement: Placement = "pre" if cell.arm.endswith(_BN) else "none"
        module = mlp(split.features, split.classes, width=128, placement=placement)
        kaiming(module)
        tuning = split.with_validation(int(_LEARN * len(split.inputs)))
        found = fit(module, tuning, rate=cell.at, epochs=cell.epochs, seed=cell.seed)
        return {
            "losses": found.losses,
            "validations": found.accuracies,
            "validation": found.accuracies[-1],
            "accuracy": accuracy(module, split.test_inputs, split.test_targets),
        }

    def judge(self, runs: Runs) -> tuple[Part, ...]:  # noqa: D102 - see Claim
        hardly = _HARDLY.of(runs)
        parts = []
        for plain in _plain(runs):
            rates = {arm: runs.best("validation", arm)[1] for arm in (plain, plain + _BN)}
            without, with_it = (runs.each("accuracy", arm, rate) for arm, rate in rates.items())
            gain = statistics.fmean(with_it) - statistics.fmean(without)
            parts.append(
                Part(
                    f"on {plain}, the accuracy changes by less than {_points(hardly)}",
                    f"by {100 * gain:+.2f}: {statistics.fmean(with_it):.2%} with it, at {rates[plain + _BN]:g}, and "
                    f"{statistics.fmean(without):.2%} without, at {rates[plain]:g}; the seeds lie "
                    f"{_points(max(map(_spread, (with_it, without))))} apart",
                    abs(gain) < hardly,
                )
            )
        return tuple(parts)

    def draw(self, runs: Runs, figure: Figure) -> None:  # noqa: D102 - see Claim
        plains = _plain(runs)
        panels = figure.subplots(2, len(plains), squeeze=False, height_ratios=(2, 1))
        for (top, bottom), plain in zip(panels.T, plains, strict=True):
            arms = (plain, plain + _BN)
            lines(top, runs, "validation", arms)
            chosen = {arm: runs.best("validation", arm) for arm in arms}
            for found, rate in chosen.values():
                top.scatter([rate], [found], s=110, facecolors="none", edgecolors=SOFT)
            top.set_xscale("log")
            top.set_xticks(runs.places(plain), [f"{at:g}" for at in runs.places(plain)], minor=False)
            top.set_xticks([], minor=True)
            top.set_ylim(min(found for found, _ in chosen.values()) - 0.08, 1)
            top.set_title(plain)
            top.set_xlabel("learning rate; the best is ringed")
            dots = {label: runs.each("accuracy", arm, chosen[arm][1]) for label, arm in zip(_NAMES, arms, strict=True)}
            strips(bottom, dots)
            middle = statistics.fmean(number for numbers in dots.values() for number in numbers)
            bottom.set_xlim(middle - _WINDOW / 2, middle + _WINDOW / 2)
            bottom.set_xlabel("test accuracy there, a dot a seed")
        panels[0][0].set_ylabel("validation accuracy")
        panels[0][0].legend(panels[0][0].get_lines(), _NAMES)


_NAMES = ("without BN", "with BN")


def _data_of(arm: str) -> _Data:
    return _DATA[arm.removesuffix(_BN)]


def _plain(runs: Runs) -> tuple[str, ...]:
    return tuple(arm for arm in runs.arms if not arm.endswith(_BN))


def _points(share: float) -> str:
    return f"{100 * share:.2g} point{'' if share == 0.01 else 's'}"


def _spread(numbers: tuple[float, ...]) -> float:
    return max(numbers) - min(numbers)
