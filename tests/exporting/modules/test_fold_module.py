"""``fold_module``: BatchNorms folded in the module itself, and what stays, with its reason."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest
import torch
from torch import nn
from torch.nn.functional import batch_norm, conv2d
from torch.nn.utils import parametrizations
from torch.nn.utils.fusion import fuse_linear_bn_eval

from bnfold.errors import ExportError, ModelError
from bnfold.exporting import fold_module
from tests.helpers.modules import BATCH_NORMS, Tokens, fused_by_torch, image, layers, randomised, scaled_error


def check(module, *inputs, other=None):
    """Fold a module, and see that the fold computes the same, also for other sizes, and left its argument alone."""
    before, modes = copy.deepcopy(module.state_dict()), [part.training for part in module.modules()]
    result = fold_module(module, inputs)
    after = module.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert after.keys() == before.keys()
    assert [part.training for part in module.modules()] == modes
    exact, folded = (copy.deepcopy(each).double().eval() for each in (module, result.module))
    for given in (inputs, other or tuple(torch.cat([value, -value, value]) for value in inputs)):
        given = tuple(value.double() if value.is_floating_point() else value for value in given)
        is_double = all(tensor.dtype is torch.float64 for tensor in before.values() if tensor.is_floating_point())
        assert scaled_error(exact(*given), folded(*given)) < (1e-12 if is_double else 1e-5)
    gone = {layer.layer for layer in result.folded}
    assert gone.isdisjoint(layer.layer for layer in result.kept)
    assert all(type(result.module.get_submodule(path)) is nn.Identity for path in gone)
    assert {path for path, part in layers(result.module, BATCH_NORMS)} <= {layer.layer for layer in result.kept}
    return result


def reasons(result):
    return {layer.layer: layer.reason for layer in result.kept}


def folded(result):
    return {layer.layer: layer.into for layer in result.folded}


class Network(nn.Module):
    """Conv → BN → ReLU → Linear → BN, with and without biases."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.head = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * 36, 5), nn.BatchNorm1d(5))

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return self.head(self.bn(self.conv(picture)))


def test_what_it_returns_is_a_module_as_before():
    module = randomised(Network().eval())
    result = check(module, image())
    assert folded(result) == {"bn": ("conv.weight", "conv.bias"), "head.3": ("head.2.weight", "head.2.bias")}
    assert [layer.route for layer in result.folded] == ["back", "back"]
    assert not result.kept
    new = result.module
    assert list(new.state_dict()) == ["conv.weight", "conv.bias", "head.2.weight", "head.2.bias"]
    assert all(tensor.dtype is torch.float32 for tensor in new.state_dict().values())
    assert all(isinstance(tensor, nn.Parameter) and tensor.requires_grad for tensor in new.parameters())
    assert (type(new), inspect.signature(new.forward)) == (Network, inspect.signature(module.forward))
    expected = new(image())
    another = copy.deepcopy(new)
    nn.init.zeros_(another.conv.weight)
    another.load_state_dict(new.state_dict())
    for same in (another, pickle.loads(pickle.dumps(new)), torch.compile(new, backend="eager")):  # noqa: S301
        assert torch.equal(same(image()), expected)


def test_each_weight_is_rounded_once():
    module = randomised(Network().eval())
    exact, rounded = fold_module(copy.deepcopy(module).double(), image()), fold_module(module, image())
    for name, tensor in rounded.module.state_dict().items():
        assert torch.equal(tensor, exact.module.state_dict()[name].float()), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_half_precision(dtype):
    module = randomised(nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU())).to(dtype).eval()
    result = fold_module(module, torch.randn(2, 3, 8, dtype=dtype))
    exact = fold_module(copy.deepcopy(module).double(), torch.randn(2, 3, 8)).module.state_dict()
    for name, tensor in result.module.state_dict().items():
        assert tensor.dtype is dtype
        assert (tensor.double() - exact[name]).abs().max() <= exact[name].abs().max() * torch.finfo(dtype).eps / 2


