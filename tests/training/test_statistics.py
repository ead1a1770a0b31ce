"""Population statistics, against a single pass over everything as one batch."""

import copy
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from bnfold.errors import BnfoldError
from bnfold.training import recompute_statistics
from bnfold.training.batchwise import batch_statistics
from bnfold.training.norms import Norm, set_norms
from bnfold.training.probes import saturation

ROWS = 53  # 16 + 16 + 16 + 5


@pytest.fixture
def model():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4),
        nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6),
    )  # fmt: skip
    return network.double()


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(1)
    shifts = torch.linspace(-3, 3, ROWS)[:, None, None, None]  # batches whose means differ
    return (torch.randn(ROWS, 3, 8, 8, generator=generator) * 2 + shifts).double()


def batches(data, size=16):
    return list(data.split(size))


def norms(model):
    return [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]


def of_one_batch(model, data):
    """What torch itself makes of everything as one batch, dropout off."""
    full = copy.deepcopy(model).eval()
    for norm in norms(full):
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        full(data)
    return norms(full)


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


def test_layer_by_layer_is_a_single_pass_over_all_samples(model, data):
    expected = of_one_batch(model, data)
    assert recompute_statistics(model, batches(data), layer_by_layer=True) == 3
    for norm, full in zip(norms(model), expected, strict=True):
        torch.testing.assert_close(norm.running_mean, full.running_mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(norm.running_var, full.running_var, rtol=1e-12, atol=1e-12)


def test_in_one_pass_the_first_layer_is_exact_and_the_others_are_close(model, data):
    expected = of_one_batch(model, data)
    shuffled = data[torch.randperm(ROWS, generator=torch.Generator().manual_seed(2))]
    assert recompute_statistics(model, batches(shuffled)) == 3
    first, *others = [
        relative(norm.running_var, full.running_var) for norm, full in zip(norms(model), expected, strict=True)
    ]
    assert first < 1e-12
    assert max(others) < 0.3  # batches of 16 are noisy


@pytest.mark.parametrize("layer_by_layer", [False, True])
def test_batches_of_any_size_and_order_give_the_first_layer_the_same(model, data, layer_by_layer):
    other = copy.deepcopy(model)
    recompute_statistics(model, batches(data), layer_by_layer=layer_by_layer)
    recompute_statistics(other, [(batch, None) for batch in batches(data.flip(0), 7)], layer_by_layer=layer_by_layer)
    torch.testing.assert_close(norms(model)[0].running_var, norms(other)[0].running_var, rtol=1e-12, atol=0)


def test_large_means_lose_no_digits():
    norm = nn.BatchNorm1d(1).double()
    data = 1e8 + torch.arange(8, dtype=torch.float64)[:, None]
    recompute_statistics(norm, [data[:3], data[3:]])
    assert norm.running_var.item() == pytest.approx(6.0, rel=1e-12)


@pytest.mark.parametrize("layer_by_layer", [False, True])
def test_nothing_else_changes(model, data, layer_by_layer):
    model.train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items() if "running" not in name}
    recompute_statistics(model, batches(data), layer_by_layer=layer_by_layer)
    assert {name for name, value in before.items() if not torch.equal(value, model.state_dict()[name])} == set()
    assert [part.training for part in model] == [index != 1 for index in range(len(model))]
    assert all(norm.track_running_stats for norm in norms(model))
    assert all(not norm._forward_pre_hooks for norm in norms(model))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_what_keeps_no_statistics_or_is_not_run_is_left_alone(data):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)
            self.batch = nn.BatchNorm2d(3, track_running_stats=False)
            self.idle = nn.BatchNorm2d(3)

        def forward(self, x):
            return self.batch(self.norm(x))

    model = Network().double()
    assert recompute_statistics(model, batches(data)) == 1
    assert recompute_statistics(model, batches(data), layer_by_layer=True) == 1
    assert (model.idle.running_mean == 0).all()
    assert (model.norm.running_mean != 0).all()


