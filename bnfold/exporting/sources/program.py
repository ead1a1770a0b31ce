"""``FILE.pt2``: what ``torch.export.save`` has written: a graph of its own, with weights, shapes and names.

Loading one can run code (it holds pickles), so that it must be trusted.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnfold.errors import BnfoldError, ModelError, ModelFileError
from bnfold.exporting.caller import one_line
from bnfold.exporting.conversion import quiet
from bnfold.exporting.shapes import DTYPES, InputShape, Symbol
from bnfold.exporting.sources.loaded import Loaded
from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from bnfold.exporting.sources.loaded import Permissions

__all__ = ["load"]

# Operators that have a training mode, and which of their arguments that is.
_MODES = {"aten.batch_norm": 5, "aten._native_batch_norm_legit": 5, "aten.dropout": 2, "aten.native_dropout": 2}


def load(source: str, permissions: Permissions) -> Loaded:
    """The program of a file.

    Raises:
        BnfoldError: It is not trusted.
        ModelFileError: It cannot be read.
        ModelError: It was exported in training mode, or takes something else than tensors.
    """
    path = Path(source)
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file")
    if not permissions.trust:
        raise BnfoldError(f"{path}: to load an exported program can run code: give --trust if you trust its origin")
    require("torch")
    import torch

    try:
        with quiet():
            program = torch.export.load(path)
            module = program.module()
    except Exception as error:
        raise ModelFileError(f"{path}: is no exported program of this torch: {one_line(error)}") from error
    _refuse_training(program, path)
    return Loaded(source, module, shapes=_shapes(program, path), program=program, files=(path,))


def _refuse_training(program: ExportedProgram, path: Path) -> None:
    for node in program.graph.nodes:
        operator = str(node.target).rpartition(".")[0]
        place = _MODES.get(operator)
        if place is not None and len(node.args) > place and node.args[place] is True:
            what = operator.removeprefix("aten.")
            raise ModelError(f"{path}: was exported in training mode ({what}): export it again after module.eval()")


def _shapes(program: ExportedProgram, path: Path) -> tuple[InputShape, ...]:
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    return tuple(_shape(name, placeholders[name].meta.get("val"), path) for name in program.graph_signature.user_inputs)


def _shape(name: object, value: Any, path: Path) -> InputShape:
    import torch

    dtype = str(value.dtype).removeprefix("torch.") if isinstance(value, torch.Tensor) else ""
    if dtype not in DTYPES:
        kind = dtype or type(value).__name__
        raise ModelError(f"{path}: its input '{name}' is {kind}; only tensors of plain numbers can be exported")
    return InputShape(str(name), tuple(_axis(size) for size in value.shape), dtype)


def _axis(size: Any) -> int | Symbol:
    """A symbol is called s77 or the like, and has the size with which it was exported as its hint."""
    if isinstance(size, int):
        return size
    hint = size.node.hint
    return Symbol(str(size), None if hint is None else int(hint))
