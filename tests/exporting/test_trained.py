"""What ``bnfold train`` wrote, however it was trained, is exported as the network that it is."""

import json
import shutil

import pytest

from bnfold import linting
from bnfold.exporting import export
from bnfold.training import train


@pytest.mark.parametrize(
    ("settings", "norms", "shape"),
    [
        ({"eps": 1.0}, 3, ("batch", 1, 8, 8)),  # in no state dict: the weights fit with any
        ({"placement": "post"}, 3, ("batch", 1, 8, 8)),
        ({"norm": "none"}, 0, ("batch", 1, 8, 8)),
        ({"data": "wine", "placement": "input", "norm": "ghost:16"}, 3, ("batch", 13)),
    ],
    ids=str,
)
def test_an_export_is_the_network_that_was_trained(settings, norms, shape, tmp_path):
    trained = train("mlp", output=tmp_path, epochs=2, **settings)

    exported = export("mlp", weights=tmp_path / "weights.safetensors")

    assert exported.accuracy == pytest.approx(trained.accuracy, abs=1e-9)
    assert exported.rows == trained.held_out_size
    assert exported.nodes.get("BatchNormalization", 0) == norms
    assert exported.inputs[0].shape == shape
    assert "    bnfold export mlp\n" in (tmp_path / "card.md").read_text()


def test_a_lint_looks_at_the_network_that_was_trained(tmp_path):
    train("mlp", output=tmp_path, epochs=1, eps=0.5)

    source = linting.ModuleSource("mlp", weights=tmp_path / "weights.safetensors")

    assert len(linting.lint(source, select=["BN201"])) == 3  # an epsilon that is too large


def test_data_that_are_gone_leave_made_up_inputs_to_judge(tmp_path):
    train("mlp", output=tmp_path, epochs=1)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    (tmp_path / "metrics.json").write_text(json.dumps(metrics | {"data": f"folder:{tmp_path / 'gone'}"}))

    exported = export("mlp", weights=tmp_path / "weights.safetensors")

    assert exported.accuracy is None
    assert exported.agreement


@pytest.mark.parametrize("content", ["", "[]", '{"network": "another", "settings": {"eps": 1.0}}'])
def test_a_file_that_is_not_of_this_run_says_nothing(content, shipped, tmp_path):
    shutil.copy(shipped / "weights.safetensors", tmp_path)
    (tmp_path / "metrics.json").write_text(content)

    exported = export("digits_cnn", weights=tmp_path / "weights.safetensors")

    assert exported.path.read_bytes() == (shipped / "model.onnx").read_bytes()
