"""What makes our own processes start sooner; a library would not do it to the program that uses it.

Modules that are seldom needed are loaded when they are first used, and not when they are imported: onnx_ir imports
sympy for arithmetic on symbolic sizes, which takes longer than everything else that a fold of a small model does. And
Python looks for cycles of garbage less often: what such a process loads stays, and to go through it again and again is
a twentieth of its time.
"""

from __future__ import annotations

import gc
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

__all__ = ["postpone", "start_fast"]

_FEW_COLLECTIONS = 100_000  # objects between two of them; Python's own is 700
_SELDOM_USED = frozenset({"sympy", "onnx_ir._symbolic_shapes"})


class _Postponing(MetaPathFinder):
    """Finds what others would find, and has it wait."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where the module is, if it is one of those; None leaves it to the other finders."""
        if fullname not in _SELDOM_USED:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def postpone() -> None:
    """From now on such modules are loaded when an attribute of theirs is read."""
    if not any(isinstance(finder, _Postponing) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Postponing())


def start_fast() -> None:
    """All that this module is for."""
    gc.set_threshold(_FEW_COLLECTIONS, *gc.get_threshold()[1:])
    postpone()
