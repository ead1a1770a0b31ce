"""``export(source) → ExportResult``: PyTorch to ONNX with every BatchNormalization kept, and checked.

The files, in the order in which a model passes them:

    pipeline.py      the steps
    sources/         what a user calls a network, and where it comes from: one kind a file
    shapes.py        what it takes, as text and as data
    weights.py       weights from a file into a module, strictly
    norms.py         BatchNorms of other kinds become torch's own; those that need a batch are refused
    preparing.py     both of these, and the type of the weights
    meeting.py       the first runs: what it takes, at which sizes, and what it gives, by
    caller.py        tensors by name in, tensors by name out
    examples.py      sizes and numbers to try it with
    conversion.py    torch's exporters, in inference mode and quiet
    tidying.py       what they leave behind, cleared away without touching a BatchNormalization
    naming.py        nodes are called what their modules are called
    checking.py      does the graph have what the module has?
    coverage.py      where is every parameter?
    simplifying.py   onnxsim, on demand
    writing.py       the file appears only if
    agreeing.py      onnxruntime computes from it what PyTorch does
    result.py        what an export yields
    tracing.py       for lints: what a module does with a batch in training, call by call

And ``fold_module(module, example) → FoldedModule`` folds a module itself: ``modules/`` says how.
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
