"""BatchNorms of other kinds become torch's own, with equal numbers; those that need a batch are refused."""

import pytest
import torch
from torch import nn

from bnfold.errors import ModelError
from bnfold.exporting.caller import Caller
from bnfold.exporting.checking import count_norm_calls
from bnfold.exporting.norms import convert_norms, count_batch_norms, refuse_batch_statistics
from bnfold.exporting.shapes import InputShape
from tests.exporting.networks import FrozenBatchNorm2d, conv_bn, randomised

IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [nn.SyncBatchNorm, FrozenBatchNorm2d])
def test_converts_to_equal_numbers_and_keeps_the_mode(kind):
    module = conv_bn(kind).eval()
    module[1].train()
    before = module.eval()(IMAGE)
    module[1].train()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    converted, conversions = convert_norms(module)

    assert [(entry.module, entry.kind) for entry in conversions] == [("1", kind.__name__)]
    assert type(converted[1]) is not kind
    assert (converted[1].training, count_batch_norms(converted)) == (True, 1)
    assert all(torch.equal(converted.state_dict()[name], tensor) for name, tensor in state.items())
    torch.testing.assert_close(converted.eval()(IMAGE), before, rtol=1e-6, atol=1e-6)


def test_converts_a_network_that_is_one():
    module, conversions = convert_norms(randomised(nn.SyncBatchNorm(3)))

    assert [(entry.module, entry.kind) for entry in conversions] == [("", "SyncBatchNorm")]
    assert module.eval()(IMAGE).shape == IMAGE.shape


def test_converts_one_that_is_in_two_places_in_both():
    norm = randomised(FrozenBatchNorm2d(3))
    module, conversions = convert_norms(nn.Sequential(norm, norm))

    assert [entry.module for entry in conversions] == ["0", "1"]
    assert count_batch_norms(module) == 2


def test_takes_the_epsilon_from_the_module():
    frozen = randomised(FrozenBatchNorm2d(3, eps=0.25))

    module, _ = convert_norms(nn.Sequential(frozen))

    torch.testing.assert_close(module.eval()(IMAGE), frozen(IMAGE))
    assert module[0].eps == 0.25


def test_leaves_alone_what_only_looks_like_one():
    class Other(FrozenBatchNorm2d):
        def forward(self, x):
            return super().forward(x) + 1e-6

    module, conversions = convert_norms(nn.Sequential(randomised(Other(3))))

    assert conversions == ()
    assert type(module[0]) is Other


class Doubled(nn.SyncBatchNorm):
    def forward(self, x):
        return super().forward(x) * 2


def test_leaves_alone_a_synchronised_one_that_computes_more():
    hooked = randomised(nn.SyncBatchNorm(3))
    hooked.register_forward_hook(lambda _module, _inputs, output: output * 2)

    for norm in (randomised(Doubled(3)), hooked):
        module, conversions = convert_norms(nn.Sequential(norm))
        assert (conversions, module[0]) == ((), norm)


def test_refuses_a_norm_without_statistics_and_names_the_remedy():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))

    with pytest.raises(ModelError, match="BatchNorm '1' keeps no running statistics") as caught:
        refuse_batch_statistics(module)

    assert "track_running_stats=True" in str(caught.value)
    assert "bnfold.training.recompute_statistics(module, batches)" in str(caught.value)
    assert caught.value.exit_code == 2


class Stuck(nn.BatchNorm2d):
    def train(self, mode=True):
        return super().train(True)


class ByHand(nn.Module):
    def forward(self, x):
        return torch.nn.functional.batch_norm(x, None, None, training=True)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Sequential(Stuck(3)), "BatchNorm '0' stays in training mode after eval\\(\\), and normalises by the stat"),
        (ByHand(), "the network normalises \\(batch_norm with training=True\\) by the statistics of the batch"),
    ],
)
def test_refuses_the_statistics_of_the_batch_at_inference(module, words):
    caller = Caller((InputShape("x", (2, 3, 8, 8), "float32"),), by_keyword=False, outputs=("y",))

    with pytest.raises(ModelError, match=words) as caught:
        count_norm_calls(module, caller, {"x": IMAGE.numpy()})

    assert "recompute_statistics" in str(caught.value)


def test_counts_the_calls_and_not_the_modules():
    norm = nn.BatchNorm2d(3)
    caller = Caller((InputShape("x", (2, 3, 8, 8), "float32"),), by_keyword=False, outputs=("y",))

    assert count_norm_calls(nn.Sequential(norm, nn.ReLU(), norm), caller, {"x": IMAGE.numpy()}) == 2
    assert norm.num_batches_tracked == 0
