"""``export(source) → ExportResult``: PyTorch to ONNX with every BatchNormalization kept, and checked.

The files, in the order in which a model passes them:

    pipeline.py      the steps: build, load, convert, tidy, check, keep
    weights.py       safetensors into a module, strictly
    conversion.py    torch's exporter, in inference mode and quiet
    tidying.py       what the exporter leaves behind, cleared away without touching a BatchNormalization
    checking.py      the graph against the module, onnxruntime against PyTorch
    result.py        what an export yields

And ``fold_module(module, example) → FoldedModule`` folds a module itself: ``modules.py`` says how.
"""

from bnfold.exporting.modules import FoldedLayer, FoldedModule, KeptLayer, fold_module
from bnfold.exporting.pipeline import export
from bnfold.exporting.result import Agreement, ExportResult

__all__ = [
    "Agreement",
    "ExportResult",
    "FoldedLayer",
    "FoldedModule",
    "KeptLayer",
    "export",
    "fold_module",
]
