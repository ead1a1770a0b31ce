"""Inputs that somebody has: arrays, or files of them.

    data.npz                          one set, an array for each input
    folder/*.npz                      a set for each file
    folder/*.npy                      one set
    folder/input_*.pb                 one set of TensorProto
    folder/test_data_set_*/input_*.pb a set for each folder: the layout of ONNX's own tests
    folder/*/*.npy or *.pb            a set for each folder

Arrays are matched with the model's inputs by name, if all names are the model's, and else in order; nothing is cast.
Files that would run code when they are read (pickles) and tensors whose data is in another file are refused.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from bnfold.errors import ModelError, ModelFileError
from bnfold.runtime.inputs import InputSet, fed_inputs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]
    Source = str | os.PathLike[str] | Mapping[str, NDArray[Any]]

__all__ = ["given_inputs"]

_KINDS = (".npz", ".npy", ".pb")


def given_inputs(given: Source | Sequence[Source], model: ir.Model) -> list[InputSet]:
    """Every set in ``given``, in the types and shapes that the model takes.

    Args:
        given: A file, a folder, arrays by name, or several of these.
        model: The model that takes them.

    Raises:
        ModelFileError: A file cannot be read, or holds no arrays.
        ModelError: Names, types or shapes are not those of the model's inputs.
    """
    sources = [given] if isinstance(given, (str, os.PathLike, Mapping)) else list(given)
    sets = []
    for number, source in enumerate(sources):
        if isinstance(source, Mapping):
            arrays = {name: np.asarray(array) for name, array in source.items()}
            sets.append(_matched(f"inputs {number}", arrays, model))
        else:
            sets += [_matched(name, arrays, model) for name, arrays in _read(Path(source))]
    if not sets:
        raise ModelError("inputs: nothing was given")
    return sets


def _read(path: Path) -> list[tuple[str, Arrays]]:
    """The sets of a file or a folder, each with what to call it."""
    if not path.exists():
        raise ModelFileError(f"{path}: no such file or folder")
    if path.is_file():
        if path.suffix not in _KINDS:
            raise ModelFileError(f"{path}: give a .npz, a .npy, a .pb or a folder of them")
        return [(str(path), _arrays_of([path]))]
    found = _files(path)
    archives = [file for file in found if file.suffix == ".npz"]
    if archives:
        return [(str(file), _arrays_of([file])) for file in archives]
    if found:
        return [(str(path), _arrays_of(found))]
    folders = _in_order(folder for folder in path.iterdir() if folder.is_dir() and _files(folder))
    if not folders:
        raise ModelFileError(f"{path}: holds no .npz, .npy or .pb, and no folders of them")
    return [(str(folder), _arrays_of(_files(folder))) for folder in folders]


def _files(folder: Path) -> list[Path]:
    """What a folder holds of inputs: of ONNX's tests, ``output_0.pb`` is none."""
    return _in_order(
        file
        for file in folder.iterdir()
        if file.suffix in _KINDS and file.is_file() and not (file.suffix == ".pb" and file.name.startswith("output_"))
    )


def _in_order(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: _numbers_last(path.name))


def _numbers_last(name: str) -> list[tuple[int, int, str]]:
    """``input_10`` behind ``input_9``."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]


def _arrays_of(files: Sequence[Path]) -> Arrays:
    arrays: Arrays = {}
    for file in files:
        for name, array in _load(file).items():
            if name in arrays:
                raise ModelFileError(f"{file}: there is a '{name}' already")
            arrays[name] = array
    return arrays


def _load(file: Path) -> Arrays:
    try:
        if file.suffix == ".pb":
            return _tensor(file)
        with file.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {file.stem: loaded}
            return {name: loaded[name] for name in sorted(loaded.files, key=_numbers_last)}
    except ValueError as error:
        reason = (
            "holds Python objects, which are not read; save strings as np.str_"
            if "allow_pickle" in str(error)
            else error
        )
        raise ModelFileError(f"{file}: {reason}") from error
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise ModelFileError(f"{file}: cannot be read: {error}") from error


def _tensor(file: Path) -> Arrays:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        tensor = onnx.TensorProto.FromString(file.read_bytes())
    except DecodeError as error:
        raise ModelFileError(f"{file}: is no TensorProto") from error
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise ModelFileError(f"{file}: its data is in another file, which is not read")
    try:
        array = onnx.numpy_helper.to_array(tensor)
    except Exception as error:
        raise ModelFileError(f"{file}: is no TensorProto that holds what it says: {error}") from error
    return {tensor.name or file.stem: array}


def _matched(source: str, arrays: Arrays, model: ir.Model) -> InputSet:
    """The set by the names of the model's inputs.

    Raises:
        ModelError: It is not one for this model.
    """
    needed = fed_inputs(model)
    values = {value.name or "": value for value in (*needed, *model.graph.inputs)}
    names = [value.name or "" for value in needed]
    unknown = [name for name in arrays if name not in values]
    if arrays and len(unknown) == len(arrays) == len(needed):
        arrays = dict(zip(names, arrays.values(), strict=True))
    elif unknown:
        raise ModelError(f"{source}: there is no input {_listed(unknown)}; the model takes {_listed(names)}")
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ModelError(f"{source}: nothing for the input {_listed(missing)}")
    feeds = {name: _checked(source, array, values[name]) for name, array in arrays.items()}
    return InputSet(source, None, None, feeds)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _checked(source: str, array: NDArray[Any], value: ir.Value) -> NDArray[Any]:
    """The array, strings as onnxruntime takes them.

    Raises:
        ModelError: It has another type or another shape than the input.
    """
    is_text = array.dtype.kind in "SU" or all(isinstance(item, (str, bytes)) for item in array.flat)
    if value.dtype is ir.DataType.STRING and is_text:
        items = [item.decode() if isinstance(item, bytes) else str(item) for item in array.flat]
        array = np.array(items, dtype=object).reshape(array.shape)
    expected = None if value.dtype is None else value.dtype.numpy()
    fits = value.shape is None or (
        len(value.shape) == array.ndim
        and all(not isinstance(dim, int) or dim == size for dim, size in zip(value.shape, array.shape, strict=True))
    )
    if array.dtype != expected or not fits or (array.dtype == object and not is_text):
        found = f"'{value.name}' is {array.dtype} {list(array.shape)}"
        raise ModelError(f"{source}: {found}, and the model takes {value.dtype} {_shape(value)}")
    return array


def _shape(value: ir.Value) -> str:
    if value.shape is None:
        return "of any shape"
    return f"[{', '.join(str(dim) if isinstance(dim, int) else dim.value or '?' for dim in value.shape)}]"
