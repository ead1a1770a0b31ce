"""Results as JSON, for programs.

Every object starts with ``schema_version`` and ``kind``. A field that a result marks with
``metadata={"json": False}`` (a whole model, say) stays out. JSON has no infinity and no NaN: they become the
strings ``"inf"``, ``"-inf"`` and ``"nan"``, so that nothing is lost and every parser reads the file. The schemas are
in ``docs/schema``; a later version of bnfold may add fields without a new ``schema_version``.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import os
from collections.abc import Mapping

__all__ = ["SCHEMA_VERSION", "render"]

SCHEMA_VERSION = 1


def render(result: object, kind: str, extra: Mapping[str, object] | None = None) -> str:
    """A result (a dataclass), and what else is to be said, as indented JSON with a newline at its end."""
    fields = _plain(result)
    if not isinstance(fields, dict):
        raise TypeError(f"a result is a dataclass, not {type(result).__name__}")
    more = {name: _plain(value) for name, value in (extra or {}).items()}
    document = {"schema_version": SCHEMA_VERSION, "kind": kind, **fields, **more}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (field for field in dataclasses.fields(value) if field.metadata.get("json", True))
        return {field.name: _plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value