def test_a_weight_that_lies_in_the_memory_of_another_stays():
    class Overlapping(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn, self.again = nn.Conv1d(3, 4, 1, bias=False), nn.BatchNorm1d(4), nn.Conv1d(3, 4, 1)
            self.again.weight = nn.Parameter(self.conv.weight.detach())

        def forward(self, x):
            return self.bn(self.conv(x)).relu(), self.again(x)

    result = check(randomised(Overlapping().eval()), torch.randn(2, 3, 8))
    assert "a parameter 'conv.weight' that shares its memory with 'again.weight'" in reasons(result)["bn"]


def test_what_float16_cannot_hold_stays():
    module = randomised(nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU())).eval()
    module[1].running_var[1], module[1].weight.data[1] = 1e-4, 3e4
    assert check(module, torch.randn(2, 3, 8)).folded
    assert "beyond the range of FLOAT16" in reasons(fold_module(module.half(), torch.randn(2, 3, 8)))["1"]


def test_a_linear_over_channels_and_a_norm_over_tokens_stay_apart_where_torch_mixes_them_up():
    module, tokens = randomised(Tokens().double().eval()), torch.randn(2, 6, 6).double()
    result = check(module, tokens)
    assert not result.folded
    assert list(reasons(result)) == ["bn"]
    expected = module(tokens)
    assert scaled_error(expected, fused_by_torch(module)(tokens)) > 0.1
    assert scaled_error(expected, fuse_linear_bn_eval(module.linear, module.bn)(tokens)) > 0.1


class Shared(nn.Module):
    """One Conv, read twice, with one norm or two."""

    def __init__(self, norms):
        super().__init__()
        self.conv, self.norms = nn.Conv2d(3, 3, 1, bias=False), nn.ModuleList(norms)

    def forward(self, one, two):
        return self.norms[0](self.conv(one)).relu(), self.norms[-1](self.conv(two)).sigmoid()


def test_a_conv_that_two_norms_share_stays_where_torch_corrupts_one_of_them():
    module = randomised(Shared([nn.BatchNorm2d(3), nn.BatchNorm2d(3)]).double().eval())
    result = check(module, image(), image())
    assert not result.folded
    assert all("shares 'conv.weight' with another call" in reason for reason in reasons(result).values())
    wrong = fused_by_torch(module)(image().double(), image().double())
    assert scaled_error(module(image().double(), image().double()), wrong) > 0.1


def test_siamese_branches_go_on_sharing():
    module = randomised(Shared([nn.BatchNorm2d(3)]).double().eval())
    result = check(module, image(), image())
    assert folded(result) == {"norms.0": ("conv.weight", "conv.bias")}


class OneNormTwice(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.one, self.two, self.bn, self.act = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), act

    def forward(self, picture):
        return self.bn(self.one(picture)).relu() + self.bn(self.act(self.two(picture))).sigmoid()


def test_a_norm_that_is_called_twice_goes_if_both_calls_can():
    assert list(folded(check(randomised(OneNormTwice(nn.Identity()).double().eval()), image()))) == ["bn"]
    result = check(randomised(OneNormTwice(nn.Sigmoid()).double().eval()), image())
    assert "is one of several calls of 'bn', and not all of them can go" in reasons(result)["bn"]


def test_transposed_convolutions_grouped_and_in_one_and_three_dimensions():
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(6, 4, 3, stride=2, groups=2, output_padding=1)
            self.bn = nn.BatchNorm2d(4)
            self.deep = nn.Sequential(nn.ConvTranspose3d(4, 4, 2, groups=4, bias=False), nn.BatchNorm3d(4))
            self.flat = nn.Sequential(nn.ConvTranspose1d(4, 2, 3, bias=False), nn.BatchNorm1d(2), nn.Tanh())

        def forward(self, x):
            x = self.bn(self.up(x)).relu()
            return self.deep(x[:, :, None]).relu(), self.flat(x.mean(-1))

    result = check(randomised(Decoder().double().eval()), torch.randn(2, 6, 5, 4))
    assert folded(result) == {
        "bn": ("up.weight", "up.bias"),
        "deep.1": ("deep.0.weight", "deep.0.bias"),
        "flat.1": ("flat.0.weight", "flat.0.bias"),
    }