@pytest.mark.parametrize("layer_by_layer", [False, True])
def test_a_layer_that_is_called_twice_pools_its_calls(data, layer_by_layer):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(x) + self.norm(x + 10)

    model = Twice().double()
    recompute_statistics(model, batches(data), layer_by_layer=layer_by_layer)
    torch.testing.assert_close(model.norm.running_mean, data.mean((0, 2, 3)) + 5, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layer_by_layer", [False, True])
def test_what_has_no_statistics_is_an_error_and_changes_nothing(layer_by_layer):
    norm = nn.BatchNorm1d(2)
    with pytest.raises(BnfoldError, match="no batch"):
        recompute_statistics(norm, [], layer_by_layer=layer_by_layer)
    with pytest.raises(BnfoldError, match="a single value a channel"):
        recompute_statistics(norm, [torch.ones(1, 2)], layer_by_layer=layer_by_layer)
    assert norm.training
    assert (norm.running_mean == 0).all()


def test_a_last_batch_of_one_row_is_pooled_layer_by_layer_and_refused_in_one_pass():
    model, rows = nn.Sequential(nn.BatchNorm1d(3)), torch.randn(9, 3)
    assert recompute_statistics(model, rows.split(4), layer_by_layer=True) == 1
    torch.testing.assert_close(model[0].running_var, rows.var(0))
    with pytest.raises(BnfoldError, match=r"^0: a batch with a single value a channel .* or layer_by_layer=True$"):
        recompute_statistics(model, rows.split(4))
    assert model[0].track_running_stats


def test_an_iterator_that_would_be_empty_in_the_second_pass_is_refused(model, data):
    assert recompute_statistics(model, iter(batches(data))) == 3
    with pytest.raises(BnfoldError, match="give a list or a DataLoader, not an iterator"):
        recompute_statistics(model, iter(batches(data)), layer_by_layer=True)


def test_ghost_batch_norms_get_the_statistics_of_all_and_count_no_batch(model, data):
    ghosts = copy.deepcopy(model)
    set_norms(ghosts, Norm("ghost", 4))
    for layer_by_layer in (False, True):
        recompute_statistics(ghosts, batches(data), layer_by_layer=layer_by_layer)
        recompute_statistics(model, batches(data), layer_by_layer=layer_by_layer)
        torch.testing.assert_close(ghosts[1].running_var, model[1].running_var, rtol=1e-12, atol=0)
        assert all(norm.num_batches_tracked == 0 for norm in norms(ghosts))
    torch.testing.assert_close(ghosts[5].running_var, model[5].running_var, rtol=1e-12, atol=0)


def test_a_smaller_last_batch_weighs_what_its_rows_weigh():
    """``torch.optim.swa_utils.update_bn`` does not: it averages the batches, and with them their variances."""
    data = torch.randn(53, 4, generator=torch.Generator().manual_seed(0)).double()
    data[48:] += 10
    pooled, averaged = nn.BatchNorm1d(4).double(), nn.BatchNorm1d(4).double()
    recompute_statistics(pooled, batches(data))
    torch.optim.swa_utils.update_bn(batches(data), averaged)
    assert relative(pooled.running_var, data.var(0)) < 1e-12
    assert relative(averaged.running_var, data.var(0)) > 0.5


def test_the_example_in_the_documentation_runs():
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    found = {}
    exec(example, found)  # noqa: S102 - it is ours
    assert (found["model"][1].running_mean != 0).all()


def test_layers_that_are_called_by_name_are_pooled_and_probed():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.gate = nn.BatchNorm1d(3), nn.Sigmoid()

        def forward(self, x):
            return self.gate(input=self.norm(input=x))

    model, rows = Named(), torch.randn(8, 3)
    recompute_statistics(model, [rows[:5], rows[5:]])
    torch.testing.assert_close(model.norm.running_mean, rows.mean(0))
    assert saturation(model, rows).keys() == {"gate"}
    with batch_statistics(model) as watched:
        torch.testing.assert_close(watched(rows), model.train()(rows))
