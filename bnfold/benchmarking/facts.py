"""What can be said of a model without running it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from bnfold import modelfile
from bnfold.benchmarking.result import ModelFacts
from bnfold.benchmarking.work import work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnfold.runtime.sessions import Feeds
    from bnfold.runtime.sources import Opened

__all__ = ["facts"]


def facts(model: Opened, feeds: Sequence[Feeds]) -> ModelFacts:
    """The facts of a model, and what it computes for each of some inputs."""
    graphs = list(modelfile.all_graphs(model.model))
    op_types = Counter(_op_type(node) for graph in graphs for node in graph)
    return ModelFacts(
        name=model.name,
        size=_size(model),
        nodes=op_types.total(),
        batch_normalizations=op_types["BatchNormalization"],
        op_types=dict(sorted(op_types.items())),
        work=tuple(work(model.model, feed) for feed in feeds),
    )


def _op_type(node: ir.Node) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


def _size(model: Opened) -> int:
    weights = (
        value.const_value for graph in modelfile.all_graphs(model.model) for value in graph.initializers.values()
    )
    files = {Path(model.path), *(Path(weight.path) for weight in weights if isinstance(weight, ir.ExternalTensor))}
    return sum(file.stat().st_size for file in files)
