"""What is left of a run that is killed, and that it goes on to the same bytes."""

import json
import resource
import shutil
import signal
import time

import pytest
import torch

from bnfold import zoo
from bnfold.errors import BnfoldError, ModelFileError
from bnfold.reporting.document import Text
from bnfold.reporting.training import document
from bnfold.training import train
from bnfold.training.checkpoints import Checkpoint
from tests.helpers import children

EPOCHS, STEPS = 3, 1347 // 64
SETTINGS = {
    "dropout": {"name": "digits_cnn", "epochs": EPOCHS, "norm": "ghost:16"},
    "adamw": {"name": "mlp", "epochs": EPOCHS, "optimizer": "adamw", "lr": 0.003, "schedule": "constant"},
}
FILES = ["card.md", "curve.svg", "metrics.json", "metrics.jsonl", "weights.safetensors"]
LOSS, CHECKPOINT, LOGGED = "torch.nn.functional.cross_entropy", "torch.save", "os.fsync"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The bytes and the history of each run that nothing interrupts."""
    made = {}
    for name, settings in SETTINGS.items():
        folder = tmp_path_factory.mktemp(name)
        train(output=folder, **settings)
        made[name] = outcome(folder)
    return made


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def log(folder):
    """The lines of the log, without the time they took."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def outcome(folder):
    """All that a run leaves, without the time that it took."""
    metrics = json.loads((folder / "metrics.json").read_text())
    for epoch in metrics["epochs"]:
        del epoch["seconds"]
    bytes_of = {name: (folder / name).read_bytes() for name in ("weights.safetensors", "curve.svg", "card.md")}
    return names(folder), bytes_of, metrics, log(folder)


@pytest.mark.parametrize(("optimizer", "place", "call", "epochs_kept"), [
    ("adamw", LOSS, 5, 0),  # in the first epoch
    ("dropout", LOSS, STEPS + 7, 1),  # between two steps of the second
    ("adamw", LOSS, 2 * STEPS + 1, 2),  # at the first step of the third
    ("adamw", "bnfold.training.loop._score", 4, 1),  # when the second is judged
    ("adamw", CHECKPOINT, 2, 1),  # the second is over, and neither logged nor kept
    ("adamw", LOGGED, 2, 1),  # the second is logged, and not kept
    ("dropout", LOGGED, 3, 2),  # the third is written, and not in its place
    ("adamw", "bnfold.modelfile.staging._publish", 2, 3),  # one of the results is in its place, the others are not
    ("adamw", "bnfold.training.checkpoints.Checkpoint.discard", 2, 3),  # all is done but for the checkpoint
])  # fmt: skip
def test_killed_anywhere_it_loses_an_epoch_at_most_and_comes_to_the_same_bytes(
    uninterrupted, tmp_path, optimizer, place, call, epochs_kept
):
    settings = SETTINGS[optimizer] | {"output": tmp_path / "run"}
    child = children.start(children.train_until, place, call, settings)
    assert children.end(child) == -signal.SIGKILL

    result = train(**settings, resume=True)

    assert result.resumed_after == epochs_kept
    sweep(tmp_path / "run")
    assert outcome(tmp_path / "run") == uninterrupted[optimizer]


def sweep(folder):
    """A kill in the middle of writing the results leaves a folder with a part of them, which nothing reads."""
    for path in folder.glob(".*"):
        assert path.is_dir()
        shutil.rmtree(path)


def test_killed_from_outside_again_and_again_it_comes_to_the_same_bytes(uninterrupted, tmp_path):
    settings = SETTINGS["dropout"] | {"output": tmp_path / "run"}
    for epochs in (1, 2):  # whose lines are there
        child = children.start(train_again, settings)
        wait_for(tmp_path / "run" / "metrics.jsonl", epochs)
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert len(log(tmp_path / "run")) < EPOCHS
    assert train(**settings, resume=True).resumed_after >= 1
    assert outcome(tmp_path / "run") == uninterrupted["dropout"]


def train_again(settings):
    train(**settings, resume=True)


def wait_for(path, lines):
    deadline = time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b"\n") < lines:
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(scope="module")
def killed_in_its_second_epoch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    settings = {"name": "mlp", "epochs": 3, "output": folder}
    assert children.end(children.start(children.train_until, LOSS, STEPS + 3, settings)) == -signal.SIGKILL
    return folder


@pytest.fixture
def killed(killed_in_its_second_epoch, tmp_path):
    """What such a run was told, and what it left in ``tmp_path``."""
    shutil.copytree(killed_in_its_second_epoch, tmp_path, dirs_exist_ok=True)
    return {"name": "mlp", "epochs": 3, "output": tmp_path}


@pytest.mark.usefixtures("killed")
def test_while_it_runs_the_log_and_the_checkpoint_are_all_there_is(tmp_path):
    assert names(tmp_path) == ["checkpoint.pt", "metrics.jsonl"]
    assert [line["epoch"] for line in log(tmp_path)] == [1]


@pytest.mark.usefixtures("killed")
def test_a_checkpoint_is_data_and_runs_no_code(tmp_path):
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["identity"]["network"] == "mlp"
    assert str(tmp_path).encode() not in (tmp_path / "checkpoint.pt").read_bytes()


def test_neither_goes_on_nor_begins_anew_unless_told_which(killed, tmp_path):
    with pytest.raises(BnfoldError, match="a run that was interrupted left it; --resume goes on, --overwrite starts"):
        train(**killed)
    assert train(**killed, overwrite=True).resumed_after == 0
    assert names(tmp_path) == FILES


