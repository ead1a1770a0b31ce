"""What a user calls a network, and where it comes from: one kind of source a file.

zoo.py        NAME                     a network of bnfold.zoo
python.py     net.py:Net, package:net  whatever a name in Python code leads to
hubs.py       timm:NAME …              libraries of networks, offline
program.py    FILE.pt2                 what torch.export.save has written
loaded.py     what all of them give
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from bnfold.errors import BnfoldError
from bnfold.exporting.sources import hubs, program, python, zoo
from bnfold.exporting.sources.loaded import Loaded, Permissions

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["Loaded", "Permissions", "is_network_of_zoo", "load"]

_WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


def is_network_of_zoo(source: str) -> bool:
    """Whether a source has no other form: it is then the name of a network of the zoo, or of none."""
    return ":" not in source and PurePath(source).suffix not in (".py", ".pt2", ".onnx", *_WEIGHTS)


def load(
    source: str,
    arguments: Mapping[str, object],
    permissions: Permissions,
    weights: str | os.PathLike[str] | None = None,
) -> Loaded:
    """The network that a source names.

    Args:
        source: As the user gave it.
        arguments: What a factory is called with.
        permissions: What may be done to get it.
        weights: The file of its weights, still to be loaded; a run of ``bnfold train`` says beside it what it trained.

    Raises:
        BnfoldError: There is no such network; the message says what there is.
        ModelError: The code behind it cannot be run, or gives something else.
        MissingDependencyError: What it comes from is not installed.
    """
    hub, colon, name = source.partition(":")
    if colon and hub in hubs.HUBS:
        return hubs.load(hub, name, arguments, permissions)
    suffix = PurePath(source).suffix
    if suffix == ".onnx":
        raise BnfoldError(f"{source}: is an ONNX model already; 'bnfold fold' takes it")
    if suffix in _WEIGHTS:
        raise BnfoldError(f"{source}: weights alone are no network: give SOURCE --weights {source}")
    if colon or suffix == ".py":
        return python.load(source, arguments)
    if suffix != ".pt2":
        return zoo.load(source, arguments, weights)
    if arguments:
        raise BnfoldError(f"{source}: a program takes no --arg; only factories do")
    return program.load(source, permissions)
