"""Weights are loaded strictly: whatever does not fit is named, and nothing is written."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from bnfold.errors import ModelError, ModelFileError
from bnfold.exporting import export


@pytest.fixture
def weights(shipped):
    return load_file(shipped / "weights.safetensors")


def refusal(tmp_path, kind=ModelError):
    """The message with which ``tmp_path/w.safetensors`` is refused."""
    with pytest.raises(kind) as caught:
        export("digits_cnn", weights=tmp_path / "w.safetensors", output=tmp_path / "model.onnx")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "model.onnx").exists()
    return str(caught.value)


def test_missing_weights_say_how_to_get_some(tmp_path):
    message = refusal(tmp_path, ModelFileError)

    assert "w.safetensors: no such file; run 'bnfold train digits_cnn', or give --weights FILE" in message


def test_a_folder_is_no_weights(tmp_path):
    (tmp_path / "w.safetensors").mkdir()

    assert "cannot be read: Is a directory" in refusal(tmp_path, ModelFileError)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", bytes(8), b"\xff" * 64])
def test_corrupt_weights_are_refused(content, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(content)

    assert "is not a safetensors file, or is truncated" in refusal(tmp_path, ModelFileError)


def test_truncated_weights_are_refused(shipped, tmp_path):
    (tmp_path / "w.safetensors").write_bytes((shipped / "weights.safetensors").read_bytes()[:-1])

    assert "is not a safetensors file, or is truncated" in refusal(tmp_path, ModelFileError)


def test_missing_and_unknown_names_are_listed(weights, tmp_path):
    weights["bn9.weight"] = weights.pop("bn4.weight")
    save_file(weights, tmp_path / "w.safetensors")

    message = refusal(tmp_path)

    assert "missing: bn4.weight; not in the network: bn9.weight" in message


def test_a_long_list_of_names_is_cut(tmp_path):
    save_file({"other": torch.zeros(1)}, tmp_path / "w.safetensors")

    assert "bn1.weight and 23 more; not in the network: other" in refusal(tmp_path)


def test_another_shape_is_named(weights, tmp_path):
    weights["fc2.bias"] = torch.zeros(11)
    save_file(weights, tmp_path / "w.safetensors")

    assert "of another shape or dtype: fc2.bias (float32[11] for float32[10])" in refusal(tmp_path)


def test_another_dtype_is_named_instead_of_converted(weights, tmp_path):
    weights["fc2.bias"] = weights["fc2.bias"].double()
    save_file(weights, tmp_path / "w.safetensors")

    assert "fc2.bias (float64[10] for float32[10])" in refusal(tmp_path)


def test_nan_is_refused(weights, tmp_path):
    weights["bn2.running_var"][5] = float("nan")
    save_file(weights, tmp_path / "w.safetensors")

    assert "not finite: bn2.running_var" in refusal(tmp_path)
