"""What ships in models/ is what the code makes of it, and as good as it claims."""

import json

import numpy as np
import pytest

from bnfold import modelfile
from bnfold.runtime import sessions
from bnfold.runtime.isolation import run_isolated
from bnfold.zoo import data as datasets


def described(path):
    """Everything that a graph says, its weights included."""
    graph = modelfile.load(path).graph
    nodes = [
        (node.name, node.op_type, [value.name for value in node.inputs], sorted(map(str, node.attributes.values())))
        for node in graph
    ]
    weights = {name: value.const_value.numpy().tobytes() for name, value in graph.initializers.items()}
    return nodes, weights


def test_holds_what_training_and_export_write(shipped):
    assert {path.name for path in shipped.iterdir()} >= {
        "card.md",
        "metrics.json",
        "model.onnx",
        "weights.safetensors",
    }


def test_model_is_the_export_of_the_weights(shipped, exported):
    assert described(shipped / "model.onnx") == described(exported.path)


def test_model_has_the_same_bytes_where_torch_is_the_same(shipped, exported):
    before, now = (modelfile.load(path) for path in (shipped / "model.onnx", exported.path))
    if before.producer_version != now.producer_version:
        pytest.skip(f"exported by torch {before.producer_version}, here is {now.producer_version}")

    assert (shipped / "model.onnx").read_bytes() == exported.path.read_bytes()


def test_model_is_small(shipped):
    assert (shipped / "model.onnx").stat().st_size < 300_000


def test_onnxruntime_measures_the_accuracy_that_is_claimed(shipped):
    digits = datasets.load("digits")
    request = {
        "path": shipped / "model.onnx",
        "level": sessions.Level.DISABLED,
        "feeds": [{"image": digits.held_out_inputs}],
    }

    (outputs,) = run_isolated("bnfold.runtime.sessions:run", request, subject="model.onnx")

    accuracy = np.mean(outputs["logits"].argmax(1) == digits.held_out_targets)
    assert accuracy == pytest.approx(json.loads((shipped / "metrics.json").read_text())["accuracy"], abs=1e-6)
    assert accuracy >= 0.97
    assert f"| held-out accuracy | {accuracy:.2%} " in (shipped / "card.md").read_text()
