"""Training: good enough, the same every time, and never half-written."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bnfold import zoo
from bnfold.errors import BnfoldError, MissingDependencyError
from bnfold.training import files, train

FILES = ["card.md", "curve.svg", "metrics.json", "metrics.jsonl", "weights.safetensors"]
AT_THE_END = ["card.md", "curve.svg", "metrics.json", "weights.safetensors"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train("digits_cnn", output=tmp_path_factory.mktemp("trained"))


def weights(folder, **settings):
    """The bytes that two quick epochs give."""
    train("digits_cnn", output=folder, **{"epochs": 2, **settings})
    return (folder / "weights.safetensors").read_bytes()


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_reaches_97_percent_on_held_out_digits(trained):
    assert trained.accuracy >= 0.97
    assert len(trained.epochs) == 20
    assert trained


def test_writes_weights_metrics_and_card_and_nothing_else(trained):
    assert names(trained.folder) == FILES


def test_weights_fit_the_network_and_are_those_of_the_last_epoch(trained):
    module = zoo.find("digits_cnn").build()
    module.load_state_dict(load_file(trained.folder / "weights.safetensors"), strict=True)
    data = zoo.data.load("digits")

    with torch.inference_mode():
        right = module.eval()(torch.from_numpy(data.held_out_inputs)).argmax(1).numpy() == data.held_out_targets

    assert right.mean() == trained.epochs[-1].held_out_accuracy == trained.accuracy


def test_metrics_hold_every_epoch_the_command_and_the_versions(trained):
    metrics = json.loads((trained.folder / "metrics.json").read_text())

    assert [epoch["epoch"] for epoch in metrics["epochs"]] == list(range(1, 21))
    assert set(metrics["epochs"][0]) == {"epoch", "loss", "train_accuracy", "held_out_accuracy", "seconds"}
    assert metrics["epochs"][-1]["loss"] < metrics["epochs"][0]["loss"]
    assert metrics["command"].startswith("bnfold train digits_cnn --epochs 20 --seed 0 ")
    assert {"bnfold", "python", "torch", "scikit-learn"} <= set(metrics["versions"])
    assert metrics["settings"] == {
        "epochs": 20, "seed": 0, "lr": 0.05, "batch_size": 64, "optimizer": "sgd", "schedule": "cosine",
        "norm": "batch", "placement": None, "momentum": None, "eps": None, "exact_stats": False, "target": None,
        "device": "cpu",
    }  # fmt: skip
    lines = (trained.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == metrics["epochs"]
    assert metrics["train_size"] + metrics["held_out_size"] == 1797


def test_card_says_where_the_batch_norms_are_and_how_to_rebuild(trained):
    card = (trained.folder / "card.md").read_text()

    assert "bn1 (16), bn2 (32), bn3 (32), bn4 (64)" in card
    assert f"{trained.accuracy:.2%}" in card
    assert trained.command in card
    assert "CC BY 4.0" in card


def test_nothing_written_holds_a_path_of_this_machine(trained):
    for path in trained.folder.iterdir():
        content = path.read_bytes()
        for secret in (trained.folder, Path(__file__).parents[2], sys.prefix):
            assert os.fsencode(secret) not in content


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_another_seed_gives_other_bytes(tmp_path):
    assert weights(tmp_path / "a") != weights(tmp_path / "b", seed=1)


def test_the_callers_random_state_and_threads_neither_matter_nor_change(tmp_path):
    expected = weights(tmp_path / "a")
    threads = torch.get_num_threads()
    torch.manual_seed(7)
    torch.set_num_threads(2)
    state = torch.get_rng_state()
    try:
        assert weights(tmp_path / "b") == expected
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        torch.set_num_threads(threads)


def test_refuses_to_overwrite_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "weights.safetensors").write_bytes(b"hours of work")
    monkeypatch.setattr(zoo.Network, "build", lambda self: pytest.fail("worked before it looked"))

    with pytest.raises(BnfoldError, match="already there; --overwrite") as caught:
        train("digits_cnn", output=tmp_path)

    assert caught.value.exit_code == 2
    assert (tmp_path / "weights.safetensors").read_bytes() == b"hours of work"
    assert names(tmp_path) == ["weights.safetensors"]


def test_overwrites_when_told_to(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"an old experiment")

    assert weights(tmp_path, overwrite=True) != b"an old experiment"


def test_interrupted_in_training_it_leaves_what_it_needs_to_go_on(tmp_path, monkeypatch):
    calls = iter(range(30))  # in the second epoch
    cross_entropy = torch.nn.functional.cross_entropy

    def interrupted(*args):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return cross_entropy(*args)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", interrupted)

    with pytest.raises(KeyboardInterrupt):
        train("digits_cnn", output=tmp_path / "new")

    assert names(tmp_path / "new") == ["checkpoint.pt", "metrics.jsonl"]


@pytest.mark.parametrize("name", AT_THE_END)
def test_interrupted_in_writing_it_leaves_the_old_files_whole(name, tmp_path, monkeypatch):
    old = {file: f"old {file}".encode() for file in AT_THE_END}
    for file, content in old.items():
        (tmp_path / file).write_bytes(content)
    write_bytes = Path.write_bytes

    def interrupted(path, content):
        write_bytes(path, content[: len(content) // 2])
        if path.name == name:
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)

    with pytest.raises(KeyboardInterrupt):
        train("digits_cnn", output=tmp_path, epochs=1, overwrite=True)

    assert {file: (tmp_path / file).read_bytes() for file in AT_THE_END} == old
    assert names(tmp_path) == sorted([*FILES, "checkpoint.pt"])


@pytest.mark.parametrize("settings", [
    {"optimizer": "adamw", "lr": 0.002}, {"schedule": "constant"},
    {"norm": "none", "optimizer": "adamw", "lr": 0.003}, {"norm": "ghost:16"},
    {"momentum": 0.5}, {"eps": 0.1}, {"exact_stats": True},
])  # fmt: skip
def test_every_setting_changes_the_weights_learns_and_is_named_in_the_command(tmp_path, settings):
    plain = weights(tmp_path / "plain", epochs=3)
    result = train("digits_cnn", output=tmp_path / "other", epochs=3, **settings)
    assert (tmp_path / "other" / "weights.safetensors").read_bytes() != plain
    assert result.accuracy > 0.85
    for name, value in settings.items():
        words = f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
        assert words in result.command


def test_without_norms_there_are_none_and_the_card_says_so(tmp_path):
    result = train("digits_cnn", output=tmp_path, epochs=1, norm="none", lr=0.02)
    assert result.batch_norms == {}
    assert not any("running" in name for name in load_file(tmp_path / "weights.safetensors"))
    assert "| BatchNorms | none |" in (tmp_path / "card.md").read_text()


def test_exact_statistics_are_those_of_all_training_data(tmp_path):
    result = train("digits_cnn", output=tmp_path, epochs=2, exact_stats=True)
    module = zoo.find("digits_cnn").build()
    module.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    images = torch.from_numpy(zoo.data.load("digits").train_inputs)
    with torch.inference_mode():
        seen = module.conv1(images)
    torch.testing.assert_close(module.bn1.running_mean, seen.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(module.bn1.running_var, seen.var((0, 2, 3)), rtol=1e-4, atol=1e-6)
    assert "exact statistics" in (tmp_path / "card.md").read_text()
    assert result.accuracy > 0.9


def test_a_target_ends_the_training_and_the_card_says_what_that_costs(tmp_path):
    result = train("digits_cnn", output=tmp_path, target=0.9)
    assert result
    assert len(result.epochs) < 20
    assert all(epoch.held_out_accuracy < 0.9 for epoch in result.epochs[:-1])
    assert "chooses the last epoch, the first to reach 90.00%" in (tmp_path / "card.md").read_text()


def test_other_weights_take_an_older_export_with_them_and_the_same_keep_it(tmp_path):
    weights(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"exported")
    weights(tmp_path, overwrite=True)
    assert (tmp_path / "model.onnx").exists()
    weights(tmp_path, overwrite=True, seed=1)
    assert not (tmp_path / "model.onnx").exists()


def test_a_missed_target_is_false_and_still_written(tmp_path):
    result = train("digits_cnn", output=tmp_path, epochs=1, target=1.0)

    assert not result
    assert names(tmp_path) == FILES


def test_a_loss_that_explodes_is_an_error_and_writes_nothing(tmp_path):
    with pytest.raises(BnfoldError, match="not finite: try a smaller --lr"):
        train("digits_cnn", output=tmp_path / "new", epochs=2, lr=1e30)

    assert not (tmp_path / "new").exists()


def test_a_score_that_explodes_with_the_last_step_is_an_error_and_writes_nothing(tmp_path):
    with pytest.raises(BnfoldError, match="the score of epoch 1 is not finite: try a smaller --lr"):
        train("decoder", output=tmp_path / "new", epochs=1, batch_size=1347, lr=1e30)

    assert not (tmp_path / "new").exists()


def test_a_loss_that_explodes_later_leaves_no_checkpoint_that_would_come_to_the_same(tmp_path, monkeypatch):
    calls = iter(range(30))  # in the second epoch
    cross_entropy = torch.nn.functional.cross_entropy

    def exploding(*args):
        return cross_entropy(*args) * (torch.inf if next(calls, None) is None else 1)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", exploding)
    with pytest.raises(BnfoldError, match="the loss of epoch 2 is not finite"):
        train("digits_cnn", output=tmp_path)
    assert names(tmp_path) == ["metrics.jsonl"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "--epochs 0"),
        ({"seed": -1}, "--seed -1"),
        ({"lr": 0.0}, "--lr 0.0"),
        ({"lr": float("nan")}, "--lr nan"),
        ({"batch_size": 1}, "--batch-size 1: BatchNorm needs at least 2 rows"),
        ({"batch_size": 1348}, "--batch-size 1348: there are 1347 rows"),
        ({"optimizer": "lion"}, "--optimizer lion: give sgd or adamw"),
        ({"schedule": "step"}, "--schedule step: give cosine or constant"),
        ({"norm": "layer"}, "--norm layer: give batch"),
        ({"norm": "ghost:65"}, "--norm ghost:65: a batch has 64 rows"),
        ({"momentum": 0.0}, "--momentum 0.0"),
        ({"momentum": 1.5}, "--momentum 1.5"),
        ({"eps": 0.0}, "--eps 0.0"),
        ({"eps": float("inf")}, "--eps inf"),
        ({"device": "tpu"}, "--device tpu: give cpu or cuda"),
        ({"placement": "post"}, "placement post: the BatchNorms of digits_cnn have their fixed places"),
        ({"target": 97}, "--target 97: an accuracy lies between 0 and 1"),
    ],
)
def test_refuses_settings_that_make_no_sense(settings, message, tmp_path):
    with pytest.raises(BnfoldError, match=message):
        train("digits_cnn", output=tmp_path, **settings)

    assert names(tmp_path) == []


def test_refuses_a_file_for_a_folder_before_any_work(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(BnfoldError, match="cannot be written"):
        files.check_folder(tmp_path / "file" / "folder", overwrite=False, resume=False)


@pytest.mark.parametrize("module", ["torch", "safetensors"])
def test_names_the_extra_when_torch_is_missing(module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(MissingDependencyError, match=rf"{module} is not installed: pip install 'bnfold\[torch\]'"):
        train("digits_cnn", output=tmp_path)


def test_writes_to_models_name_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    train("digits_cnn", epochs=1)

    assert names(tmp_path / "models" / "digits_cnn") == FILES
