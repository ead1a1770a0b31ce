"""What ships in models/: every network of the zoo, as its weights say, as good as claimed, before and after folding."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from safetensors.torch import load_file

import bnfold
from bnfold import exporting, zoo
from models import build

MODELS = Path(build.__file__).parent
EVERYTHING = 10_000_000  # bytes that all of models/ may have
SAME_SCORE = 1e-5  # a row of 143 is 7e-3; metrics.json has six digits

# Held-out scores that the architecture should reach, not what it happened to: points know less than the image does.
WORSE = {"decoder": 0.93, "pointnet": 0.88, "prenorm_mlp": 0.93, "unet": 0.85}
GOOD = 0.97

# The BatchNormalizations that stay, and what the reason has to speak of.
STAY = {
    "densenet": {f"block{block}.{layer}.bn1": "carries no shift" for block in (1, 2) for layer in (0, 1, 2)},
    "iresnet": {"blocks.0.bn1": "PRelu 'stem.2' carries no shift"},
    "postact_cnn": {"bn2": "Conv 'conv3' pads with zeros"},
}

# What stands in front of a BatchNormalization and behind it, somewhere in each; None is the graph's own input.
POSITIONS = {
    "crnn": ("Reshape", "Transpose"),
    "decoder": ("Conv", "ConvTranspose"),
    "densenet": ("Concat", "Relu"),
    "digits_cnn": ("Conv", "Relu"),
    "iresnet": ("Add", "Conv"),
    "levit": ("Reshape", "Reshape"),
    "mlp": ("Gemm", "Relu"),
    "mobile": ("Conv", "Clip"),
    "pointnet": ("Conv", "ReduceMax"),
    "postact_cnn": ("Relu", "Conv"),
    "preact_resnet": ("Add", "Relu"),
    "prenorm_mlp": (None, "Gemm"),
    "repvgg": ("Relu", "Add"),
    "siamese": ("Gemm", "Relu"),
    "unet": ("ConvTranspose", "Relu"),
}

every_network = pytest.mark.parametrize("network", zoo.NETWORKS.values(), ids=lambda network: network.name)


@cache
def folded(name: str) -> bnfold.FoldResult:
    return bnfold.fold(MODELS / name / "model.onnx")


@cache
def data_of(name: str) -> zoo.data.Dataset:
    return zoo.find(name).load_data()


def run(model: bytes, network: zoo.Network, inputs: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (outputs,) = session.run([network.output_name], {network.input_name: inputs})
    return outputs


def test_every_network_ships_and_nothing_else():
    folders = {path.name for path in MODELS.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(zoo.NETWORKS)
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) < EVERYTHING


def test_the_table_is_that_of_the_files():
    assert build.main(["--check"]) == 0, "run python models/build.py --table"


@every_network
def test_is_trained_as_its_recipe_says(network):
    metrics = json.loads((MODELS / network.name / "metrics.json").read_text())
    told = {"epochs": 20, "seed": 0, "lr": 0.05, "batch_size": 64, "optimizer": "sgd", "target": None}
    assert told | network.recipe == {key: metrics["settings"][key] for key in told}
    assert len(metrics["epochs"]) == metrics["settings"]["epochs"]
    assert metrics["command"] in (MODELS / network.name / "card.md").read_text()


@every_network
def test_its_batch_norms_are_trained(network):
    weights = load_file(MODELS / network.name / "weights.safetensors")
    module = network.build()
    norms = [name for name, part in module.named_modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms
    for name in norms:
        for part in ("weight", "bias", "running_mean", "running_var"):
            assert len(weights[f"{name}.{part}"].unique()) > 1, f"{name}.{part} is as it was built"


@every_network
def test_has_a_batch_norm_where_it_is_known_for_it(network):
    norms = [node for node in ir.load(MODELS / network.name / "model.onnx").graph if "BatchNorm" in node.op_type]
    found = set()
    for node in norms:
        producer = node.inputs[0].producer()
        found |= {(producer and producer.op_type, reader.op_type) for reader in node.outputs[0].consumers()}
    assert POSITIONS[network.name] in found
    assert network.name != "siamese" or len({node.inputs[1] for node in norms}) < len(norms), "it shares its weights"


@every_network
def test_onnxruntime_reaches_the_score_that_is_claimed_before_and_after_folding(network):
    folder, data = MODELS / network.name, data_of(network.name)
    claimed = json.loads((folder / "metrics.json").read_text())["accuracy"]
    after = ir.to_proto(folded(network.name).model).SerializeToString()
    for model in ((folder / "model.onnx").read_bytes(), after):
        score = network.task.score(run(model, network, data.held_out_inputs), data.held_out_targets)
        assert score == pytest.approx(claimed, abs=SAME_SCORE)
    assert claimed >= WORSE.get(network.name, GOOD)
    assert f"| held-out {network.task.score_name} | {claimed:.2%} " in (folder / "card.md").read_text()


@every_network
def test_the_model_says_what_its_weights_say(network):
    folder, inputs = MODELS / network.name, data_of(network.name).held_out_inputs[:50]
    module = network.build().eval()
    module.load_state_dict(load_file(folder / "weights.safetensors"), strict=True)
    exact = module.double()(torch.from_numpy(inputs).double()).detach().numpy()

    outputs = run((folder / "model.onnx").read_bytes(), network, inputs)

    assert np.abs(outputs - exact).max() <= 1e-5 * np.abs(exact).max()


@every_network
def test_what_stays_is_what_is_known_to_stay(network):
    kept = {affine.node: affine.reason for affine in folded(network.name).kept}
    expected = STAY.get(network.name, {})
    assert kept.keys() == expected.keys()
    assert all(reason in kept[node] for node, reason in expected.items())


@pytest.mark.slow
@every_network
def test_the_folded_model_is_verified(network, tmp_path):
    folded(network.name).save(tmp_path / "folded.onnx")
    comparison = bnfold.verify(MODELS / network.name / "model.onnx", tmp_path / "folded.onnx")
    assert comparison, comparison


@pytest.mark.slow
@every_network
def test_the_model_is_the_export_of_its_weights(network, tmp_path):
    """Each exports, and passes the export's own checks on the held-out data."""
    shipped = MODELS / network.name
    exporting.export(network.name, weights=shipped / "weights.safetensors", output=tmp_path / "model.onnx")
    before, now = (ir.load(path) for path in (shipped / "model.onnx", tmp_path / "model.onnx"))
    assert [(node.name, node.op_type) for node in now.graph] == [(node.name, node.op_type) for node in before.graph]
    assert now.graph.initializers.keys() == before.graph.initializers.keys()
    for name, value in now.graph.initializers.items():
        assert value.const_value.tobytes() == before.graph.initializers[name].const_value.tobytes(), name
