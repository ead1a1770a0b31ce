"""What a plain installation of bnfold does not bring along: torch, safetensors, scikit-learn, …."""

from __future__ import annotations

import importlib

from bnfold.errors import MissingDependencyError

__all__ = ["require"]

# The module that is imported, how its package is called, and the extra of bnfold that installs it.
_PACKAGES = {
    "PIL": ("Pillow", "data"),
    "matplotlib": ("matplotlib", "study"),
    "onnxscript": ("onnxscript", "torch"),
    "safetensors": ("safetensors", "torch"),
    "sklearn": ("scikit-learn", "study"),
    "torch": ("torch", "torch"),
}


def require(*modules: str) -> None:
    """Import optional modules, or say which extra installs the first that is missing.

    Called before any work, so that a missing package costs none.

    Args:
        modules: Names as imported: ``torch``, ``sklearn``, ….

    Raises:
        MissingDependencyError: One of them is not installed.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            # A module that is there but misses one of its own is broken, not missing: that error tells more.
            if error.name != module:
                raise
            raise MissingDependencyError(*_PACKAGES[module]) from error
