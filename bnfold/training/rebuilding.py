"""The network that a run has trained, built again: its weights alone do not tell it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bnfold.training.files import METRICS
from bnfold.training.norms import Norm, set_norms

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from bnfold.zoo import Network

__all__ = ["rebuild"]


def rebuild(network: Network, weights: Path, placement: str | None = None) -> tuple[Network, nn.Module]:
    """A network of the zoo as it was trained: for its data, with its placement, its norm and its epsilon.

    What ``metrics.json`` beside the weights says decides, and the zoo where there is none, or of another network. An
    epsilon is in no state dict: with the zoo's own, weights that fit would compute something else.

    Args:
        network: As the zoo has it.
        weights: The file of its weights, which is not read.
        placement: Where its BatchNorms stand, whatever the run says.

    Returns:
        The network with the data and the shapes of the run, and its module, without the weights.

    Raises:
        BnfoldError: Its BatchNorms cannot stand there.
        MissingDependencyError: torch is not installed.
    """
    run = _run(weights.with_name(METRICS), network.name)
    settings = run.get("settings", {})
    network = replace(
        network,
        data=run.get("data", network.data),
        input_shape=tuple(run.get("input_shape", network.input_shape)),
        classes=run.get("classes", network.classes),
    )
    module = network.build(placement or settings.get("placement"))
    # At inference, and in its weights, a ghost BatchNorm is a BatchNorm.
    kind = "none" if settings.get("norm") == "none" else "batch"
    set_norms(module, Norm(kind), eps=settings.get("eps"))
    return network, module


def _run(path: Path, name: str) -> dict[str, Any]:
    """What a run wrote of itself; nothing where the file is missing, or somebody else's."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and content.get("network") == name else {}
