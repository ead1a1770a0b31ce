"""``[tool.bnfold.lint]`` of a pyproject.toml.

[tool.bnfold.lint]
select = ["BN1", "BN2"]                 # codes, or beginnings of codes; all lints if there is no such line
ignore = ["BN402"]
export-dtype = "float16"                # as --dtype

[tool.bnfold.lint.per-file-ignores]     # paths from the folder of this file
"models/old/*.onnx" = ["BN301"]

[tool.bnfold.lint.per-node-ignores]     # names of nodes or of modules
"backbone.stem.*" = ["BN102"]
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from bnfold.errors import BnfoldError
from bnfold.linting.dtypes import find_dtype
from bnfold.linting.selecting import matching

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Configuration", "find_configuration"]

_TABLE = "[tool.bnfold.lint]"
_LISTS = ("select", "ignore")
_TABLES = ("per-file-ignores", "per-node-ignores")
_KEYS = frozenset({*_LISTS, *_TABLES, "export-dtype"})


@dataclass(frozen=True)
class Configuration:
    """What the file says; nothing where there is none.

    Attributes:
        path: The file.
        select: Codes of lints, or their beginnings; empty for all.
        ignore: The same, of those that shall not look.
        export_dtype: In which weights will be stored; None for as they are.
        per_file: What is ignored in files whose paths match a pattern.
        per_node: What is ignored at nodes whose name, or whose module's name, matches a pattern.
    """

    path: Path | None = None
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    export_dtype: str | None = None
    per_file: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    per_node: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def ignored_in(self, model: str) -> tuple[str, ...]:
        """The codes that are ignored in a file."""
        if self.path is None:
            return ()
        path, folder = Path(model).resolve(), self.path.parent
        name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()
        return tuple(code for pattern, codes in self.per_file.items() if fnmatchcase(name, pattern) for code in codes)


def find_configuration(folder: Path) -> Configuration:
    """That of the nearest pyproject.toml with such a table, from a folder upwards.

    Raises:
        BnfoldError: The file cannot be read, or says something that is not known.
    """
    folder = folder.resolve()
    for place in (folder, *folder.parents):
        path = place / "pyproject.toml"
        if path.is_file() and (table := _read(path)) is not None:
            return _parse(path, table)
    return Configuration()


def _read(path: Path) -> object:
    """The table, or None."""
    try:
        document: object = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BnfoldError(f"{path}: cannot be read: {error}") from error
    for name in ("tool", "bnfold", "lint"):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _parse(path: Path, table: object) -> Configuration:
    if not isinstance(table, dict):
        raise BnfoldError(f"{path}: {_TABLE} is no table")
    if unknown := sorted(table.keys() - _KEYS):
        raise BnfoldError(f"{path}: {_TABLE} has no key {unknown[0]!r}; it has {', '.join(sorted(_KEYS))}")
    select, ignore = (_codes(path, key, table.get(key, [])) for key in _LISTS)
    per_file, per_node = (_patterns(path, key, table.get(key, {})) for key in _TABLES)
    dtype = table.get("export-dtype")
    if dtype is not None:
        try:
            find_dtype(dtype)
        except BnfoldError as error:
            raise BnfoldError(f"{path}: export-dtype: {error}") from error
    return Configuration(path, select, ignore, dtype, per_file, per_node)


def _codes(path: Path, key: str, codes: object) -> tuple[str, ...]:
    if not isinstance(codes, list) or not all(isinstance(code, str) for code in codes):
        raise BnfoldError(f"{path}: {key} is no list of codes")
    for code in codes:
        try:
            matching(code)
        except BnfoldError as error:
            raise BnfoldError(f"{path}: {key}: {error}") from error
    return tuple(codes)


def _patterns(path: Path, key: str, table: object) -> Mapping[str, tuple[str, ...]]:
    if not isinstance(table, dict):
        raise BnfoldError(f"{path}: {key} is no table of patterns and codes")
    return MappingProxyType({pattern: _codes(path, f"{key}: {pattern!r}", codes) for pattern, codes in table.items()})
