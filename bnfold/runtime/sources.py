"""A model that somebody hands in, a path or an ``onnx_ir.Model``, as a file that a child process can read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from bnfold import modelfile

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Opened", "opened"]


@dataclass(frozen=True)
class Opened:
    """A model, the file that holds it, and what to call it in messages."""

    model: ir.Model
    path: str
    name: str


def opened(source: str | os.PathLike[str] | ir.Model, temporary: Path) -> Opened:
    """The model of ``source``; one that is in memory only, or that onnxruntime cannot open, is saved to ``temporary``.

    Raises:
        ModelFileError: It cannot be read.
    """
    if isinstance(source, ir.Model):
        modelfile.save(source, temporary)
        return Opened(source, os.fspath(temporary), f"{source.graph.name or temporary.stem} (in memory)")
    model, name = modelfile.load(source), os.fspath(source)
    if _is_utf8(name):
        return Opened(model, name, name)
    modelfile.save(model, temporary)
    return Opened(model, os.fspath(temporary), name)


def _is_utf8(name: str) -> bool:
    """Whether onnxruntime takes the name of a file."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
