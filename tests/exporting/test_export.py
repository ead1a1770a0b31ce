"""Exports: every BatchNormalization kept, the batch free, and no file that disagrees with PyTorch."""

import os
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from safetensors.torch import load_file

from bnfold import modelfile
from bnfold.errors import BnfoldError, ExportError, MissingDependencyError
from bnfold.exporting import export, pipeline
from bnfold.exporting.conversion import Converted
from bnfold.runtime import sessions
from bnfold.runtime.isolation import run_isolated


@pytest.fixture
def model(exported):
    return modelfile.load(exported.path)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_keeps_every_batch_norm_in_inference_mode(model, exported):
    norms = [node for node in model.graph if node.op_type == "BatchNormalization"]

    assert [node.name for node in norms] == ["bn1", "bn2", "bn3", "bn4"]
    assert all(node.attributes.get_int("training_mode", 0) == 0 for node in norms)
    assert exported.batch_norms == exported.nodes["BatchNormalization"] == 4


def test_holds_the_network_and_none_of_the_exporters_clutter(exported):
    assert exported.nodes == {
        "BatchNormalization": 4,
        "Conv": 3,
        "Gemm": 2,
        "MaxPool": 1,
        "Relu": 4,
        "Reshape": 1,
    }


def test_holds_every_weight_bit_for_bit(model, shipped):
    initializers = {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}
    weights = load_file(shipped / "weights.safetensors")

    for name, tensor in weights.items():
        if not name.endswith("num_batches_tracked"):
            assert (initializers.pop(name) == tensor.numpy()).all()
    (shape,) = initializers.values()
    assert shape.tolist() == [-1, 128]


def test_has_the_promised_interface(model):
    assert [(value.name, str(value.shape)) for value in model.graph.inputs] == [("image", "[batch,1,8,8]")]
    assert [(value.name, str(value.shape)) for value in model.graph.outputs] == [("logits", "[batch,10]")]


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_takes_any_batch(rows, exported):
    image = np.zeros((rows, 1, 8, 8), np.float32)
    request = {"path": exported.path, "level": sessions.Level.DISABLED, "feeds": [{"image": image}]}

    (outputs,) = run_isolated("bnfold.runtime.sessions:run", request, subject="model.onnx")

    assert outputs["logits"].shape == (rows, 10)


def test_is_a_valid_model(exported):
    onnx.checker.check_model(exported.path, full_check=True)


def test_holds_no_path_of_this_machine(exported):
    content = exported.path.read_bytes()

    for secret in (Path(pipeline.__file__).parents[1], sys.prefix, exported.path.parent):
        assert os.fsencode(secret) not in content
    assert b".py" not in content
    assert b"pkg.torch" not in content


def test_the_same_weights_give_the_same_bytes(exported, tmp_path):
    again = export("digits_cnn", weights=exported.weights, output=tmp_path / "again.onnx")

    assert again.path.read_bytes() == exported.path.read_bytes()


def test_onnxruntime_agrees_with_pytorch_on_random_and_on_real_rows(exported):
    assert [case.inputs for case in exported.agreement] == [
        "random, 64×1×8×8",
        "random, one row, 1×1×8×8",
        "held-out, 450×1×8×8",
    ]
    assert exported.settled == ()
    assert all(case.ratio <= 2 for case in exported.agreement)
    assert all(case.scaled_error < 1e-5 for case in exported.agreement)


def test_writes_beside_the_weights_by_default(exported, tmp_path):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(exported.weights.read_bytes())

    result = export("digits_cnn", weights=weights)

    assert result.path == tmp_path / "model.onnx"
    assert names(tmp_path) == ["model.onnx", "weights.safetensors"]


def _set(model, name, change):
    value = model.graph.initializers[name]
    array = value.const_value.numpy().copy()
    change(array)
    value.const_value = ir.tensor(array, name=name)


def _norm(model, name):
    return next(node for node in model.graph if node.name == name)


