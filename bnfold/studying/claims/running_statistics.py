"""Claim 10: inference uses running statistics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from bnfold.studying.claim import Cell, Claim, Numbers, Plan, Quantity
from bnfold.studying.data import load_split
from bnfold.studying.drawing import COLOURS, INK, SOFT, style_of
from bnfold.studying.verdict import Limit, Part

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from bnfold.studying.runs import Runs

__all__ = ["RunningStatistics"]

_MOMENTA = {f"momentum {momentum:g}": momentum for momentum in (0.001, 0.01, 0.1, 0.9)}
_USUAL = "momentum 0.1"
_BATCHES = (1, 2, 3, 5, 9, 15, 25, 45, 75, 150, 225, 450)  # that the 450 test rows can be divided into
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 400)
_RATE = 0.1
_LOST = Limit(0.2, quick=0.3)
_AS_GOOD = Limit(0.01, quick=0.02)
_NEAR = Limit(1.1, quick=1.2)


class RunningStatistics(Claim):
    """At inference BatchNorm needs statistics gathered in training: those of a single sample are of no use.

    Lecture:
        At inference the input may well be no batch but a single sample, of which mean and standard deviation cannot be
        had (taking the sample for the mean, with a deviation of 0, makes the output unstable). So BatchNorm, in
        training, gathers and approximates the mean and deviation of the whole training set, and takes these at
        inference.

    Setup:
        Digits, standardised; 3 hidden layers of 64 ReLUs, Kaiming's initial weights, BatchNorm between Linear and ReLU,
        batches of 64, plain SGD with a rate of 0.1. Once for each momentum of the running statistics, which does not
        change the weights. After training the test rows are classified by the statistics of test batches of 1 to 450
        rows, shuffled, and sorted by class; by the running statistics; and by the exact ones, those of all
        training rows as one batch.

        On the way, after 1, 2, 5, … steps: the running variance of every channel, over the exact one under the weights
        of that step. As one number, the typical factor: the exponential of the root mean square of the logarithms.

    Rule:
        With torch's momentum of 0.1. At the core: by the statistics of a single sample at most 20 % of the test rows
        are right; and by the running ones at most 1 point fewer than by the exact ones. Also: at the end of training
        the running variances are those of the training set, up to a typical factor of 1.1.

    Omits:
        A test batch of some dozens of rows does as well as the running statistics, if it is a fair sample of all. One
        with a single class in it does not, however large it is, and a prediction then depends on what else is in the
        batch.

        Running statistics are of weights that have changed since, and they need a momentum that suits the number of
        steps. With 0.001 they still carry, after a few hundred, much of the 0 and 1 that they began with, and several
        points are lost; with 0.9 they have seen little but the last batch.

        The exact ones cost a pass over the training data, and are there to be had: recompute_statistics() of
        bnfold.training, or bnfold train --exact-stats.

    Reference:
        Ioffe, Szegedy: Batch Normalization, section 3.1, ICML 2015, https://arxiv.org/abs/1502.03167
        Wu, Johnson: Rethinking "Batch" in BatchNorm, 2021, https://arxiv.org/abs/2105.07576
    """

    number: ClassVar[int] = 10
    arms: ClassVar[tuple[str, ...]] = tuple(_MOMENTA)
    axis: ClassVar[str] = ""
    full: ClassVar[Plan] = Plan(seeds=5, at=(0,), epochs=20)
    quick: ClassVar[Plan] = Plan(seeds=2, at=(0,), epochs=10)
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("single", "test accuracy by the statistics of a single sample", ".1%"),
        Quantity("whole", "test accuracy by the statistics of all test rows", ".1%"),
        Quantity("running", "test accuracy by the running statistics", ".1%"),
        Quantity("exact", "test accuracy by the exact statistics", ".1%"),
        Quantity("factor", "typical factor between running and exact variance, at the end", ".3f"),
    )

    def cost(self, cell: Cell) -> float:  # noqa: D102 - see Claim
        return 0.2 + 0.02 * cell.epochs

    def measure(self, cell: Cell) -> Numbers:  # noqa: D102 - see Claim
        import torch
        from torch import nn

        from bnfold.studying.fitting import accuracy, fit
        from bnfold.studying.networks import kaiming, mlp
        from bnfold.training.statistics import recompute_statistics

        split, momentum = load_split("digits"), _MOMENTA[cell.arm]
        module = mlp(split.features, split.classes, norm=lambda channels: nn.BatchNorm1d(channels, momentum=momentum))
        kaiming(module)
        factors: list[float] = []
        steps = 0

        def watch() -> None:
            nonlocal steps
            steps += 1
            if steps in _STEPS:
                factors.append(_factor(module, split.inputs))

        found = fit(module, split, rate=_RATE, epochs=cell.epochs, seed=cell.seed, watch=watch)
        by = {
            "by_batch": torch.randperm(len(split.test_targets)),
            "by_class": torch.argsort(split.test_targets, stable=True),
        }
        numbers: dict[str, float | list[float]] = {
            name: [_batchwise(module, split.test_inputs[order], split.test_targets[order], size) for size in _BATCHES]
            for name, order in by.items()
        }
        by_batch = [_batchwise(module, split.test_inputs, split.test_targets, size) for size in (1, 450)]
        numbers |= {
            "losses": found.losses,
            "factors": factors,
            "factor": _factor(module, split.inputs),
            "running": found.accuracies[-1],
            "single": by_batch[0],
            "whole": by_batch[1],
        }
        recompute_statistics(module, [split.inputs])  # as one batch, and so exactly
        return numbers | {"exact": accuracy(module, split.test_inputs, split.test_targets)}

    def judge(self, runs: Runs) -> tuple[Part, ...]:  # noqa: D102 - see Claim
        lost, as_good, near = _LOST.of(runs), _AS_GOOD.of(runs), _NEAR.of(runs)
        single = runs.mean("single", _USUAL)
        running, exact, factor = (runs.mean(name, _USUAL) for name in ("running", "exact", "factor"))
        points = f"{100 * as_good:g} point{'s' * (as_good > 0.01)}"
        return (
            Part(
                f"by the statistics of a single sample, at most {lost:.0%} are right",
                f"{single:.1%}; {runs.mean('whole', _USUAL):.1%} by those of all test rows",
                single <= lost,
                core=True,
            ),
            Part(
                f"by the running statistics, at most {points} fewer than by the exact ones",
                f"{running:.2%}, and {exact:.2%}",
                exact - running <= as_good,
                core=True,
            ),
            Part(
                f"the running variances become those of the training set, up to a factor of {near:g}",
                f"{factor:.3f} at the end, with momentum 0.1",
                factor <= near,
            ),
        )

    def draw(self, runs: Runs, figure: Figure) -> None:  # noqa: D102 - see Claim
        left, right = figure.subplots(1, 2)
        for index, (name, label) in enumerate((("by_batch", "test batch, shuffled"), ("by_class", "by class"))):
            style = style_of(index)
            for curve in runs.curves(name, _USUAL):
                left.plot(_BATCHES, curve, color=style["color"], alpha=0.3, linewidth=0.8)
            left.plot(_BATCHES, runs.curve(name, _USUAL), label=label, **style)
        left.axhline(runs.mean("running", _USUAL), color=INK, linewidth=1, label="running statistics")
        left.axhline(
            runs.mean("exact", _USUAL), color=COLOURS[2], linewidth=1.4, linestyle=":", label="exact statistics"
        )
        left.set_xscale("log")
        left.set_ylim(0, 1.02)
        left.set_xlabel("rows of a test batch")
        left.set_ylabel("test accuracy")
        left.legend(loc="center", bbox_to_anchor=(0.44, 0.42))
        for index, arm in enumerate(runs.arms):
            curve = runs.curve("factors", arm)
            right.plot(_STEPS[: len(curve)], curve, label=arm, **style_of(index))
        right.axhline(1, color=SOFT, linewidth=0.8)
        right.set_xscale("log")
        right.set_xlabel("steps")
        right.set_ylabel("running / exact variance, typical factor")
        right.set_ylim(0.95, 2.2)
        right.legend(loc="upper right")


def _factor(module: nn.Module, inputs: Tensor) -> float:
    """The typical factor between running variances and those of all inputs, taken as one batch."""
    import torch

    from bnfold.training.shift import statistics_lag

    ratios = torch.cat(list(statistics_lag(module, [inputs]).values()))
    return math.exp(ratios.log().square().mean().sqrt().item())


def _batchwise(module: nn.Module, inputs: Tensor, targets: Tensor, size: int) -> float:
    """Share of the rows that are right by the statistics of batches of a size."""
    import torch

    from bnfold.training.batchwise import batch_statistics

    with batch_statistics(module), torch.inference_mode():
        chosen = torch.cat([module(rows).argmax(1) for rows in torch.split(inputs, size)])
    return (chosen == targets).double().mean().item()
