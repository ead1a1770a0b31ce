"""Claim 11: epsilon."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.studying.claim import Cell, Claim, Numbers, Plan, Quantity
from bnfold.studying.data import load_split
from bnfold.studying.drawing import SOFT, lines
from bnfold.studying.verdict import Limit, Part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bnfold.studying.networks import Placement
    from bnfold.studying.runs import Runs

__all__ = ["Epsilon"]

_RAW, _BEHIND = "BN on raw pixels", "BN behind the Linear"
_ARMS: dict[str, Placement] = {_RAW: "input", _BEHIND: "pre"}
_TINY, _USUAL, _HUGE = 1e-12, 1e-5, 10.0
_RATE = 0.1
_WORSE = Limit(2.0, quick=1.5)
_AS_GOOD = Limit(1.5, quick=2.0)


class Epsilon(Claim):
    """Epsilon is to be neither too small nor too large, and 1e-5 is right.

    Lecture:
        In training a small positive number, usually 1e-5, is added to the variance before the root is taken, so that a
        variance near 0 does not lead to 0/0. It is not chosen too small, or it has no effect; nor too large, or it
        takes over in the denominator.

    Setup:
        MNIST-5k, as it is: 0 to 1, and most pixels near the border hardly ever anything but 0. 3 hidden layers of 64
        ReLUs, Kaiming's initial weights, batches of 64, plain SGD with a rate of 0.1. BatchNorm in front of each
        Linear, and so on the raw pixels; or behind it, before the ReLU. Measured is the loss on the test rows, in
        inference mode.

    Rule:
        At the core, for BatchNorm on raw pixels: both at 1e-12 and at 10 the loss is at least twice that at 1e-5. Also:
        the loss at 1e-5 is at most 1.5 times the smallest of all; and it is so in general, which is to say that
        behind the Linear, too, the loss at 1e-12 is at least twice that at 1e-5.

    Omits:
        Too small does harm only where some variance is near 0. A pixel that was lit in a few training rows has a tiny
        variance, and when a test row lights it the quotient is huge. Behind a Linear there is no such channel, and any
        small epsilon will do.

        The harm is at inference, when a rare value meets a variance without it; in training it is part of the batch,
        and the variance knows it. And accuracy hides it: most of the rows have no rare value.

        torch 2.13 refuses an epsilon of 0; in float32 anything under 1e-38 is 0, or nearly.

    Reference:
        Ioffe, Szegedy: Batch Normalization, algorithm 1, ICML 2015, https://arxiv.org/abs/1502.03167
        LeCun, Cortes, Burges: The MNIST database of handwritten digits, 1998, http://yann.lecun.com/exdb/mnist
    """

    number: ClassVar[int] = 11
    arms: ClassVar[tuple[str, ...]] = tuple(_ARMS)
    axis: ClassVar[str] = "epsilon"
    full: ClassVar[Plan] = Plan(
        seeds=5, at=(1e-20, 1e-15, 1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10), epochs=5
    )
    quick: ClassVar[Plan] = Plan(seeds=2, at=(1e-12, 1e-8, 1e-5, 1e-3, 0.1, 10), epochs=3)
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("loss", "test loss", ".3g"),
        Quantity("train", "loss of the last epoch, as trained", ".3g"),
        Quantity("accuracy", "test accuracy", ".1%"),
    )
    data: ClassVar[tuple[str, ...]] = ("mnist5k",)

    def cost(self, cell: Cell) -> float:  # noqa: D102 - see Claim
        return 0.05 * cell.epochs

    def measure(self, cell: Cell) -> Numbers:  # noqa: D102 - see Claim
        import torch
        from torch import nn
        from torch.nn import functional

        from bnfold.studying.fitting import fit
        from bnfold.studying.networks import kaiming, mlp

        split = load_split("mnist5k", standardised=False)
        module = mlp(
            split.features,
            split.classes,
            placement=_ARMS[cell.arm],
            norm=lambda channels: nn.BatchNorm1d(channels, eps=cell.at),
        )
        kaiming(module)
        found = fit(module, split, rate=_RATE, epochs=cell.epochs, seed=cell.seed)
        with torch.inference_mode():
            loss = functional.cross_entropy(module.eval()(split.test_inputs), split.test_targets)
        return {"loss": loss.item(), "train": found.losses[-1], "accuracy": found.accuracies[-1]}

    def judge(self, runs: Runs) -> tuple[Part, ...]:  # noqa: D102 - see Claim
        worse, as_good = _WORSE.of(runs), _AS_GOOD.of(runs)
        raw, behind = ({at: runs.mean("loss", arm, at) for at in runs.places(arm)} for arm in (_RAW, _BEHIND))
        best = min(raw, key=lambda at: raw[at])
        return (
            Part(
                f"on raw pixels, too small: at {_TINY:g} the loss is at least {worse:g} times that at {_USUAL:g}",
                f"{raw[_TINY]:.3g} and {raw[_USUAL]:.3g}, × {raw[_TINY] / raw[_USUAL]:.1f}",
                raw[_TINY] >= worse * raw[_USUAL],
                core=True,
            ),
            Part(
                f"on raw pixels, too large: at {_HUGE:g} the loss is at least {worse:g} times that at {_USUAL:g}",
                f"{raw[_HUGE]:.3g} and {raw[_USUAL]:.3g}, × {raw[_HUGE] / raw[_USUAL]:.1f}",
                raw[_HUGE] >= worse * raw[_USUAL],
                core=True,
            ),
            Part(
                f"{_USUAL:g} is right: the loss there is at most {as_good:g} times the smallest of all",
                f"{raw[_USUAL]:.3g}, and {raw[best]:.3g} at {best:g}",
                raw[_USUAL] <= as_good * raw[best],
            ),
            Part(
                f"it is so in general: behind the Linear, too, the loss at {_TINY:g} is at least {worse:g} times that "
                f"at {_USUAL:g}",
                f"{behind[_TINY]:.3g} and {behind[_USUAL]:.3g}",
                behind[_TINY] >= worse * behind[_USUAL],
            ),
        )

    def draw(self, runs: Runs, figure: Figure) -> None:  # noqa: D102 - see Claim
        panels = figure.subplots(1, 2)
        for axes, name, label in zip(panels, ("loss", "accuracy"), ("test loss", "test accuracy"), strict=True):
            lines(axes, runs, name)
            axes.axvline(_USUAL, color=SOFT, linewidth=0.8)
            axes.set_xscale("log")
            axes.set_xlabel("epsilon")
            axes.set_title(label)
        panels[0].set_yscale("log")
        panels[0].yaxis.set_minor_formatter("")
        panels[0].legend()
        panels[1].set_ylim(0, 1.02)
