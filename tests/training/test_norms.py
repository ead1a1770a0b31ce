"""Ghost BatchNorm, and BatchNorms that are replaced."""

import copy

import pytest
import torch
from torch import nn

from bnfold import zoo
from bnfold.errors import BnfoldError
from bnfold.training.ghost import GhostBatchNorm
from bnfold.training.norms import Norm, parse_norm, set_norms


def data(rows, *shape):
    return torch.randn(rows, 5, *shape, generator=torch.Generator().manual_seed(3)).double() * 2 + 1


def ghost(group, **options):
    norm = GhostBatchNorm(5, group, **options).double()
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    return norm


def batch_norm_of(norm):
    """BatchNorm2d with the same state."""
    same = nn.BatchNorm2d(5, eps=norm.eps, momentum=norm.momentum).double()
    same.load_state_dict(norm.state_dict())
    return same


def test_each_group_is_normalised_by_itself_and_the_running_statistics_move_by_their_mean():
    norm, x = ghost(4), data(12, 3, 2)
    expected = torch.cat([copy.deepcopy(batch_norm_of(norm))(part) for part in x.split(4)])
    torch.testing.assert_close(norm(x), expected, rtol=1e-12, atol=1e-12)
    moved = [batch_norm_of(ghost(4)) for _ in range(3)]
    for one, part in zip(moved, x.split(4), strict=True):
        one(part)
    for buffer in ("running_mean", "running_var"):
        mean = torch.stack([getattr(one, buffer) for one in moved]).mean(0)
        torch.testing.assert_close(getattr(norm, buffer), mean, rtol=1e-12, atol=1e-12)
    assert norm.num_batches_tracked == 1


@pytest.mark.parametrize(("rows", "sizes"), [(9, [4, 5]), (10, [4, 4, 2]), (8, [4, 4]), (5, [5])])
def test_what_is_left_is_a_group_and_a_single_row_joins_the_one_before(rows, sizes):
    norm, x = ghost(4), data(rows, 3, 3)
    expected = torch.cat([copy.deepcopy(batch_norm_of(norm))(part) for part in x.split(sizes)])
    torch.testing.assert_close(norm(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_batch_of_one_group_and_inference_are_batch_norm(momentum):
    norm, x = ghost(16, momentum=momentum), data(12, 3, 3)
    same = batch_norm_of(norm)
    for _ in range(2):
        torch.testing.assert_close(norm(x), same(x), rtol=1e-12, atol=1e-12)
    for name, value in same.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value, rtol=1e-12, atol=1e-12)
    small = ghost(2)
    torch.testing.assert_close(small.eval()(x), batch_norm_of(small).eval()(x), rtol=1e-12, atol=1e-12)


def test_rows_and_volumes_are_normalised_too_and_vectors_are_refused():
    for shape in ((), (4,), (2, 3, 4)):
        out = ghost(4)(data(8, *shape))
        assert out.shape == (8, 5, *shape)
    with pytest.raises(ValueError, match="at least 2 axes"):
        ghost(2)(torch.zeros(4))


def test_the_gradient_is_that_of_the_groups():
    assert torch.autograd.gradcheck(ghost(2), data(5).requires_grad_())


@pytest.mark.parametrize(("text", "norm"), [
    ("batch", Norm()), ("none", Norm("none")), ("ghost:16", Norm("ghost", 16)),
])  # fmt: skip
def test_norms_are_read_and_written(text, norm):
    assert parse_norm(text) == norm
    assert str(norm) == text


@pytest.mark.parametrize("text", ["", "layer", "ghost", "ghost:1", "ghost:x", "batch:2", "none:"])
def test_other_norms_are_refused(text):
    with pytest.raises(BnfoldError, match="give batch, none, or ghost:N"):
        parse_norm(text)


def test_batch_norms_are_set_replaced_or_taken_out_wherever_they_are():
    reference = zoo.find("digits_cnn").build()
    count = sum("BatchNorm" in type(part).__name__ for part in reference.modules())
    module = copy.deepcopy(reference)
    set_norms(module, Norm(), momentum=0.5, eps=1e-3)
    assert {(part.momentum, part.eps) for part in module.modules() if hasattr(part, "momentum")} == {(0.5, 1e-3)}
    module = copy.deepcopy(reference)
    set_norms(module, Norm("ghost", 8))
    assert sum(type(part) is GhostBatchNorm and part.group == 8 for part in module.modules()) == count == 4
    reference.load_state_dict(module.state_dict(), strict=True)  # what was trained so is exported as any other
    set_norms(module, Norm("none"))
    assert not any(hasattr(part, "running_mean") for part in module.modules())
    nested = nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))
    set_norms(nested, Norm("none"))
    assert type(nested[0][1]) is nn.Identity


def test_a_norm_in_two_places_stays_one_and_keeps_its_dtype_and_mode():
    norm = nn.BatchNorm1d(3).double().eval()
    module = nn.ModuleDict({"a": norm, "b": norm, "c": nn.Sequential(norm)})
    set_norms(module, Norm("ghost", 4))
    assert type(module["a"]) is GhostBatchNorm
    assert module["a"] is module["b"] is module["c"][0]
    assert module["a"].weight.dtype == torch.float64
    assert not module["a"].training