def weight_off_by_a_thousandth(model):
    def change(array):
        array[0, 0, 1, 1] += 1e-3

    _set(model, "conv2.weight", change)


def channels_swapped(model):
    def change(array):
        array[[0, 1]] = array[[1, 0]]

    _set(model, "bn3.bias", change)


def bias_lost(model):
    def change(array):
        array[3] = 0

    _set(model, "fc1.bias", change)


def epsilon_dropped(model):
    _norm(model, "bn1").attributes["epsilon"] = ir.AttrFloat32("epsilon", 0.0)


def batch_baked_in(model):
    _set(model, "node_view_shape", lambda array: array.__setitem__(0, 64))


def nothing_but_nan(model):
    _set(model, "fc2.bias", lambda array: array.fill(np.nan))


def norm_removed(model):
    node = _norm(model, "bn2")
    node.outputs[0].replace_all_uses_with(node.inputs[0])
    model.graph.remove(node, safe=True)


def left_in_training_mode(model):
    _norm(model, "bn4").attributes["training_mode"] = ir.AttrInt64("training_mode", 1)


def output_renamed(model):
    model.graph.outputs[0].name = "scores"


def batch_of_fixed_size(model):
    model.graph.inputs[0].shape = ir.Shape([64, 1, 8, 8])


@pytest.mark.parametrize(
    ("sabotage", "message"),
    [
        (weight_off_by_a_thousandth, "disagree: output 'logits': error against float64, .* \\(at most 2\\)"),
        (channels_swapped, "disagree: .*'logits': "),
        (bias_lost, "disagree: .*'logits': "),
        (epsilon_dropped, "disagree: .*'logits': "),
        (nothing_but_nan, "disagree: .*'logits': "),
        (batch_baked_in, "does not take what PyTorch takes"),
        (norm_removed, "the module calls 4 BatchNorms, and its export has 3 BatchNormalizations"),
        (left_in_training_mode, "exported in training mode: bn4"),
        (output_renamed, r"the graph has the outputs \['scores'\] where \['logits'\]"),
        (batch_of_fixed_size, "the exporter fixed axis 'batch' of image"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_wrong_export_is_an_error_and_leaves_no_file(sabotage, message, model, shipped, tmp_path, monkeypatch):
    sabotage(model)
    monkeypatch.setattr(pipeline, "_to_onnx", lambda *_: Converted(model, "dynamo"))

    with pytest.raises(ExportError, match=message) as caught:
        export("digits_cnn", weights=shipped / "weights.safetensors", output=tmp_path / "model.onnx")

    assert caught.value.exit_code == 1
    assert names(tmp_path) == []


def test_a_wrong_export_leaves_an_older_file_untouched(model, shipped, tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_bytes(b"older")
    bias_lost(model)
    monkeypatch.setattr(pipeline, "_to_onnx", lambda *_: Converted(model, "dynamo"))

    with pytest.raises(ExportError):
        export("digits_cnn", weights=shipped / "weights.safetensors", output=tmp_path / "model.onnx")

    assert names(tmp_path) == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == b"older"


def test_refuses_an_unknown_network():
    with pytest.raises(BnfoldError, match=r"no network named 'lenet' in the zoo; it has: .*digits_cnn") as caught:
        export("lenet")

    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("torch", r"torch is not installed: pip install 'bnfold\[torch\]'"),
        ("safetensors", r"safetensors is not installed: pip install 'bnfold\[torch\]'"),
        ("onnxscript", r"onnxscript is not installed: pip install 'bnfold\[torch\]'"),
        ("sklearn", r"scikit-learn is not installed: pip install 'bnfold\[study\]'"),
    ],
)
def test_names_the_extra_of_whatever_is_missing(module, message, shipped, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(MissingDependencyError, match=message):
        export("digits_cnn", weights=shipped / "weights.safetensors", output=tmp_path / "model.onnx")

    assert names(tmp_path) == []
