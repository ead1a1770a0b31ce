"""Claim 9: BatchNorm and Dropout in series."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.studying.claim import Cell, Claim, Numbers, Plan, Quantity
from bnfold.studying.data import load_split
from bnfold.studying.drawing import SOFT, strips, style_of
from bnfold.studying.verdict import Limit, Part

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from bnfold.studying.runs import Runs

__all__ = ["DropoutInSeries"]

_PLAIN, _DROPOUT = "neither", "Dropout in each layer"
_BN, _SERIES, _HEAD = "BN", "BN, Dropout in each layer", "BN, Dropout at the head"
_DEPTH, _SHARE = 4, 0.5
_ROWS = 512  # few, so that there is something to regularise
_NOTHING = Limit(0.005, quick=0.02)
_HARM = Limit(0.01, quick=0.02)
_SHIFTED, _STILL = 0.9, 0.9


class DropoutInSeries(Claim):
    """BatchNorm and Dropout in series in each layer do not help; Dropout at the head does no harm.

    Lecture:
        It is not advised to put BatchNorm and Dropout in series behind the same layer: BatchNorm has a regularising
        effect already, from the noise of the batches, so that Dropout on top does little; and Dropout disturbs
        BatchNorm's estimates of mean and variance. But they can be used in different places of the same network, and
        Dropout behind the fully connected layers near the output is still recommended.

    Setup:
        512 of the digits, standardised; 4 hidden layers of 64 ReLUs, Kaiming's initial weights, batches of 64, plain
        SGD. BatchNorm stands between Linear and ReLU; a Dropout of one half behind every ReLU, or behind the last one
        only. The rest of the training rows chooses the learning rate of each network, out of five; the test rows
        judge it.

        Variance shift: the variance of a BatchNorm's input at inference, over the running variance that it is divided
        by; the mean over the channels, at the chosen rate.

    Rule:
        At the core: Dropout in each layer raises the accuracy of the network with BatchNorm by less than half a point;
        and Dropout at the head lowers it by less than 1 point. Also: behind Dropout the variance shifts to less than
        0.9; without Dropout in front it does not; and BatchNorm is the reason that Dropout does little: without
        BatchNorm, Dropout in each layer gains more than with it.

    Omits:
        How much Dropout costs depends on the rate and on how long one trains: in each layer it slows training down, and
        at a rate that is good for the others, or after a few epochs, it looks far worse than it is. Here each network
        has its own rate.

        The shift is there, and yet costs hardly any accuracy at the rates that are chosen here: all channels of a layer
        shift alike, and the largest score stays the largest. Where training is not done, at a small rate, it costs
        several points. The tables have the accuracy with statistics that were computed again without Dropout.

        In such a small network Dropout in each layer may do harm with and without BatchNorm alike; then it is its share
        that is too large, and BatchNorm is not to blame.

    Reference:
        Li et al.: Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift, CVPR 2019, https://arxiv.org/abs/1801.05134
        Srivastava et al.: Dropout, JMLR 2014, https://jmlr.org/papers/v15/srivastava14a.html
    """

    number: ClassVar[int] = 9
    arms: ClassVar[tuple[str, ...]] = (_PLAIN, _DROPOUT, _BN, _SERIES, _HEAD)
    axis: ClassVar[str] = "learning rate"
    full: ClassVar[Plan] = Plan(seeds=10, at=(0.03, 0.1, 0.3, 1, 3), epochs=80)
    quick: ClassVar[Plan] = Plan(seeds=2, at=(0.1, 0.3, 1), epochs=30)
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("validation", "validation accuracy, which chooses the rate", ".1%"),
        Quantity("accuracy", "test accuracy", ".1%"),
        Quantity("recomputed", "test accuracy with statistics computed again, without Dropout", ".1%"),
        Quantity("shift", "variance at inference over running variance, mean of the 2nd to 4th BatchNorm", ".2f"),
    )

    def cost(self, cell: Cell) -> float:  # noqa: D102 - see Claim
        return 0.006 * cell.epochs

    def measure(self, cell: Cell) -> Numbers:  # noqa: D102 - see Claim
        import statistics

        import torch

        from bnfold.studying.fitting import BATCH, accuracy, fit
        from bnfold.training.shift import variance_shift
        from bnfold.training.statistics import recompute_statistics

        split = load_split("digits")
        module, tuning = _network(cell.arm, split.features, split.classes), split.with_validation(_ROWS)
        found = fit(module, tuning, rate=cell.at, epochs=cell.epochs, seed=cell.seed)
        numbers: dict[str, float | list[float]] = {
            "losses": found.losses,
            "validations": found.accuracies,
            "validation": found.accuracies[-1],
            "accuracy": accuracy(module, split.test_inputs, split.test_targets),
        }
        if cell.arm not in (_PLAIN, _DROPOUT):
            batches = torch.split(tuning.inputs, BATCH)
            shifts = [ratio.mean().item() for ratio in variance_shift(module, batches).values()]
            recompute_statistics(module, batches, layer_by_layer=True)
            recomputed = accuracy(module, split.test_inputs, split.test_targets)
            numbers |= {"shifts": shifts, "shift": statistics.fmean(shifts[1:]), "recomputed": recomputed}
        return numbers

    def judge(self, runs: Runs) -> tuple[Part, ...]:  # noqa: D102 - see Claim
        nothing, harm = _NOTHING.of(runs), _HARM.of(runs)
        rates = _rates(runs)
        found = {arm: runs.mean("accuracy", arm, rate) for arm, rate in rates.items()}
        shift = {arm: runs.mean("shift", arm, rates[arm]) for arm in (_BN, _SERIES)}
        gain, plain_gain = found[_SERIES] - found[_BN], found[_DROPOUT] - found[_PLAIN]
        return (
            Part(
                f"with BatchNorm, Dropout in each layer gains less than {100 * nothing:g} points",
                f"{100 * gain:+.2f}: {_seen(found, rates, _SERIES)}, and {_seen(found, rates, _BN)} without it",
                gain < nothing,
                core=True,
            ),
            Part(
                f"with BatchNorm, Dropout at the head loses less than {100 * harm:g} point{'s' * (harm > 0.01)}",
                f"{100 * (found[_HEAD] - found[_BN]):+.2f}: {_seen(found, rates, _HEAD)}",
                found[_HEAD] > found[_BN] - harm,
                core=True,
            ),
            Part(
                f"behind Dropout, a BatchNorm meets less than {_SHIFTED:g} of the variance that it recorded",
                f"{shift[_SERIES]:.2f}",
                shift[_SERIES] < _SHIFTED,
            ),
            Part(
                f"without Dropout in front, it meets at least {_STILL:g} of it",
                f"{shift[_BN]:.2f}",
                shift[_BN] >= _STILL,
            ),
            Part(
                "BatchNorm is the reason: without it, Dropout in each layer gains more than with it",
                f"{100 * plain_gain:+.2f} points ({_seen(found, rates, _DROPOUT)}, and {_seen(found, rates, _PLAIN)} "
                f"without it), against {100 * gain:+.2f} with BatchNorm",
                plain_gain > gain,
            ),
        )

    def draw(self, runs: Runs, figure: Figure) -> None:  # noqa: D102 - see Claim
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        rates = _rates(runs)
        strips(left, {arm: runs.each("accuracy", arm, rate) for arm, rate in rates.items()})
        left.set_xlabel("test accuracy at the best rate, a dot a seed")
        for index, arm in enumerate(runs.arms):
            if arm in (_PLAIN, _DROPOUT):
                continue
            layers, style = range(1, _DEPTH + 1), style_of(index)
            for curve in runs.curves("shifts", arm, rates[arm]):
                right.plot(layers, curve, color=style["color"], alpha=0.3, linewidth=0.8)
            right.plot(layers, runs.curve("shifts", arm, rates[arm]), label=arm, **style)
        right.axhline(1, color=SOFT, linewidth=0.8)
        right.set_ylim(0, None)
        right.set_xticks(range(1, _DEPTH + 1))
        right.set_xlabel("BatchNorm, from input to output")
        right.set_ylabel("variance at inference / recorded")
        right.set_title("colours as on the left")


def _network(arm: str, features: int, classes: int) -> nn.Module:
    from torch import nn

    from bnfold.studying.networks import kaiming, mlp

    module = mlp(features, classes, depth=_DEPTH, placement="pre" if arm in (_BN, _SERIES, _HEAD) else "none")
    kaiming(module)
    dropped = {_DROPOUT: range(1, _DEPTH + 1), _SERIES: range(1, _DEPTH + 1), _HEAD: (_DEPTH,)}.get(arm, ())
    for number in dropped:
        name = f"act{number}"
        module.set_submodule(name, nn.Sequential(module.get_submodule(name), nn.Dropout(_SHARE)))
    return module


def _rates(runs: Runs) -> dict[str, float]:
    """Where each network does best on the validation rows."""
    return {arm: runs.best("validation", arm)[1] for arm in runs.arms}


def _seen(found: dict[str, float], rates: dict[str, float], arm: str) -> str:
    return f"{found[arm]:.2%} at {rates[arm]:g}"
