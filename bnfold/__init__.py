"""Move every BatchNormalization of an ONNX model into the weights around it, exactly, and prove it.

    >>> import bnfold
    >>> result = bnfold.fold("model.onnx")
    >>> result.save("folded.onnx")
    >>> bool(bnfold.verify("model.onnx", "folded.onnx"))
    True

The names below are the public ones. Each is imported when it is first used, so that ``import bnfold`` is quick
and loads neither torch nor onnxruntime.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnfold.benchmarking import Benchmark, benchmark
    from bnfold.checking import CheckResult, check
    from bnfold.diagnosing import Environment, doctor
    from bnfold.errors import (
        BnfoldError,
        ExecutionError,
        ExportError,
        MissingDependencyError,
        ModelError,
        ModelFileError,
        ProviderError,
        VerificationError,
    )
    from bnfold.exporting import ExportResult, export
    from bnfold.folding import FoldResult, fold, inspect
    from bnfold.folding.fold_pass import FoldPass
    from bnfold.linting import Finding, lint
    from bnfold.studying import StudyResult, study
    from bnfold.training import TrainingResult, train
    from bnfold.verifying import Comparison, verify

__all__ = [
    "Benchmark",
    "BnfoldError",
    "CheckResult",
    "Comparison",
    "Environment",
    "ExecutionError",
    "ExportError",
    "ExportResult",
    "Finding",
    "FoldPass",
    "FoldResult",
    "MissingDependencyError",
    "ModelError",
    "ModelFileError",
    "ProviderError",
    "StudyResult",
    "TrainingResult",
    "VerificationError",
    "benchmark",
    "check",
    "doctor",
    "export",
    "fold",
    "inspect",
    "lint",
    "study",
    "train",
    "verify",
]

__version__ = "0.1.0"

_HOMES = {
    "benchmarking": ("Benchmark", "benchmark"),
    "checking": ("CheckResult", "check"),
    "diagnosing": ("Environment", "doctor"),
    "errors": tuple(name for name in __all__ if name.endswith("Error")),
    "exporting": ("ExportResult", "export"),
    "folding": ("FoldResult", "fold", "inspect"),
    "folding.fold_pass": ("FoldPass",),
    "linting": ("Finding", "lint"),
    "studying": ("StudyResult", "study"),
    "training": ("TrainingResult", "train"),
    "verifying": ("Comparison", "verify"),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"bnfold.{home}"), name)
    raise AttributeError(f"module 'bnfold' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
