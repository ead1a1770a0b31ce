"""Claim 12: internal covariate shift does not really exist."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, ClassVar

from bnfold.studying.claim import Cell, Claim, Numbers, Plan, Quantity
from bnfold.studying.data import load_split
from bnfold.studying.drawing import strips
from bnfold.studying.verdict import Limit, Part

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from bnfold.studying.data import Split
    from bnfold.studying.runs import Runs

__all__ = ["CovariateShift"]

_ACTIVATIONS = {"sigmoid": "sigmoid", "ReLU": "relu"}
_BN, _NOISY = ", BN", ", noisy BN"
_DEPTH, _PROBED = 5, 256
_STILL = 0.99  # the cosine of 8°
_UNDONE = Limit(0.02, quick=0.05)
_SHAKEN = 5.0
_LESS = 0.05


class CovariateShift(Claim):
    """Internal covariate shift does not really exist, or at any rate is not what BatchNorm mends.

    Lecture:
        When the layers below are updated, those above must learn again: an oscillation that is called internal
        covariate shift, and that BatchNorm is mainly there to solve. Among its benefits: it suppresses covariate shift
        (here the other lecturer points out that in truth this does not exist).

    Setup:
        Digits, standardised; 5 hidden layers of 64 units, sigmoids with Xavier's initial weights and ReLUs with
        Kaiming's, batches of 64, plain SGD at four learning rates. Without BatchNorm; with it between Linear and
        activation; and with noise behind it that shifts and scales every channel anew at each step, so that no layer
        above sees the same distribution twice.

        Before training and after each epoch one step is taken apart. Alignment: the cosine of the angle between a
        layer's gradient before the step, and after the step has changed the layers in front of it only; the mean over
        layers and epochs. Jump: by how much the step moves the mean of what goes into each activation, in standard
        deviations, for 256 rows. Each network is looked at where its accuracy is best, and rates differ.

    Rule:
        At the core: noise that makes the inputs jump at least 5 times as far as with BatchNorm alone does not undo the
        good that BatchNorm does a sigmoid network, whose accuracy it lowers by at most 2 points. Also: the same for
        ReLU; there is no shift, which is to say that without BatchNorm the alignment of the ReLU network is at least
        0.99; it is not what BatchNorm mends: with BatchNorm the ReLU network's alignment is not larger by more than
        0.05; and less shift is not more accuracy: the sigmoid network without BatchNorm is aligned as well as with it,
        and yet gets less right.

    Omits:
        It is measurable. What is open is whether it matters, and the measurement says: hardly. It grows with the
        learning rate, and at the same small rate BatchNorm lessens it a little; but then BatchNorm is used to raise the
        rate, and at the one at which it learns best, its gradients turn further than those of the network without it.

        A perfect alignment may be that of a network in which nothing moves: the gradients of deep sigmoid networks
        vanish, and so does the shift. (Its jumps are large only because its deviations are small: to its upper layers
        all rows look alike.)

        The explanations that took its place, a smoother loss and gradients that can be trusted over longer steps, are
        about the step, and not about the distribution. Noise costs something too: it is noise.

    Reference:
        Ioffe, Szegedy: Batch Normalization, ICML 2015, https://arxiv.org/abs/1502.03167
        Santurkar, Tsipras, Ilyas, Madry: How Does Batch Normalization Help Optimization?, NeurIPS 2018, https://arxiv.org/abs/1805.11604
        Bjorck et al.: Understanding Batch Normalization, NeurIPS 2018, https://arxiv.org/abs/1806.02375
    """

    number: ClassVar[int] = 12
    arms: ClassVar[tuple[str, ...]] = tuple(name + norm for name in _ACTIVATIONS for norm in ("", _BN, _NOISY))
    axis: ClassVar[str] = "learning rate"
    full: ClassVar[Plan] = Plan(seeds=5, at=(0.03, 0.1, 0.3, 1), epochs=20)
    quick: ClassVar[Plan] = Plan(seeds=2, at=(0.1, 0.3, 1), epochs=10)
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("accuracy", "test accuracy after the last epoch", ".1%"),
        Quantity("alignment", "alignment of a layer's gradients before and after the step of those in front", ".3f"),
        Quantity("jump", "jump of an activation's inputs in a step, in standard deviations", ".3f"),
    )

    def cost(self, cell: Cell) -> float:  # noqa: D102 - see Claim
        return 0.03 * cell.epochs

    def measure(self, cell: Cell) -> Numbers:  # noqa: D102 - see Claim
        from bnfold.studying.fitting import fit

        split = load_split("digits")
        module = _network(cell.arm, split)
        taken = [_take_apart(module, split, cell.at)]
        trained = fit(
            module,
            split,
            rate=cell.at,
            epochs=cell.epochs,
            seed=cell.seed,
            after=lambda module: taken.append(_take_apart(module, split, cell.at)),
        )
        found: dict[str, float | list[float]] = {"losses": trained.losses, "accuracy": trained.accuracies[-1]}
        for name in ("alignment", "jump"):
            numbers = [numbers[name] for numbers in taken if name in numbers]
            found |= {f"{name}s": numbers, name: statistics.fmean(numbers)}
        return found

    def judge(self, runs: Runs) -> tuple[Part, ...]:  # noqa: D102 - see Claim
        undone = _UNDONE.of(runs)
        rates = _rates(runs)
        found, aligned, jumps = (
            {arm: runs.mean(name, arm, rate) for arm, rate in rates.items()}
            for name in ("accuracy", "alignment", "jump")
        )
        shaken = tuple(
            Part(
                f"{name}: inputs that jump at least {_SHAKEN:g} times as far as with BatchNorm alone cost at most "
                f"{100 * undone:g} points",
                f"jumps of {jumps[name + _NOISY]:.3f}, {jumps[name + _BN]:.3f} without the noise and {jumps[name]:.3f} "
                f"without BatchNorm; {found[name + _NOISY]:.1%}, {found[name + _BN]:.1%} and {found[name]:.1%} right",
                jumps[name + _NOISY] >= _SHAKEN * jumps[name + _BN]
                and found[name + _NOISY] >= found[name + _BN] - undone,
                core=name == "sigmoid",
            )
            for name in _ACTIVATIONS
        )
        return (
            *shaken,
            Part(
                f"there is no shift: without BatchNorm the ReLU network's alignment is at least {_STILL}",
                f"{aligned['ReLU']:.3f} at {rates['ReLU']:g}",
                aligned["ReLU"] >= _STILL,
            ),
            Part(
                f"it is not what BatchNorm mends: with it the alignment is not larger by more than {_LESS:g}",
                f"{aligned['ReLU' + _BN]:.3f} at {rates['ReLU' + _BN]:g}",
                aligned["ReLU" + _BN] <= aligned["ReLU"] + _LESS,
            ),
            Part(
                "less shift is not more accuracy: the sigmoid network is aligned as well without BatchNorm, and worse",
                f"alignment {aligned['sigmoid']:.3f} and {found['sigmoid']:.1%} right without, "
                f"{aligned['sigmoid' + _BN]:.3f} and {found['sigmoid' + _BN]:.1%} with BatchNorm",
                aligned["sigmoid"] >= aligned["sigmoid" + _BN] and found["sigmoid"] < found["sigmoid" + _BN],
            ),
        )

    def draw(self, runs: Runs, figure: Figure) -> None:  # noqa: D102 - see Claim
        panels = figure.subplots(1, 3, sharey=True)
        rates = _rates(runs)
        labels = {
            "accuracy": "test accuracy at the best rate",
            "alignment": "alignment of gradients",
            "jump": "jump of inputs in a step",
        }
        for axes, (name, label) in zip(panels, labels.items(), strict=True):
            strips(axes, {arm: runs.each(name, arm, rate) for arm, rate in rates.items()})
            axes.set_xlabel(label)
        panels[0].set_xlim(0, 1.02)


def _network(arm: str, split: Split) -> nn.Module:
    from torch import nn

    from bnfold.studying.networks import kaiming, mlp, xavier
    from bnfold.training.noise import NoisyBatchNorm

    name = arm.partition(",")[0]
    module = mlp(
        split.features,
        split.classes,
        depth=_DEPTH,
        activation=_ACTIVATIONS[name],
        placement="none" if arm == name else "pre",
        norm=NoisyBatchNorm if arm.endswith(_NOISY) else nn.BatchNorm1d,
    )
    (kaiming if name == "ReLU" else xavier)(module)
    return module


def _take_apart(module: nn.Module, split: Split, rate: float) -> dict[str, float]:
    """Take one step, and measure what it does to the layers behind those it moves; nothing where all fell apart."""
    import torch
    from torch import nn
    from torch.nn import functional

    from bnfold.studying.fitting import BATCH
    from bnfold.training.covariate import covariate_shift
    from bnfold.training.probes import preactivations

    module.train()
    rows = torch.randperm(len(split.inputs))[:BATCH]
    optimizer = torch.optim.SGD(module.parameters(), lr=rate)

    def loss() -> Tensor:
        return functional.cross_entropy(module(split.inputs[rows]), split.targets[rows])

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    probe, kinds = split.inputs[:_PROBED], (nn.ReLU, nn.Sigmoid)
    before = preactivations(module, probe, kinds)
    turns = [turn.alignment for turn in covariate_shift(module, loss, step).values()]
    after = preactivations(module, probe, kinds)
    found = {"alignment": turns, "jump": [_jump(before[name], after[name]) for name in before]}
    return {name: statistics.fmean(numbers) for name, numbers in found.items() if all(map(math.isfinite, numbers))}


def _jump(before: Tensor, after: Tensor) -> float:
    """How far the means of channels moved, in standard deviations; the root mean square over the channels."""
    apart = (after.mean(0) - before.mean(0)) / before.std(0)
    return apart.square().mean().sqrt().item()


def _rates(runs: Runs) -> dict[str, float]:
    """Where each network gets most right."""
    return {arm: runs.best("accuracy", arm)[1] for arm in runs.arms}