def test_what_is_refused_takes_no_checkpoint_along(killed, tmp_path):
    for wrong in ({"placement": "middle"}, {"data": "letters"}, {"batch_size": 5000}):
        with pytest.raises(BnfoldError):
            train(**killed, overwrite=True, **wrong)
    assert names(tmp_path) == ["checkpoint.pt", "metrics.jsonl"]


def test_another_run_is_not_continued_and_what_differs_is_listed(killed, tmp_path):
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(BnfoldError) as caught:
        train(**killed | {"epochs": 5, "lr": 0.1, "placement": "post"}, resume=True)
    message = str(caught.value)
    assert "epochs 3 there, 5 here; lr 0.05 there, 0.1 here; placement not set there, post here; --resume" in message
    with pytest.raises(BnfoldError, match=r"data digits there, wine here; digest of the data \w+ there, \w+ here"):
        train(**killed, data="wine", resume=True)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_pictures_that_changed_meanwhile_are_noticed(killed, tmp_path, monkeypatch):
    load = zoo.Network.load_data

    def changed(*arguments):
        data = load(*arguments)
        data.train_inputs[5, 0, 3, 3] += 0.5
        return data

    monkeypatch.setattr(zoo.Network, "load_data", changed)
    with pytest.raises(BnfoldError, match=r"is of another run: digest of the data \w+ there, \w+ here; --resume"):
        train(**killed, resume=True)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", "cut"])
def test_what_is_no_checkpoint_is_an_error(killed, tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-100] if content == "cut" else content)
    with pytest.raises(ModelFileError, match="no checkpoint that can be read; --overwrite starts anew"):
        train(**killed, resume=True)


def test_a_byte_that_changed_is_noticed(killed, tmp_path):
    path = tmp_path / "checkpoint.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1  # in the middle of some weights
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)  # torch does not look
    with pytest.raises(ModelFileError, match="no checkpoint that can be read; --overwrite starts anew"):
        train(**killed, resume=True)


@pytest.mark.parametrize("change", [
    lambda state: state.pop("identity"),
    lambda state: state.update(identity=[1]),
    lambda state: state.pop("module"),
    lambda state: state["module"].popitem(),
    lambda state: state.update(generators=[]),
    lambda state: state.update(shuffling=torch.zeros(3, dtype=torch.uint8)),
    lambda state: state["history"][0].pop("loss"),
])  # fmt: skip
def test_a_checkpoint_of_other_parts_is_an_error(killed, tmp_path, change):
    path = tmp_path / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    with pytest.raises(ModelFileError, match="no checkpoint that can be read; --overwrite starts anew"):
        train(**killed, resume=True)


def test_on_a_full_disk_it_says_so_and_keeps_the_checkpoint_before(tmp_path):
    settings = {"name": "mlp", "epochs": 3, "output": tmp_path}
    assert children.end(children.start(with_a_full_disk, settings, "cannot be written: File too large")) == 0
    assert names(tmp_path) == ["checkpoint.pt", "metrics.jsonl"]
    assert train(**settings, resume=True).resumed_after == 1


def with_a_full_disk(settings, message):
    """Train; from the second epoch on no file can grow beyond a few kilobytes."""
    keep = Checkpoint.keep

    def keep_and_fill(self, run):
        if len(run.history) == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        keep(self, run)

    Checkpoint.keep = keep_and_fill
    with pytest.raises(ModelFileError, match=message):
        train(**settings)


def test_a_log_that_cannot_be_written_is_an_error(killed, tmp_path):
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(ModelFileError, match="cannot be written: Is a directory"):
        train(**killed, resume=True)


def test_without_a_checkpoint_it_begins_and_finished_weights_stay(tmp_path):
    settings = {"name": "mlp", "epochs": 1, "output": tmp_path, "resume": True}
    assert train(**settings).resumed_after == 0
    with pytest.raises(BnfoldError, match="already there; --overwrite replaces them"):
        train(**settings)


def test_a_run_that_replaces_weights_can_be_resumed_and_they_stay_until_its_end(tmp_path):
    train("mlp", output=tmp_path, epochs=1)
    old = (tmp_path / "weights.safetensors").read_bytes()
    settings = {"name": "mlp", "epochs": 3, "output": tmp_path, "overwrite": True}
    assert children.end(children.start(children.train_until, LOSS, STEPS + 3, settings)) == -signal.SIGKILL
    assert (tmp_path / "weights.safetensors").read_bytes() == old
    assert train(**settings | {"overwrite": False}, resume=True).resumed_after == 1
    assert (tmp_path / "weights.safetensors").read_bytes() != old
    assert names(tmp_path) == FILES


def test_a_run_that_reached_its_target_is_not_trained_further(tmp_path):
    settings = {"name": "digits_cnn", "epochs": 9, "target": 0.9, "output": tmp_path / "run"}
    place = "bnfold.training.checkpoints.Checkpoint.discard"
    assert children.end(children.start(children.train_until, place, 2, settings)) == -signal.SIGKILL
    result = train(**settings, resume=True)
    assert result
    assert result.resumed_after == len(result.epochs) < 9


def test_the_report_says_that_it_went_on(killed):
    result = train(**killed, resume=True)
    words = [block.text for block in document(result).blocks if isinstance(block, Text)]
    assert any("3 epochs in" in line and line.endswith(", 1 of them before the interruption") for line in words)
