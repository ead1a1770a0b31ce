"""Claim 5: with BatchNorm one learning rate serves features of different scale, on a rounder error surface."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bnfold.studying.claim import Cell, Claim, Numbers, Plan, Quantity
from bnfold.studying.data import load_split
from bnfold.studying.drawing import COLOURS, SOFT, lines
from bnfold.studying.verdict import Limit, Part

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from bnfold.studying.networks import Placement
    from bnfold.studying.runs import Runs

__all__ = ["FeatureScales"]

_TWO, _TWO_BN = "two features", "two features, BN"
_RAW, _INPUT, _BEHIND, _STANDARDISED = (
    "wine",
    "wine, BN on the input",
    "wine, BN behind Linear",
    "wine, standardised",
)
_DEVIATION = 100.0  # of the second feature; that of the first is 1
_ROWS, _STEPS = 1000, 50
_SMALL_BATCH = 32  # of 133 wines
_LEARNT = 0.9
_RAVINE = 1000
_ROUND = Limit(1.5, quick=2)
_GAIN = Limit(0.2, quick=0.1)
_LARGER = 10


class FeatureScales(Claim):
    """With BatchNorm one learning rate serves features of different scale: the error surface gets rounder.

    Lecture:
        Some features are large and some are small. With one learning rate for all, some dimensions oscillate and
        others make tiny steps; a rate for each would be too much trouble. BatchNorm makes the gradients more even, or,
        in other words, the error surface flatter, which allows one learning rate, and a large one, for all.

    Setup:
        Two features with standard deviations 1 and 100, 1000 rows, and y = x₁ + x₂/100 with a little noise; the
        condition number of the Hessian of the squared error, and 50 steps of gradient descent from 0 at the largest
        rate that the steepest direction takes without overshooting. With BatchNorm, which is between the features and
        the weights, the same.

        Wine: 13 features as measured, with standard deviations from 0.1 to 300; 2 hidden layers of 32 ReLUs, batches
        of 32, plain SGD. BatchNorm on the input, or behind each Linear, or none; none with standardised features.

    Rule:
        At the core: a condition number of at least 1000 becomes at most 1.5; and with BatchNorm on the input the best
        rate gets at least 20 points more of the test wines right than without. Also: that rate is at least 10 times as
        large as the best without; and BatchNorm behind the first Linear, where it usually stands, gains 20 points too.

    Omits:
        It has to be on the input. Behind the first Linear, all that BatchNorm sees are sums in which the largest
        feature has drowned the others.

        Standardising the features once, before training, does the same without any BatchNorm.

        BatchNorm evens out scales, and nothing else: for features that are correlated the error surface stays a
        ravine.

    Reference:
        LeCun et al.: Efficient BackProp, 1998, section 4.3, http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf
        Santurkar et al.: How Does Batch Normalization Help Optimization?, NeurIPS 2018, https://arxiv.org/abs/1805.11604
    """

    number: ClassVar[int] = 5
    arms: ClassVar[tuple[str, ...]] = (_TWO, _TWO_BN, _RAW, _INPUT, _BEHIND, _STANDARDISED)
    axis: ClassVar[str] = "learning rate"
    full: ClassVar[Plan] = Plan(seeds=5, at=(1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1), epochs=100)
    quick: ClassVar[Plan] = Plan(seeds=2, at=(1e-6, 1e-4, 1e-3, 0.01, 0.1, 1), epochs=50)
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("condition", "condition number of the Hessian", ",.2f"),
        Quantity("left", "distance from the optimum after 50 steps, over that before", ".3f"),
        Quantity("accuracy", "test accuracy after the last epoch", ".1%"),
    )
    data: ClassVar[tuple[str, ...]] = ("wine",)

    def cells(self, plan: Plan, seed: int = 0) -> tuple[Cell, ...]:
        """The two features once a seed, at no rate in particular; wine at every rate."""
        every = super().cells(plan, seed)
        once = {
            cell.arm + str(cell.seed): Cell(cell.arm, 0, cell.seed) for cell in every if cell.arm in (_TWO, _TWO_BN)
        }
        return (*once.values(), *(cell for cell in every if cell.arm not in (_TWO, _TWO_BN)))

    def measure(self, cell: Cell) -> Numbers:  # noqa: D102 - see Claim
        return _descend(cell.arm == _TWO_BN) if cell.arm in (_TWO, _TWO_BN) else _train(cell)

    def judge(self, runs: Runs) -> tuple[Part, ...]:  # noqa: D102 - see Claim
        round_, gain = _ROUND.of(runs), _GAIN.of(runs)
        conditions = [runs.mean("condition", arm, 0) for arm in (_TWO, _TWO_BN)]
        (raw, at_raw), (on_input, at_input), (behind, at_behind) = (
            runs.best("accuracy", arm) for arm in (_RAW, _INPUT, _BEHIND)
        )
        return (
            Part(
                f"two features: a condition number of at least {_RAVINE} becomes at most {round_:g}",
                f"{conditions[0]:,.0f} and {conditions[1]:.2f}",
                conditions[0] >= _RAVINE and conditions[1] <= round_,
                core=True,
            ),
            Part(
                f"wine: with BatchNorm on the input, the best rate gets at least {gain:.0%} more right",
                f"{on_input:.1%} at {at_input:g}, and {raw:.1%} at {at_raw:g} without it",
                on_input >= raw + gain,
                core=True,
            ),
            Part(
                f"and it is a larger rate, by {_LARGER} times at least",
                f"{at_input:g} and {at_raw:g}",
                at_input >= _LARGER * at_raw,
            ),
            Part(
                f"BatchNorm in its usual place, behind the first Linear, gains at least {gain:.0%} too",
                f"{behind:.1%} at {at_behind:g}",
                behind >= raw + gain,
            ),
        )

    def draw(self, runs: Runs, figure: Figure) -> None:  # noqa: D102 - see Claim
        left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.5))
        for axes, arm, title in ((left, _TWO, "features as they are"), (middle, _TWO_BN, "with BN")):
            _draw_path(axes, runs, arm)
            axes.set_title(f"{title}:\ncondition number {runs.mean('condition', arm, 0):,.2f}", fontsize=9)
        left.set_ylabel("weight of the feature with sd 100")
        lines(right, runs, "accuracy", (_RAW, _INPUT, _BEHIND, _STANDARDISED))
        right.set_xscale("log")
        right.set_xlabel("learning rate")
        right.set_ylabel("test accuracy")
        right.legend(fontsize=7)


def _descend(normalised: bool) -> Numbers:
    """Least squares with two features; gradient descent at one over the largest eigenvalue of the Hessian."""
    import torch
    from torch import nn

    scales = torch.tensor([1.0, _DEVIATION], dtype=torch.float64)
    features = torch.randn(_ROWS, 2, dtype=torch.float64) * scales
    noise = 0.1 * torch.randn(_ROWS, dtype=torch.float64)
    targets = (features / scales).sum(1) + noise
    seen: Tensor = nn.BatchNorm1d(2, affine=False).double()(features) if normalised else features
    hessian = seen.T @ seen / _ROWS
    eigenvalues = torch.linalg.eigvalsh(hessian)
    optimum = torch.linalg.solve(hessian, seen.T @ targets / _ROWS)
    weights = torch.zeros(2, dtype=torch.float64)
    path = [weights]
    for _ in range(_STEPS):
        weights = weights - hessian @ (weights - optimum) / eigenvalues[-1]
        path.append(weights)
    return {
        "condition": (eigenvalues[-1] / eigenvalues[0]).item(),
        "left": ((weights - optimum).norm() / optimum.norm()).item(),
        "hessian": hessian.flatten().tolist(),
        "optimum": optimum.tolist(),
        "across": [point[0].item() for point in path],
        "up": [point[1].item() for point in path],
    }


def _train(cell: Cell) -> Numbers:
    from torch import nn

    from bnfold.studying.fitting import fit
    from bnfold.studying.networks import mlp

    split = load_split("wine", standardised=cell.arm == _STANDARDISED)
    placement: Placement = "pre" if cell.arm == _BEHIND else "none"
    module = mlp(split.features, split.classes, width=32, depth=2, placement=placement)
    if cell.arm == _INPUT:
        module = nn.Sequential(nn.BatchNorm1d(split.features), *module)
    found = fit(module, split, rate=cell.at, epochs=cell.epochs, seed=cell.seed, batch=_SMALL_BATCH)
    return {"accuracies": found.accuracies, "accuracy": found.accuracies[-1]}


def _draw_path(axes: Axes, runs: Runs, arm: str) -> None:
    """Lines of equal error and the steps of the first seed, with the same scale across and up."""
    import numpy as np

    (hessian, *_), (optimum, *_) = runs.curves("hessian", arm, 0), runs.curves("optimum", arm, 0)
    middle = [optimum[0] / 2, optimum[1] / 2]
    grids = np.meshgrid(*(np.linspace(centre - 1, centre + 1, 201) for centre in middle))
    apart = np.stack([grid - best for grid, best in zip(grids, optimum, strict=True)])
    matrix = np.array(hessian).reshape(2, 2)
    error = np.sqrt(np.einsum("iyx,ij,jyx->yx", apart, matrix, apart) / np.linalg.eigvalsh(matrix)[-1])
    axes.contour(*grids, error, levels=[0.1, 0.3, 0.5, 0.7, 0.9, 1.1], colors=SOFT, linewidths=0.8)
    axes.plot(runs.curves("across", arm, 0)[0], runs.curves("up", arm, 0)[0], "o-", color=COLOURS[1], markersize=3)
    axes.plot(*optimum, marker="*", color=COLOURS[0], markersize=11)
    axes.set_aspect("equal")
    axes.set_xlabel("weight of the feature with sd 1")
