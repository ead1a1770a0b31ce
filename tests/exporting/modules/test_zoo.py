"""``fold_module`` on every network that is trained in ``models/``: what goes in the graph goes in the module."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

import bnfold
from bnfold import zoo
from bnfold.exporting import fold_module
from bnfold.exporting.weights import load_weights
from tests.helpers.modules import scaled_error

MODELS = Path(__file__).parents[3] / "models"


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_the_same_goes_in_the_module_as_in_its_graph(name) -> None:
    network = zoo.find(name)
    module = network.build().eval()
    load_weights(module, MODELS / name / "weights.safetensors")
    example = torch.from_numpy(network.example_input(rows=2))

    result = fold_module(module, example)

    graph = bnfold.fold(MODELS / name / "model.onnx")
    assert {layer.layer for layer in result.kept} == {entry.node for entry in graph.kept if entry.is_batch_norm}
    exact, folded = (copy.deepcopy(each).double() for each in (module, result.module))
    with torch.no_grad():
        assert scaled_error(exact(example.double()), folded(example.double())) < 1e-5
