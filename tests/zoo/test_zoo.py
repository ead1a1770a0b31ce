"""The networks: each small, documented, and with its BatchNorms where its summary says."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from bnfold import zoo
from bnfold.errors import BnfoldError

every_network = pytest.mark.parametrize("network", zoo.NETWORKS.values(), ids=lambda network: network.name)


@every_network
def test_turns_its_example_input_into_one_row_of_scores_for_each_row(network):
    module = network.build().eval()

    logits = module(torch.from_numpy(network.example_input(rows=3)))

    assert logits.shape[0] == 3
    assert logits.dtype == torch.float32


@every_network
def test_example_input_depends_on_the_seed_alone(network):
    first, again, other = (network.example_input(4, seed) for seed in (1, 1, 2))

    assert first.shape == (4, *network.input_shape)
    assert (first == again).all()
    assert (first != other).any()


@every_network
def test_one_step_of_training_reaches_every_weight(network):
    torch.manual_seed(0)
    module = network.build()
    rows = network.load_data()
    inputs, targets = (torch.from_numpy(part[:32]) for part in (rows.train_inputs, rows.train_targets))
    before = network.task.loss(module(inputs), targets)
    before.backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    torch.optim.SGD(module.parameters(), 0.01).step()

    assert network.task.loss(module(inputs), targets) < before


@every_network
def test_takes_the_data_that_it_is_for_and_adapts_where_it_says(network):
    assert network.fitted(network.load_data()) == network
    if network.adapts is None:
        return
    other = next(shape for shape in ((30,), (1, 8, 8), (3, 16, 24), (3, 77), (2, 3, 16, 8)) if network.adapts(shape))
    module = dataclasses.replace(network, input_shape=other, classes=3).build().eval()
    assert module(torch.zeros(2, *other)).shape[0] == 2


@every_network
def test_stays_under_100_lines_and_names_a_paper(network):
    source = Path(zoo.__file__).with_name(f"{network.name}.py").read_text(encoding="utf-8")

    assert len(source.splitlines()) < 100
    assert "References:" in source


def test_digits_cnn_has_batch_norm_behind_conv_and_behind_linear_and_dropout_at_the_head_only():
    kinds = [type(part) for part in zoo.find("digits_cnn").build().children()]
    before_norm = [kinds[place - 1] for place, kind in enumerate(kinds) if kind in (nn.BatchNorm1d, nn.BatchNorm2d)]

    assert before_norm == [nn.Conv2d, nn.Conv2d, nn.Conv2d, nn.Linear]
    assert kinds[-2:] == [nn.Dropout, nn.Linear]
    assert kinds.count(nn.Dropout) == 1


def test_digits_cnn_has_conv_with_and_without_bias():
    biases = {part.bias is not None for part in zoo.find("digits_cnn").build().modules() if isinstance(part, nn.Conv2d)}

    assert biases == {True, False}


def kinds(module):
    return [type(part) for part in module.modules() if not list(part.children())]


@pytest.mark.parametrize(("placement", "order"), [
    (None, [nn.Linear, nn.BatchNorm1d, nn.ReLU]),
    ("pre", [nn.Linear, nn.BatchNorm1d, nn.ReLU]),
    ("post", [nn.Linear, nn.ReLU, nn.BatchNorm1d]),
    ("input", [nn.BatchNorm1d, nn.Linear, nn.ReLU]),
])  # fmt: skip
def test_mlp_has_its_batch_norms_where_it_is_told(placement, order):
    assert kinds(zoo.find("mlp").build(placement)) == [*order * 3, nn.Linear]


@pytest.mark.parametrize(("name", "message"), [
    ("mlp", "placement last: those of mlp are pre, post, input"),
    ("digits_cnn", "placement last: the BatchNorms of digits_cnn have their fixed places"),
])  # fmt: skip
def test_an_unknown_placement_is_an_error(name, message):
    with pytest.raises(BnfoldError, match=message):
        zoo.find(name).build("last")


@pytest.mark.parametrize("data", ["wine", "breast_cancer", "digits"])
@pytest.mark.parametrize("name", ["mlp", "prenorm_mlp"])
def test_is_built_for_the_features_and_classes_of_other_data(name, data):
    rows = zoo.find(name).load_data(data)
    network = zoo.find(name).fitted(rows)

    logits = network.build().eval()(torch.from_numpy(rows.held_out_inputs))

    assert logits.shape == (len(rows.held_out_targets), len(rows.classes))
    assert network.example_input(2).shape[1:] == rows.held_out_inputs.shape[1:]
    assert network.data == data


def test_data_that_do_not_fit_are_an_error():
    network = zoo.find("digits_cnn")
    with pytest.raises(BnfoldError, match=r"digits_cnn takes inputs of 1×8×8 .* wine has inputs of 13 and 3 classes"):
        network.fitted(network.load_data("wine"))


def test_names_the_known_networks_when_asked_for_an_unknown_one():
    with pytest.raises(BnfoldError, match=r"no network named 'digits_cmm'.*digits_cnn") as caught:
        zoo.find("digits_cmm")

    assert caught.value.exit_code == 2


def test_importing_the_zoo_loads_no_torch():
    program = "import sys, bnfold.zoo, bnfold.zoo.data; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