class Forward(nn.Module):
    """What reads a norm takes it in: Linear, Conv without padding, LSTM."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm1d(4, affine=False), nn.BatchNorm1d(4), nn.BatchNorm1d(4)])
        self.linear, self.conv = nn.Linear(4, 3, bias=False), nn.Conv1d(4, 5, 2, bias=False)
        self.lstm = nn.LSTM(4, 3, bidirectional=True)
        self.padded = nn.Sequential(nn.Sigmoid(), nn.BatchNorm1d(4), nn.Conv1d(4, 2, 3, padding=1))

    def forward(self, x):
        rows, maps, steps = (norm(x.sigmoid()) for norm in self.norms)
        return self.linear(rows.mean(2)), self.conv(maps), self.lstm(steps.permute(2, 0, 1))[0], self.padded(x)


def test_what_reads_a_norm_takes_it_in():
    result = check(randomised(Forward().double().eval()), torch.randn(2, 4, 6))
    assert folded(result) == {
        "norms.0": ("linear.weight", "linear.bias"),
        "norms.1": ("conv.weight", "conv.bias"),
        "norms.2": (
            *("lstm.weight_ih_l0", "lstm.weight_ih_l0_reverse"),
            *("lstm.bias_hh_l0", "lstm.bias_hh_l0_reverse", "lstm.bias_ih_l0", "lstm.bias_ih_l0_reverse"),
        ),
    }
    assert "pads with zeros" in reasons(result)["padded.1"]


class Preactivated(nn.Module):
    """x + conv(act(bn(x))), with ReLUs that work in place and a shift that goes into other convolutions' biases."""

    def __init__(self, width=4, blocks=2):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *(nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, padding=1, bias=False)),
                *(nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, padding=1, bias=False)),
            )
            for _ in range(blocks)
        )
        self.bn = nn.BatchNorm2d(width)

    def forward(self, picture):
        x = self.stem(picture)
        for block in self.blocks:
            x = x + block(x)
        return self.bn(x).relu().mean((2, 3))


def test_a_residual_stream_loses_all_its_norms_and_no_relu_overwrites_it():
    module = randomised(Preactivated().double().eval(), positive=True)
    result = check(module, image())
    assert len(result.folded) == 5
    assert not result.kept
    assert "stem.bias" in folded(result)["blocks.0.0"]
    assert [result.module.blocks[0][1].inplace, result.module.blocks[0][4].inplace] == [False, True]
    assert module.blocks[0][1].inplace


def test_a_shift_that_would_cost_float32_its_bits_stays_where_it_is():
    module = randomised(Preactivated(blocks=1).eval(), positive=True)
    module.blocks[0][0].weight.data.fill_(1e-5)
    result = check(module, image())
    assert re.search(r"bits, with a shift of .* standard deviations", reasons(result)["blocks.0.0"])
    assert not fold_module(module.double(), image()).kept


class FaceBlocks(nn.Module):
    """An iResNet: BN → Conv with zero padding, γ of any sign, and a stream."""

    def __init__(self, width=4):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.PReLU(width))
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1)
        )
        self.out = nn.BatchNorm2d(width)

    def forward(self, picture):
        x = self.body[0](self.stem(picture))
        return x + self.out(self.body[2](self.body[1](x)))


def test_a_norm_in_front_of_zero_padding_goes_into_the_bias_of_the_stream():
    result = check(randomised(FaceBlocks().double().eval()), image())
    assert set(folded(result)) == {"stem.1", "body.1", "out"}
    assert not result.kept


class Rest(nn.Module):
    """Everything that has to stay, beside one norm that goes."""

    def __init__(self):
        super().__init__()
        self.plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.training_norm = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.batch_statistics = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
        self.weight_norm = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4))
        self.hooked = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.hooked[0].register_forward_hook(lambda *_: None)
        self.hooked_norm = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.hooked_norm[1].register_forward_pre_hook(lambda *_: None)
        self.looked_into = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.reads_weight = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.unused = nn.BatchNorm2d(4)
        self.last = nn.Conv2d(3, 4, 1)
        self.weight = nn.Parameter(torch.randn(4, 3, 1, 1))
        self.bias = nn.Parameter(torch.randn(4))
        self.functional = nn.BatchNorm2d(4)

    def forward(self, x):
        yield_ = [part(x) for part in (self.plain, self.training_norm, self.batch_statistics, self.weight_norm)]
        yield_ += [part(x) for part in (self.hooked, self.hooked_norm, self.looked_into, self.reads_weight)]
        yield_[6] = yield_[6] * self.looked_into[1].num_features
        yield_[7] = yield_[7] * self.reads_weight[1].weight.sum()
        code = batch_norm(self.last(x), self.running_mean, self.running_var)
        return [*yield_, self.functional(conv2d(x, self.weight, self.bias)).relu(), code.relu()]

    running_mean = running_var = torch.ones(4, dtype=torch.float64)


