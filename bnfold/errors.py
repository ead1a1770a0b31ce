"""Every exception that bnfold raises on purpose.

    BnfoldError                        the user can act on it: what happened, where, what to do
    ├── ModelError(ValueError)            the model cannot be used as given
    │   ├── ModelFileError                   unreadable, truncated, external data missing or outside its folder
    │   └── ExportError                      PyTorch could not be exported faithfully
    ├── VerificationError                 a candidate is not equivalent; carries the Comparison
    ├── ExecutionError                    a model could not be run: the runtime crashed, refused it, took too long
    │   └── ProviderError                    an execution provider asked for is missing or did not run the model
    └── MissingDependencyError(ImportError)  names the extra: pip install 'bnfold[torch]'

A BatchNormalization that stays is data with a reason, not an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnfold.verifying import Comparison

__all__ = [
    "BnfoldError",
    "ExecutionError",
    "ExportError",
    "MissingDependencyError",
    "ModelError",
    "ModelFileError",
    "ProviderError",
    "VerificationError",
]


class BnfoldError(Exception):
    """The base of all: its text says what happened, where, and what to do, in one line."""

    exit_code = 2  # what the command line exits with: design of the exit codes in cli/__init__.py


class ModelError(BnfoldError, ValueError):
    """The model cannot be used as given."""


class ModelFileError(ModelError):
    """The file is unreadable or truncated, or its external data is missing or outside its folder."""


class ExportError(ModelError):
    """PyTorch could not be exported faithfully."""

    exit_code = 1


class VerificationError(BnfoldError):
    """A candidate is not equivalent to its reference.

    Attributes:
        comparison: What was compared, and how it came out.
    """

    exit_code = 1

    def __init__(self, message: str, comparison: Comparison) -> None:
        super().__init__(message)
        self.comparison = comparison


class ExecutionError(BnfoldError):
    """A model could not be run: the runtime crashed, refused it or took too long."""

    exit_code = 3


class ProviderError(ExecutionError):
    """An execution provider that was asked for is missing or did not run the model."""


class MissingDependencyError(BnfoldError, ImportError):
    """An optional dependency is not installed.

    Args:
        module: What could not be imported, such as ``torch``.
        extra: The extra of bnfold that installs it, such as ``torch``; empty where none does.
    """

    def __init__(self, module: str, extra: str) -> None:
        wanted = f"'bnfold[{extra}]'" if extra else module
        super().__init__(f"{module} is not installed: pip install {wanted}")
