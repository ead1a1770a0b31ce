"""Plain networks of Linear layers, with BatchNorm in any of the places that the lecture names."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Literal

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ACTIVATIONS", "Placement", "kaiming", "mlp", "normal", "xavier"]

Placement = Literal["none", "pre", "post", "input"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def mlp(
    inputs: int,
    outputs: int,
    *,
    width: int = 64,
    depth: int = 3,
    activation: str = "relu",
    placement: Placement = "pre",
    norm: Callable[[int], nn.Module] = nn.BatchNorm1d,
) -> nn.Sequential:
    """``depth`` hidden layers and a Linear ``head``; layers are called ``linear1``, ``norm1``, ``act1``, ….

        none     Linear → activation
        pre      Linear → BN → activation
        post     Linear → activation → BN
        input    BN → Linear → activation

    Every Linear has a bias, wherever BatchNorm stands, so that the same seed draws the same weights for all
    placements. They are torch's own initial ones; ``kaiming`` and ``normal`` draw others.

    Args:
        inputs: Features of a row.
        outputs: Classes.
        width: Of each hidden layer.
        depth: Hidden layers.
        activation: One of ``ACTIVATIONS``.
        placement: Where BatchNorm stands in each hidden layer.
        norm: Makes the BatchNorm of so many features.
    """
    layers: list[tuple[str, nn.Module]] = []
    for number in range(1, depth + 1):
        features = inputs if number == 1 else width
        layer: dict[str, nn.Module] = {"linear": nn.Linear(features, width), "act": ACTIVATIONS[activation]()}
        if placement != "none":
            layer["norm"] = norm(features if placement == "input" else width)
        layers += [(f"{kind}{number}", layer[kind]) for kind in _ORDER[placement]]
    layers.append(("head", nn.Linear(width if depth else inputs, outputs)))
    return nn.Sequential(OrderedDict(layers))


_ORDER: dict[Placement, tuple[str, ...]] = {
    "none": ("linear", "act"),
    "pre": ("linear", "norm", "act"),
    "post": ("linear", "act", "norm"),
    "input": ("norm", "linear", "act"),
}


def kaiming(module: nn.Module) -> None:
    """Draw every Linear's weights from N(0, 2/fan-in), which keeps the scale through ReLUs; biases become 0.

    He et al. 2015, https://arxiv.org/abs/1502.01852. torch's own initial weights are smaller: their variance is
    1/(3 fan-in).
    """
    for part in _linears(module):
        nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
        nn.init.zeros_(part.bias)


def xavier(module: nn.Module) -> None:
    """Draw every Linear's weights from N(0, 2/(fan-in + fan-out)); biases become 0.

    Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html.
    """
    for part in _linears(module):
        nn.init.xavier_normal_(part.weight)
        nn.init.zeros_(part.bias)


def normal(module: nn.Module, deviation: float) -> None:
    """Draw every Linear's weights from N(0, deviation²); biases become 0."""
    for part in _linears(module):
        nn.init.normal_(part.weight, std=deviation)
        nn.init.zeros_(part.bias)


def _linears(module: nn.Module) -> list[nn.Linear]:
    return [part for part in module.modules() if isinstance(part, nn.Linear)]
