"""What only a PyTorch module knows, and the lints that need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from torch.nn import functional

import bnfold
from bnfold.errors import ModelError
from bnfold.linting import examine

if TYPE_CHECKING:
    from bnfold.linting import Finding

X = torch.zeros(2, 3, 8, 8)


def found(code: str, module: nn.Module, example: torch.Tensor = X) -> list[Finding]:
    return bnfold.lint(module, inputs=(example,), select=[code])


def fitted(module: nn.Module, example: torch.Tensor = X) -> nn.Module:
    """One that has seen two batches."""
    torch.manual_seed(0)
    with torch.no_grad():
        for _ in range(2):
            module.train()(torch.randn_like(example))
    return module


def conv(inputs: int, outputs: int, **options: object) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, bias=False, **options)


def test_a_good_module_has_no_findings() -> None:
    module = nn.Sequential(conv(3, 4), nn.BatchNorm2d(4), nn.ReLU(), conv(4, 4), nn.BatchNorm2d(4), nn.ReLU())
    result = examine(fitted(module), inputs=(X,))
    assert result.findings == ()
    assert (result.model, result.batch_norms) == ("Sequential", 2)


# BN102: behind an activation


@pytest.mark.parametrize("branches", [1, 2])
def test_minds_a_norm_behind_an_activation_that_it_alone_reads(branches) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.last = conv(3, 4), nn.BatchNorm2d(4), conv(4, 4)

        def forward(self, x):
            x = self.first(x).relu()
            return self.norm(x) if branches == 1 else self.norm(x) + self.last(x)[..., :1, :1]

    assert len(found("BN102", Block())) == (1 if branches == 1 else 0)


# BN101: Dropout


def two_layers(*between: nn.Module) -> nn.Module:
    first = [conv(3, 4), nn.BatchNorm2d(4), nn.ReLU(), *between]
    return nn.Sequential(*first, conv(4, 4), nn.BatchNorm2d(4), nn.ReLU())


@pytest.mark.parametrize("dropout", [nn.Dropout(0.3), nn.Dropout2d(0.3)])
def test_sees_dropout_that_the_export_leaves_out(dropout) -> None:
    (finding,) = found("BN101", two_layers(dropout))
    assert finding.module == "1"
    assert "Dropout '3' of 0.3 is behind it" in finding.message


def test_sees_dropout_that_is_no_module() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = conv(3, 4), nn.BatchNorm2d(4)
            self.second, self.last = conv(4, 4), nn.BatchNorm2d(4)

        def forward(self, x):
            x = self.norm(self.first(x))
            x = functional.dropout(x * torch.sigmoid(x), 0.5, self.training)
            return self.last(self.second(x))

    (finding,) = found("BN101", Block())
    assert finding.module == "norm"


@pytest.mark.parametrize("between", [[nn.Dropout(0.0)], [nn.MaxPool2d(2), nn.Dropout(0.5)], []])
def test_is_silent_about_dropout_elsewhere(between) -> None:
    assert not found("BN101", two_layers(*between))


def test_is_silent_about_dropout_at_the_head() -> None:
    head = nn.Sequential(conv(3, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(144, 2))
    assert not found("BN101", head)


# BN102 and BN103: activations and biases


@pytest.mark.parametrize("activation", [nn.ReLU(inplace=True), nn.SiLU(), nn.Hardtanh()])
def test_sees_an_activation_in_front(activation) -> None:
    (finding,) = found("BN102", nn.Sequential(conv(3, 4), activation, nn.BatchNorm2d(4)))
    assert "'1' (of conv2d '0')" in finding.message


def test_a_bias_of_zeros_counts_in_a_module() -> None:
    """It stays 0 in training, and a file would not tell it from one that an exporter made up."""
    layer = nn.Conv2d(3, 4, 3)
    nn.init.zeros_(layer.bias)
    (finding,) = found("BN103", nn.Sequential(layer, nn.BatchNorm2d(4)))
    assert "conv2d '0' in front of it has a bias of 4 numbers" in finding.message


def test_a_bias_that_reaches_it_through_a_transposition_is_what_the_planner_knows() -> None:
    class Points(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)

        def forward(self, x):
            return self.norm(self.linear(x).transpose(1, 2))

    (finding,) = found("BN103", fitted(Points(), torch.zeros(2, 5, 3)), torch.zeros(2, 5, 3))
    assert finding.figures["parameters"] == 4


def test_a_bias_along_another_axis_is_none() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    assert not found("BN103", module, torch.zeros(2, 4, 3))
    assert found("BN103", module, torch.zeros(2, 3))


@pytest.mark.parametrize("between", [nn.ReLU(), nn.Dropout(0.5)])
def test_is_silent_about_a_bias_with_something_between(between) -> None:
    assert not found("BN103", nn.Sequential(nn.Conv2d(3, 4, 3), between, nn.BatchNorm2d(4)))


# BN301 to BN304: training


def test_says_that_no_batch_was_seen() -> None:
    module = nn.Sequential(conv(3, 4), nn.BatchNorm2d(4))
    (finding,) = found("BN301", module)
    assert "no batch seen" in finding.message
    assert not found("BN301", fitted(module))


def test_is_silent_about_statistics_that_were_loaded_without_their_count() -> None:
    """As checkpoints from before PyTorch 0.4.1 have them."""
    module = fitted(nn.Sequential(conv(3, 4), nn.BatchNorm2d(4)))
    module[1].num_batches_tracked.zero_()
    assert not found("BN301", module)


@pytest.mark.parametrize("affine", [True, False])
def test_says_that_there_are_no_running_statistics(affine) -> None:
    module = nn.Sequential(conv(3, 4), nn.BatchNorm2d(4, track_running_stats=False, affine=affine))
    (finding,) = found("BN302", module)
    assert "track_running_stats=False" in finding.message
    assert not found("BN401", module)
    assert not found("BN301", module)


@pytest.mark.parametrize(("momentum", "words"), [(0.0, "never move"), (1.0, "the last batch alone")])
def test_a_momentum_of_0_or_1(momentum, words) -> None:
    (finding,) = found("BN303", nn.Sequential(conv(3, 4), nn.BatchNorm2d(4, momentum=momentum)))
    assert words in finding.message


@pytest.mark.parametrize("momentum", [0.1, 0.01, None])
def test_any_other_momentum_is_fine(momentum) -> None:
    assert not found("BN303", nn.Sequential(conv(3, 4), nn.BatchNorm2d(4, momentum=momentum)))


def test_one_number_per_channel_behind_a_global_pool() -> None:
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4))
    (finding,) = found("BN304", module)
    assert "a batch of one has no variance" in finding.message


def test_features_without_positions_are_what_batches_are_for() -> None:
    assert not found("BN304", nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.BatchNorm1d(4)))


# Matching


def test_a_module_that_is_called_twice_is_two_norms() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3, momentum=0.0)

        def forward(self, x):
            return self.norm(self.conv(self.norm(self.conv(x)).relu()))

    findings = found("BN303", Twice())
    assert [finding.module for finding in findings] == ["norm", "norm"]
    assert len({finding.node for finding in findings}) == 2


def test_a_module_is_left_as_it_is() -> None:
    module = fitted(two_layers(nn.Dropout()))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    bnfold.lint(module, inputs=(X,))
    assert module.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


# What cannot be looked at


def test_a_module_needs_one_input() -> None:
    with pytest.raises(ModelError, match="Sequential is no path and no ONNX model; a PyTorch module needs inputs"):
        bnfold.lint(nn.Sequential())
    with pytest.raises(ModelError, match="is given 2 inputs"):
        bnfold.lint(nn.Sequential(), inputs=(X, X))


def test_a_module_that_cannot_be_exported_is_no_answer() -> None:
    class Undecided(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ModelError, match="cannot export the network") as raised:
        bnfold.lint(Undecided(), inputs=(X,))
    assert raised.value.exit_code == 2
