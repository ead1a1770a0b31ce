"""Claim 6: BatchNorm regularises somewhat."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from bnfold.studying.claim import Cell, Claim, Numbers, Plan, Quantity
from bnfold.studying.data import load_split
from bnfold.studying.drawing import COLOURS, SOFT, lines
from bnfold.studying.verdict import Limit, Part

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from bnfold.studying.data import Split
    from bnfold.studying.networks import Placement
    from bnfold.studying.runs import Runs

__all__ = ["Regularisation"]

_BASE, _GHOST = "without BN", "ghost BN"
_BATCH = 128
_RATE = 0.03
_WRONG = 0.4
_FITTED = 0.9  # of the rows whose labels are right: where arms are compared
_SMALL, _SMALLEST = 4, 2
_SLOPE, _NEAR = -0.5, Limit(0.1, quick=0.2)
_MEMORISED = Limit(0.5, quick=0.7)
_GAIN = 0.01
_ERRORS = 2  # standard errors that a gain is at least; a quick run has too few seeds to tell


class Regularisation(Claim):
    """BatchNorm suppresses overfitting somewhat, by the noise of its batches.

    Lecture:
        BatchNorm has some effect against overfitting. It is like denoising the data (which is the opposite of another
        lecturer's view, adding noise): the network attends to trends that change little from batch to batch, which are
        true rules in general, and neglects the noise of each batch.

    Setup:
        Digits, standardised, 40 % of the training labels wrong; 2 hidden layers of 128 ReLUs, SGD with batches of 128
        at the rate 0.03. What changes is the group of rows that BatchNorm normalises together, from 2 to all 128 of a
        batch (ghost BatchNorm): the batches and steps of SGD stay the same. Without BatchNorm as well.

        Memorised is the share of the wrong labels that the network gives back at the end. The accuracy on the test
        digits, whose labels are right, is compared where each network has fitted 90 % of the right labels, between two
        epochs if need be: one that learns more slowly overfits later. One that never gets there counts with its last
        epoch.

        The noise: how far, before training, the mean of a group lies from that of all rows, in standard deviations.

    Rule:
        At the core: the noise falls with the group like its size to the power −0.5 ± 0.1, and with groups of 4 at most
        half as many wrong labels are memorised as with groups of 128. Also, at the same fit: groups of 4 gain at least
        1 point on groups of 128; so does BatchNorm over the whole batch on no BatchNorm; both gains are at least 2
        standard errors; and what little noise cannot do, more can: groups of 2 are as good as groups of 4, within 1
        point.

    Omits:
        It does add noise, as the other lecturer has it: the smaller the batch, the more. With the large batches of
        today there is hardly any left.

        BatchNorm also makes a network learn faster, and wrong labels are learnt faster, too: after the same number of
        epochs, the network with BatchNorm over whole batches has memorised far more of them than the one without.
        Where it regularises, that is the noise, and not the normalisation.

        Memorising less is not the same as knowing more: the network with noise learns everything later. Who trains to
        the end gains much by noise, because it delays what comes last, the wrong labels; who stops in time, as at the
        same fit here, gains little. With groups of 2 rows noise destroys what is to be learnt.

    Reference:
        Hoffer, Hubara, Soudry: Train longer, generalize better, NeurIPS 2017, https://arxiv.org/abs/1705.08741
        Luo et al.: Towards Understanding Regularization in Batch Normalization, ICLR 2019, https://arxiv.org/abs/1809.00846
        Zhang et al.: Understanding deep learning requires rethinking generalization, ICLR 2017, https://arxiv.org/abs/1611.03530
    """

    number: ClassVar[int] = 6
    arms: ClassVar[tuple[str, ...]] = (_BASE, _GHOST)
    axis: ClassVar[str] = "rows normalised together"
    full: ClassVar[Plan] = Plan(seeds=8, at=(2, 4, 8, 16, 32, 64, 128), epochs=150)
    quick: ClassVar[Plan] = Plan(seeds=2, at=(2, 4, 16, 128), epochs=50)
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("memorised", "share of the wrong labels that is memorised after the last epoch", ".1%"),
        Quantity("matched", "test accuracy where 90 % of the right labels are fitted", ".1%"),
        Quantity("fitted", "share of the right labels that is fitted there, or at the end", ".1%"),
        Quantity("accuracy", "test accuracy after the last epoch", ".1%"),
        Quantity("noise", "noise of a group's mean, in standard deviations", ".3f"),
    )

    def cells(self, plan: Plan, seed: int = 0) -> tuple[Cell, ...]:
        """Every group; without BatchNorm once a seed, at the whole batch."""
        return tuple(cell for cell in super().cells(plan, seed) if cell.arm == _GHOST or cell.at == _BATCH)

    def cost(self, cell: Cell) -> float:  # noqa: D102 - see Claim
        return cell.epochs * (0.02 + 0.16 / cell.at)

    def measure(self, cell: Cell) -> Numbers:  # noqa: D102 - see Claim

        from bnfold.studying.networks import mlp
        from bnfold.training.ghost import GhostBatchNorm

        split = load_split("digits")
        group = int(cell.at)

        def norm(features: int) -> nn.Module:
            return GhostBatchNorm(features, group)

        placement: Placement = "none" if cell.arm == _BASE else "pre"
        module = mlp(split.features, split.classes, width=128, depth=2, placement=placement, norm=norm)
        noise = {"noise": _noise(module, split, group)} if cell.arm == _GHOST else {}
        return {**noise, **_memorise(module, split, cell)}

    def judge(self, runs: Runs) -> tuple[Part, ...]:  # noqa: D102 - see Claim
        near, share = _NEAR.of(runs), _MEMORISED.of(runs)
        slope = _slope(runs)
        memorised = {group: runs.mean("memorised", _GHOST, group) for group in (_SMALL, _BATCH)}
        matched = {group: runs.mean("matched", _GHOST, group) for group in (_SMALLEST, _SMALL)}
        return (
            Part(
                f"the noise is the group's size to the power {_SLOPE:g} ± {near:g}",
                f"{slope:.2f}",
                abs(slope - _SLOPE) <= near,
                core=True,
            ),
            Part(
                f"with groups of {_SMALL}, at most {share:.0%} as many wrong labels are memorised",
                f"{memorised[_SMALL]:.1%}, and {memorised[_BATCH]:.1%} with groups of {_BATCH}",
                memorised[_SMALL] <= share * memorised[_BATCH],
                core=True,
            ),
            _gains(runs, f"groups of {_SMALL} beat groups of {_BATCH}", (_GHOST, _BATCH), (_GHOST, _SMALL)),
            _gains(runs, f"BatchNorm over the batch of {_BATCH} beats none", (_BASE, _BATCH), (_GHOST, _BATCH)),
            Part(
                f"groups of {_SMALLEST} are as good as groups of {_SMALL}, within {_GAIN:.0%}",
                f"{matched[_SMALLEST]:.1%} and {matched[_SMALL]:.1%}",
                matched[_SMALLEST] >= matched[_SMALL] - _GAIN,
            ),
        )

    def draw(self, runs: Runs, figure: Figure) -> None:  # noqa: D102 - see Claim
        left, middle, right = figure.subplots(1, 3)
        places = runs.places(_GHOST)
        for axes, name, title in (
            (left, "memorised", "wrong labels memorised"),
            (middle, "matched", "test accuracy at 90 % fit"),
        ):
            lines(axes, runs, name, (_GHOST,))
            axes.axhline(runs.mean(name, _BASE), color=COLOURS[1], linestyle="--", label=_BASE)
            axes.set_title(title)
        lines(right, runs, "noise", (_GHOST,))
        first = runs.mean("noise", _GHOST, places[0])
        law = [first * math.sqrt(places[0] / at) for at in places]
        right.plot(places, law, color=SOFT, linestyle="--", label="1/√rows")
        right.set_title("noise of a group's mean")
        for axes in (left, right):
            axes.legend()
        for axes in (left, middle, right):
            axes.set_xscale("log", base=2)
            axes.set_xticks(places, [f"{at:g}" for at in places])
            axes.set_xlabel("rows normalised together")


def _gains(runs: Runs, who: str, over: tuple[str, float], of: tuple[str, float]) -> Part:
    gain, error = runs.gain("matched", over, of)
    numbers = [runs.mean("matched", *arm) for arm in (of, over)]
    chance = "" if runs.quick else f", and by {_ERRORS} standard errors"
    return Part(
        f"at the same fit, {who} by {100 * _GAIN:g} point at least{chance}",
        f"{numbers[0]:.1%} and {numbers[1]:.1%}: {100 * gain:+.1f} ± {100 * error:.1f} points",
        gain >= _GAIN and (runs.quick or gain >= _ERRORS * error),
    )


def _slope(runs: Runs) -> float:
    """Of the logarithm of the noise over that of the group's size, by least squares."""
    points = [(math.log(at), math.log(runs.mean("noise", _GHOST, at))) for at in runs.places(_GHOST)]
    across, up = (sum(values) / len(points) for values in zip(*points, strict=True))
    return float(sum((x - across) * (y - up) for x, y in points) / sum((x - across) ** 2 for x, _ in points))


def _noise(module: nn.Module, split: Split, group: int) -> float:
    """How far the means of groups lie from that of all, in standard deviations, over the units of the first layer."""
    import torch

    with torch.no_grad():
        values = module.get_submodule("linear1")(split.inputs[torch.randperm(len(split.inputs))])
    spread, mean = torch.std_mean(values, 0)
    live = spread > 0
    groups = values[: len(values) // group * group].unflatten(0, (-1, group)).mean(1)
    return float(((groups - mean)[:, live] / spread[live]).square().mean().sqrt())


def _memorise(module: nn.Module, split: Split, cell: Cell) -> dict[str, float | list[float]]:
    """Train with wrong labels; what of them is memorised, and how the true labels of test rows fare."""
    import dataclasses

    import torch

    from bnfold.studying.fitting import accuracy, fit

    wrong = torch.rand(len(split.targets)) < _WRONG
    other = (split.targets + torch.randint(1, split.classes, split.targets.shape)) % split.classes
    labels: Tensor = torch.where(wrong, other, split.targets)
    noisy = dataclasses.replace(split, targets=labels)
    fits: list[float] = []
    memorised: list[float] = []

    def look(module: nn.Module) -> None:
        fits.append(accuracy(module, split.inputs[~wrong], labels[~wrong]))
        memorised.append(accuracy(module, split.inputs[wrong], labels[wrong]))

    found = fit(module, noisy, rate=_RATE, epochs=cell.epochs, seed=cell.seed, batch=_BATCH, after=look)
    matched, fitted = _at_fit(fits, found.accuracies)
    return {
        "fits": fits,
        "memorising": memorised,
        "memorised": memorised[-1],
        "fitted": fitted,
        "matched": matched,
        "accuracy": found.accuracies[-1],
    }


def _at_fit(fits: list[float], accuracies: list[float]) -> tuple[float, float]:
    """The accuracy at which 90 % is fitted, on the line between two epochs, and what is fitted there."""
    after = next((number for number, share in enumerate(fits) if share >= _FITTED), None)
    if not after:  # never, or at the end of the first epoch already
        place = -1 if after is None else 0
        return accuracies[place], fits[place]
    share = (_FITTED - fits[after - 1]) / (fits[after] - fits[after - 1])
    return accuracies[after - 1] + share * (accuracies[after] - accuracies[after - 1]), _FITTED
