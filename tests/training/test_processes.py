"""Several processes that share each batch, for real: over gloo, on 127.0.0.1."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed, nn

from bnfold import zoo
from bnfold.errors import BnfoldError
from bnfold.training import train
from bnfold.training.norms import synchronise
from bnfold.training.processes import Processes, together
from bnfold.training.synced import SynchronisedBatchNorm
from tests.helpers import children

FILES = ["card.md", "curve.svg", "metrics.json", "metrics.jsonl", "weights.safetensors"]
SETTINGS = {"name": "mlp", "epochs": 2, "lr": 0.02}


def train_quietly(settings):
    train(**settings)


def test_the_shares_of_a_batch_are_all_of_it_once_and_differ_by_a_row():
    for rows, count in [(64, 2), (65, 2), (67, 4), (7, 7)]:
        batch = torch.randperm(rows)
        shares = [Processes(rank=rank, count=count).shard(batch, 0) for rank in range(count)]
        assert torch.equal(torch.cat(shares), batch)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_groups_of_ghosts_stay_together_and_a_single_row_joins_the_one_before():
    for rows, sizes in [(64, [32, 32]), (80, [32, 48]), (65, [32, 33]), (33, [16, 17]), (35, [16, 19])]:
        shares = [Processes(rank=rank, count=2).shard(torch.arange(rows), 16) for rank in range(2)]
        assert [len(share) for share in shares] == sizes
    with pytest.raises(BnfoldError, match="--batch-size 17: too few rows for 2 processes and groups of 16"):
        Processes(count=2).check(17, 16)
    Processes(count=2).check(18, 16)
    with pytest.raises(BnfoldError, match="--batch-size 3: too few rows for 4 processes"):
        Processes(count=4).check(3, 0)


@pytest.mark.parametrize(("settings", "count"), [
    ({}, 2),
    ({"batch_size": 65, "placement": "input", "optimizer": "adamw", "lr": 0.001}, 2),  # 33 rows and 32
    ({"norm": "ghost:10", "batch_size": 51}, 3),  # 10, 20 and 21 rows
    ({"norm": "none", "exact_stats": True}, 2),
    ({"exact_stats": True, "placement": "post", "target": 0.5}, 2),
])  # fmt: skip
def test_several_processes_match_one_with_the_whole_batch(tmp_path, settings, count):
    one = train(**SETTINGS | settings, output=tmp_path / "one")
    ends = children.together(train_quietly, count, SETTINGS | settings | {"output": tmp_path / "all"})
    assert ends == [0] * count

    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == FILES
    expected, found = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "all"))
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(
            found[name], tensor, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
    metrics = json.loads((tmp_path / "all" / "metrics.json").read_text())
    assert len(metrics["epochs"]) == len(one.epochs)
    for epoch, same in zip(metrics["epochs"], one.epochs, strict=True):
        assert epoch["loss"] == pytest.approx(same.loss, abs=1e-5)


def test_killed_together_they_go_on_to_the_same_bytes(tmp_path):
    settings = {"name": "digits_cnn", "epochs": 2, "batch_size": 256}  # with dropout, of which each draws its own
    assert children.together(train_quietly, 2, settings | {"output": tmp_path / "a"}) == [0, 0]
    killing = ("torch.nn.functional.cross_entropy", 8, settings | {"output": tmp_path / "b"})
    assert children.together(children.train_until, 2, *killing) == [-9, -9]
    with pytest.raises(BnfoldError, match="processes 2 there, 1 here"):
        train(**settings, output=tmp_path / "b", resume=True)
    assert children.together(train_quietly, 2, settings | {"output": tmp_path / "b", "resume": True}) == [0, 0]
    first, second = ((tmp_path / name / "weights.safetensors").read_bytes() for name in "ab")
    assert first == second


def refused(settings, message):
    with pytest.raises(BnfoldError, match=message):
        train(**settings)


def test_all_of_them_end_with_what_the_first_cannot_do(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    settings = SETTINGS | {"output": tmp_path, "resume": True}
    assert children.together(refused, 2, settings, "no checkpoint that can be read") == [0, 0]


@pytest.mark.slow
def test_torchrun_starts_them_and_the_first_alone_reports(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "bnfold", "train"]
    done = subprocess.run(
        [*torchrun, "mlp", "-o", tmp_path, "--epochs", "1", "--format", "json"],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["network"] == "mlp"
    assert "Warning" not in done.stderr


def full_batch(rows):
    torch.manual_seed(0)
    data = torch.randn(rows, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    return data, torch.randn(rows, 3, 4, 2, dtype=torch.float64)


def filled(kind, **options):
    norm = kind(3, **options).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 2.0, -1.0]))
        norm.bias.copy_(torch.tensor([1.0, 0.0, -3.0]))
    return norm


def same_as_the_whole_batch(momentum, shares):
    with together("cpu") as processes:
        rows = slice(sum(shares[: processes.rank]), sum(shares[: processes.rank + 1]))
        whole, ours = filled(nn.BatchNorm2d, momentum=momentum), filled(SynchronisedBatchNorm, momentum=momentum)
        for _ in range(2):
            x, wanted = full_batch(sum(shares))
            part = x.detach()[rows].requires_grad_()
            expected, found = whole(x), ours(part)
            torch.testing.assert_close(found, expected[rows], rtol=1e-12, atol=1e-12)
            expected.backward(wanted)
            found.backward(wanted[rows])
            torch.testing.assert_close(part.grad, x.grad[rows], rtol=1e-10, atol=1e-12)
        for own, others in zip(ours.parameters(), whole.parameters(), strict=True):
            distributed.all_reduce(own.grad)
            torch.testing.assert_close(own.grad, others.grad, rtol=1e-10, atol=1e-12)
        for name, buffer in whole.named_buffers():
            torch.testing.assert_close(ours.get_buffer(name), buffer, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(ours.eval()(part), whole.eval()(x)[rows], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("momentum", "shares"), [(0.1, (5, 5)), (None, (7, 2, 1))])
def test_a_synchronised_batch_norm_and_its_gradient_are_those_of_the_whole_batch(momentum, shares):
    assert children.together(same_as_the_whole_batch, len(shares), momentum, shares) == [0] * len(shares)


def one_value_each_is_enough_and_one_in_all_is_not():
    with together("cpu") as processes:
        norm = SynchronisedBatchNorm(1)
        found = norm(torch.tensor([[float(processes.rank)]]))
        assert found.item() == pytest.approx(2 * processes.rank - 1, abs=1e-4)
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            norm(torch.zeros(1 - processes.rank, 1))
        with pytest.raises(ValueError, match="at least 2 axes"):
            norm(torch.zeros(3))


def test_one_row_in_each_process_has_statistics():
    assert children.together(one_value_each_is_enough_and_one_in_all_is_not, 2) == [0, 0]


def without_running_statistics():
    with together("cpu") as processes:
        norm = SynchronisedBatchNorm(1, track_running_stats=False).eval()
        assert norm(torch.tensor([[float(processes.rank)]])).item() == pytest.approx(2 * processes.rank - 1, abs=1e-4)


def test_without_running_statistics_it_takes_those_of_the_batch_at_inference_too():
    assert children.together(without_running_statistics, 2) == [0, 0]


def test_every_batch_norm_is_replaced_and_keeps_its_parameters():
    module = zoo.find("digits_cnn").build()
    state = {name: tensor.data_ptr() for name, tensor in module.state_dict().items()}
    synchronise(module)
    assert sum(type(part) is SynchronisedBatchNorm for part in module.modules()) == 4
    assert {name: tensor.data_ptr() for name, tensor in module.state_dict().items()} == state


def test_outside_torchrun_there_is_one_process():
    with together("cpu") as processes:
        assert processes == Processes()
    module = nn.BatchNorm1d(3)
    assert processes.share(module) is module


def test_variables_of_torchrun_that_are_not_all_there_are_an_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BnfoldError, match="WORLD_SIZE is 2, but the others are not to be found"), together("cpu"):
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_gpu_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(BnfoldError, match="--device cuda: PyTorch finds 0 CUDA devices here"):
        train("mlp", output=tmp_path / "new", device="cuda")
    assert not (tmp_path / "new").exists()