def test_what_cannot_go_stays_with_its_reason_and_all_else_folds():
    module = randomised(Rest().double().eval())
    module.training_norm[1].train()
    result = check(module, image())
    assert folded(result) == {
        "plain.1": ("plain.0.weight", "plain.0.bias"),
        "functional": ("weight", "bias"),
    }
    told = reasons(result)
    assert told.pop("BatchNormalization") == "is part of what the code of the module computes, which stays as it is"
    assert told.pop("training_norm.1").startswith("is in training mode")
    assert "track_running_stats=False" in told.pop("batch_statistics.1")
    assert "is computed from 'weight_norm.0.parametrizations.weight.original0'" in told.pop("weight_norm.1")
    assert "'hooked.0' has hooks" in told.pop("hooked.1")
    assert "'hooked_norm.1' has hooks" in told.pop("hooked_norm.1")
    assert told.pop("looked_into.1") == "is used by code for more than to be called"
    assert "has the parameter 'reads_weight.1.weight', which other code reads as well" in told.pop("reads_weight.1")
    assert told.pop("unused") == "takes no part in what the module computes from the example"
    assert not told
    assert result.module.training_norm[1].training


def test_a_module_in_training_mode_keeps_everything():
    result = check(randomised(Network().double()).train(), image())
    assert not result.folded
    assert [layer.layer for layer in result.kept] == ["bn", "head.3"]
    assert result.module.training


class Holder(nn.Module):
    """Code that holds a norm in a list, where torch does not know of it."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
        self.norm = nn.BatchNorm2d(4)
        self.later = [self.norm]

    def forward(self, picture):
        return self.later[0](self.layers(picture))


def test_a_norm_that_code_holds_elsewhere_stays_and_all_else_folds():
    result = check(randomised(Holder().double().eval()), image())

    assert list(folded(result)) == ["layers.1"]
    assert reasons(result)["norm"].startswith("is called by code that holds it in a place of its own")


class OwnNorm(nn.Module):
    """A BatchNorm as people write it who need another one."""

    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x):
        return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training)


def test_a_norm_of_ones_own_goes_at_inference_and_stays_in_training_mode():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), OwnNorm(4)).double()
    assert folded(check(module.eval(), image())) == {"1": ("0.weight", "0.bias")}

    result = check(module.train(), image())

    assert (result.folded, type(result.module[1])) == ((), OwnNorm)
    assert reasons(result)["1"].startswith("is in training mode")


class InPlaceCode(nn.Module):
    """Code that overwrites what a norm wrote, while the sum reads what the norm read."""

    def __init__(self):
        super().__init__()
        self.stem, self.bn, self.conv = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.beside = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, picture):
        x = self.stem(picture)
        return (x + self.conv(self.bn(x).relu_())).relu(), self.beside(picture)


def test_a_norm_stays_that_keeps_a_tensor_from_being_overwritten():
    result = check(randomised(InPlaceCode().double().eval(), positive=True), image())
    assert list(folded(result)) == ["beside.1"]
    assert "keeps apart what code behind it overwrites" in reasons(result)["bn"]


def test_the_callers_input_is_not_overwritten():
    module = nn.Sequential(nn.BatchNorm1d(4), nn.ReLU(inplace=True), nn.Linear(4, 3))
    module = randomised(module.double().eval(), positive=True, shift=False)
    result = check(module, torch.randn(3, 4))
    assert list(folded(result)) == ["0"]
    given = torch.randn(3, 4).double()
    before = given.clone()
    result.module(given)
    assert torch.equal(given, before)


class Tied(nn.Module):
    """A Linear whose weight is the embedding's, and the same module under two names."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head, self.bn = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False), nn.BatchNorm1d(5)
        self.head.weight = self.embedding.weight
        self.conv, self.norm = nn.Conv1d(4, 4, 1), nn.BatchNorm1d(4)
        self.again = nn.Sequential(self.conv, self.norm)

    def forward(self, tokens):
        x = self.embedding(tokens).mean(1)
        return self.bn(self.head(x)).relu(), self.norm(self.conv(x[:, :, None])).relu()


