"""``digits_cnn``: a network of the zoo, with the weights that were trained for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bnfold import zoo
from bnfold.errors import BnfoldError
from bnfold.exporting.shapes import InputShape, Symbol
from bnfold.exporting.sources.loaded import Loaded
from bnfold.training.rebuilding import rebuild
from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["load"]


def load(name: str, arguments: Mapping[str, object], weights: str | os.PathLike[str] | None = None) -> Loaded:
    """The network of that name, as it was trained, where ``metrics.json`` beside its weights tells how.

    Args:
        name: One of ``zoo.NETWORKS``.
        arguments: ``placement``, where its BatchNorms stand, or nothing.
        weights: The file of its weights; ``models/NAME/weights.safetensors`` if None.

    Raises:
        BnfoldError: The zoo has none; the message lists those it has, and the other kinds of sources. Or it takes no
            such argument.
        MissingDependencyError: What brings its data is not installed.
    """
    if name not in zoo.NETWORKS:
        raise BnfoldError(
            f"no network named {name!r} in the zoo; it has: {', '.join(sorted(zoo.NETWORKS))}; for one of yours give "
            "FILE.py:FACTORY, PACKAGE.MODULE:FACTORY, timm:NAME, torchvision:NAME, hf:FOLDER or FILE.pt2"
        )
    if unknown := arguments.keys() - {"placement"}:
        raise BnfoldError(f"{name}: takes no argument '{min(unknown)}'; a network of the zoo takes placement at most")
    placement = arguments.get("placement")
    require("torch", "safetensors", "sklearn")
    file = Path("models") / name / "weights.safetensors" if weights is None else Path(weights)
    network, module = rebuild(zoo.find(name), file, None if placement is None else str(placement))
    return Loaded(
        name=name,
        module=module,
        shapes=(InputShape(network.input_name, (Symbol("batch"), *network.input_shape), "float32"),),
        output_names=(network.output_name,),
        network=network,
        weights=file,
    )
