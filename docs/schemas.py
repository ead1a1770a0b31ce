"""Writes ``docs/schema/*.json``, the JSON Schemas of the reports, from the results that they are made of.

``python docs/schemas.py`` writes them; with ``--check`` it writes nothing, and exits with 1 where it would.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the results of this clone, whichever bnfold is installed

import onnx_ir as ir

from bnfold.benchmarking import Benchmark
from bnfold.checking import CheckResult
from bnfold.diagnosing import Environment
from bnfold.exporting import ExportResult
from bnfold.folding import FoldResult
from bnfold.linting import LintResult
from bnfold.reporting.data import SCHEMA_VERSION
from bnfold.studying import StudyResult
from bnfold.training import TrainingResult
from bnfold.verifying import Comparison

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).resolve().parent / "schema"
RESULTS: dict[str, type] = {
    "benchmark": Benchmark,
    "check": CheckResult,
    "comparison": Comparison,
    "doctor": Environment,
    "export": ExportResult,
    "fold": FoldResult,
    "inspection": FoldResult,
    "lint": LintResult,
    "study": StudyResult,
    "training": TrainingResult,
}
# What a report holds besides the fields of its result: name, type, description.
EXTRA: dict[str, tuple[tuple[str, object, str], ...]] = {
    "fold": (("verification", Comparison | None, "How the result was verified; null with --no-verify."),)
}
NUMBER = {"anyOf": [{"type": "number"}, {"enum": ["inf", "-inf", "nan"]}]}
PLAIN = {str: {"type": "string"}, bool: {"type": "boolean"}, int: {"type": "integer"}, float: NUMBER}
PLAIN |= {type(None): {"type": "null"}, Path: {"type": "string"}, object: {}}

Schema = dict[str, typing.Any]


def schema(kind: str) -> Schema:
    """The schema of one kind of report."""
    definitions: dict[str, Schema] = {}
    result = RESULTS[kind]
    body = _object(result, definitions)
    for name, annotation, description in EXTRA.get(kind, ()):
        body["properties"][name] = {"description": description, **_schema(annotation, definitions)}
        body["required"].append(name)
    head = {"schema_version": {"const": SCHEMA_VERSION}, "kind": {"const": kind}}
    body["properties"] = head | body["properties"]
    body["required"] = [*head, *body["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"The {kind} report of bnfold",
        **body,
        "$defs": dict(sorted(definitions.items())),
    }


def _object(cls: type, definitions: dict[str, Schema]) -> Schema:
    """A dataclass; all of its fields are always written."""
    fields = [field for field in dataclasses.fields(cls) if field.metadata.get("json", True)]
    said, hints = _descriptions(cls), _hints(cls)
    return {
        "description": said[""],
        "type": "object",
        "properties": {
            field.name: {"description": said[field.name], **_schema(hints[field.name], definitions)} for field in fields
        },
        "required": [field.name for field in fields],
    }


def _schema(annotation: object, definitions: dict[str, Schema]) -> Schema:
    if isinstance(annotation, type) and annotation in PLAIN:
        return PLAIN[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        members = [_schema(argument, definitions) for argument in arguments]
        return {"anyOf": [entry for member in members for entry in member.get("anyOf", [member])]}
    if origin in (tuple, list):
        return _array(arguments, definitions)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return {"enum": [member.value for member in annotation]}
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        if annotation.__name__ not in definitions:
            definitions[annotation.__name__] = {}  # one that holds itself ends here
            definitions[annotation.__name__] = _object(annotation, definitions)
        return {"$ref": f"#/$defs/{annotation.__name__}"}
    raise TypeError(f"no schema for {annotation}")


def _array(arguments: tuple[object, ...], definitions: dict[str, Schema]) -> Schema:
    if len(arguments) == 1 or arguments[1:] == (...,):
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    items = [_schema(argument, definitions) for argument in arguments]
    return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}


def _hints(cls: type) -> dict[str, object]:
    """The types of the fields, whose names may be imported for type checkers only."""
    module = sys.modules[cls.__module__]
    names: dict[str, object] = {"ir": ir, "Path": Path, "Mapping": Mapping}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bnfold."):
            home = importlib.import_module(str(node.module))
            found = {name.asname or name.name: name.name for name in node.names}
            names |= {name: getattr(home, known) for name, known in found.items() if hasattr(home, known)}
    return typing.get_type_hints(cls, localns=names | vars(module))


def _descriptions(cls: type) -> dict[str, str]:
    """The docstring: its first line under the empty name, and what it says of each attribute."""
    head, _, rest = (inspect.getdoc(cls) or "").partition("\nAttributes:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", rest, re.MULTILINE)
    said = {name: " ".join(text.split()) for name, text in entries}
    missing = [field.name for field in dataclasses.fields(cls) if field.name not in said]
    if missing:
        raise ValueError(f"the docstring of {cls.__name__} says nothing of {', '.join(missing)}")
    return {"": head.splitlines()[0], **said}


def render(kind: str) -> str:
    """The text of a schema's file."""
    return json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the schemas, or compare them."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    files = {FOLDER / f"{kind}.json": render(kind) for kind in RESULTS}
    if not arguments:
        for file, text in files.items():
            file.write_text(text, encoding="utf-8", newline="\n")
        return 0
    stale = [file for file, text in files.items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    if stale:
        print(f"{', '.join(file.name for file in stale)}: stale: run python docs/schemas.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