def test_tied_weights_stay_tied():
    result = check(
        randomised(Tied().double().eval()), torch.tensor([[1, 2, 3], [4, 0, 1]]), other=(torch.tensor([[2]]),)
    )
    assert "shares 'embedding.weight' with another call" in reasons(result)["bn"]
    assert list(folded(result)) == ["norm"]
    assert result.module.head.weight is result.module.embedding.weight
    assert (result.module.again[0], result.module.again[1]) == (result.module.conv, result.module.norm)


class Frozen(nn.Module):
    """A norm spelt out, as detection networks have it, and a code that adds a constant."""

    def __init__(self):
        super().__init__()
        for name in ("scale", "bias", "mean", "var"):
            self.register_buffer(name, torch.rand(4, 1, 1) + 0.5)

    def forward(self, x):
        return (x - self.mean) * (self.scale / (self.var + 1e-5).sqrt()) + self.bias


def test_a_norm_that_is_spelt_out_goes_and_constants_in_code_stay():
    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.frozen, self.bn = nn.Conv2d(3, 4, 1), Frozen(), nn.BatchNorm2d(4)

        def forward(self, x):
            return self.frozen(self.conv(x)).relu(), 0.5 * self.bn(self.conv(x.flip(3)) + 3.0)

    result = check(randomised(Detector().double().eval()), image())
    assert not folded(result)  # the two calls of the Conv would need different weights
    result = check(nn.Sequential(nn.Conv2d(3, 4, 1), Frozen(), nn.ReLU()).double().eval(), image())
    assert folded(result) == {"1": ("0.weight", "0.bias")}


def test_a_module_that_converts_by_itself_is_held_to_what_it_converts_to():
    class Converting(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn, self.act = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.SiLU()

        def forward(self, x):
            return self.act(self.bn(self.conv(x)).float()) ** 2

    result = fold_module(randomised(Converting().double().eval()), image())
    assert list(folded(result)) == ["bn"]


class ManyInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, picture, *, scale, flags=None):
        return {"features": self.bn(self.conv(picture)).relu() * scale, "flags": flags}


def test_an_example_may_be_named():
    module = randomised(ManyInputs().double().eval())
    example = {"picture": torch.randn(1, 3, 5, 5), "scale": torch.tensor(2.0), "flags": None}
    result = fold_module(module, example)
    assert list(folded(result)) == ["bn"]
    inputs = {"picture": image().double(), "scale": torch.tensor(3.0).double()}
    assert scaled_error(module(**inputs)["features"], result.module(**inputs)["features"]) < 1e-12


def test_what_depends_on_a_size_holds_for_other_sizes():
    class Summed(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn, self.linear = nn.BatchNorm2d(3), nn.Linear(3, 2)

        def forward(self, x):
            return self.linear(self.bn(x.sigmoid()).sum((2, 3)))

    check(randomised(Summed().double().eval()), image(), other=(torch.randn(1, 3, 9, 5),))


def test_what_cannot_be_exported_or_run_is_refused():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ExportError, match="torch cannot export the module"):
        fold_module(Branching(), image())
    with pytest.raises(ModelError, match="cannot be run in float64 on the example"):
        fold_module(nn.Linear(7, 3), image())


class Unseen(nn.Module):
    """Code that does otherwise when it is exported: nothing that an export could tell."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.bn(self.conv(x))
        return x.relu() if torch.compiler.is_exporting() else x.sigmoid() * self.conv.bias.sum()


def test_a_fold_that_computes_something_else_is_refused():
    with pytest.raises(ModelError, match="does not compute what the module computes: in float64 they differ by"):
        fold_module(randomised(Unseen().double().eval()), image())
