"""Where two models part: the first tensor, its site, and the files that show it again."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import bnfold
from bnfold import modelfile
from bnfold.errors import BnfoldError
from bnfold.runtime.inputs import default_inputs
from bnfold.verifying import Verdict, locating, verify
from bnfold.verifying.certificate import certify
from bnfold.verifying.repro import Repro
from bnfold.verifying.running import Runner
from tests.helpers.models import parse, set_constant
from tests.verifying.conftest import call_in_this_process
from tests.verifying.faults import FAULTS, NETWORKS, faulty_fold, put, small_resnet
from tests.verifying.networks import random_network

DIGITS = Path(__file__).parents[2] / "models" / "digits_cnn" / "model.onnx"


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch, in_this_process):
    monkeypatch.setattr(locating, "run_isolated", call_in_this_process)


def located(reference, candidate):
    feeds = default_inputs(reference)[0].feeds
    return locating.locate(reference, candidate, certify(reference, candidate), feeds, name="b.onnx", runner=Runner(60))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_each_fault_is_located_at_its_site(network, fault, step):
    reference = NETWORKS[network]()
    for number in range(0, len(bnfold.fold(reference).folded), step):
        site, candidate = faulty_fold(reference, fault, number)
        found = located(reference, candidate).divergence
        assert found.sites == (site.name,)
        assert set(site.into) <= set(found.nodes)


@pytest.mark.parametrize("seed", range(20))
def test_a_correct_fold_parts_nowhere(seed):
    network = random_network(seed)
    assert located(network.reference(), network.folded()) is None
    reference = small_resnet(seed)
    assert located(reference, bnfold.fold(reference).model) is None


def test_the_first_of_two_faults_is_told_and_that_the_rest_does_not_pass():
    reference = small_resnet()
    folded = bnfold.fold(reference).model
    for name in ("w_6", "w_16"):
        value = folded.graph.initializers[name]
        put(value, value.const_value.numpy() * np.float32(1.01))
    comparison = verify(reference, folded, bisect=True)
    assert not comparison
    assert "conv_3" in comparison.divergence.nodes
    assert comparison.divergence.rest_passes is False


def test_the_local_error_is_no_sum_of_those_in_front_and_the_rest_passes_without_the_site():
    reference = small_resnet()
    site, candidate = faulty_fold(reference, "two channels swapped", 3)
    found = verify(reference, candidate, bisect=True).divergence
    assert found.sites == (site.name,)
    assert found.rest_passes is True
    assert found.local_ratio > 1000
    assert {channel for channel, _ in found.worst_channels[:2]} == {0, 1}
    assert found.worst_channels[0][1] > 0.3
    assert found.local_error > 0.01
    assert found.accumulated_error == pytest.approx(found.local_error, rel=0.1)


def test_what_the_input_does_not_show_is_shown_by_random_tensors():
    """A channel that Relu cuts off: the weight that reads it is wrong, and no output tells."""
    text = """g (float[N,3] x, float[3,4] w, float[4] b, float[4,2] v) => (float[N,2] y) {
        h = Gemm (x, w, b) r = Relu (h) y = Gemm (r, v) }"""
    arrays = {
        "w": np.ones((3, 4), np.float32),
        "b": np.array([1, 1, 1, -1e6], np.float32),
        "v": np.ones((4, 2), np.float32),
    }

    def model(v):
        made = parse(text)
        for value in list(made.graph.inputs)[1:]:
            made.graph.inputs.remove(value)
            set_constant(made, value, {**arrays, "v": v}[value.name])
        return made

    wrong = arrays["v"].copy()
    wrong[3, 0] = 2
    found = located(model(arrays["v"]), model(wrong)).divergence
    assert found.is_hidden
    assert found.nodes == ("y",)
    assert found.accumulated_error == 0


def test_a_relu_that_is_gone_is_where_they_part():
    """The tensors on both of its sides are one in the candidate."""
    reference = small_resnet()
    candidate = bnfold.fold(reference).model
    relu = next(node for node in candidate.graph if node.op_type == "Relu")
    relu.outputs[0].replace_all_uses_with(relu.inputs[0])
    candidate.graph.remove(relu)
    found = verify(reference, candidate, bisect=True).divergence
    assert found.candidate == relu.inputs[0].name
    named = {node.name or node.outputs[0].name for node in reference.graph if node.op_type == "Relu"}
    assert named & set(found.nodes)
    assert found.rest_passes is True


def test_the_node_that_was_replaced_is_not_judged_with_the_rest():
    candidate = bnfold.fold(DIGITS).model
    weight = candidate.graph.initializers["fc2.weight"]
    changed = weight.const_value.numpy().copy()
    changed[3, 7] *= 1.01
    put(weight, changed)
    found = verify(DIGITS, candidate, bisect=True).divergence
    assert found.candidate == "logits"
    assert found.rest_passes is True


@pytest.mark.parametrize(("name", "index"), [("conv1.weight", (5, 0, 1, 1)), ("fc2.bias", (3,))])
@pytest.mark.parametrize("number", [np.nan, -np.inf])
def test_a_weight_that_is_no_number_is_named_with_its_index_and_its_channel(name, index, number):
    candidate = bnfold.fold(DIGITS).model
    weight = candidate.graph.initializers[name]
    changed = weight.const_value.numpy().copy()
    changed[index] = number
    put(weight, changed)
    comparison = verify(DIGITS, candidate, bisect=True)
    (check,) = (check for check in comparison.checks if check.name == f"weight '{name}'")
    assert check.verdict is Verdict.FAIL
    assert f"{name} is {number} at {list(index)}, and no weight of the reference" in check.message
    assert comparison.needed_tolerance == np.inf
    assert comparison.divergence.worst_channels == ((index[0], 1.0),)
    assert comparison.divergence.local_error == np.inf
    assert comparison.divergence.rest_passes is True


def test_nothing_is_looked_for_unless_it_is_asked_for_and_needed():
    reference = small_resnet()
    _, wrong = faulty_fold(reference, "epsilon dropped", 0)
    assert verify(reference, wrong).divergence is None
    assert verify(reference, bnfold.fold(reference).model, bisect=True).divergence is None


def test_other_operators_part_where_they_stand():
    reference = parse("g (float[N,3] x) => (float[N,3] y) { a = Relu (x) b = Exp (a) c = Abs (b) y = Sqrt (c) }")
    candidate = parse("g (float[N,3] x) => (float[N,3] y) { a = Relu (x) b = Sigmoid (a) c = Abs (b) y = Sqrt (c) }")
    found = verify(reference, candidate, bisect=True).divergence
    assert found.candidate in {"b", "c"}
    assert "b" in found.nodes
    assert found.rest_passes


def test_a_repro_names_a_file_that_looks_like_an_option_as_a_file(tmp_path):
    Repro(tmp_path / "repro").write("-a.onnx", "b.onnx", ["--level", "all"], [], {}, None)
    (command,) = re.findall(r"^    (.*)$", (tmp_path / "repro" / "README.md").read_text(), re.MULTILINE)
    words = shlex.split(command)
    assert words[:4] == ["bnfold", "verify", "./-a.onnx", "b.onnx"]
    assert words[-2:] == ["--level", "all"]


def test_a_repro_holds_an_input_the_nodes_and_the_command(tmp_path):
    reference = small_resnet()
    site, candidate = faulty_fold(reference, "unbiased variance", 2)
    modelfile.save(reference, tmp_path / "a b.onnx")
    modelfile.save(candidate, tmp_path / "b.onnx")
    folder = tmp_path / "repro"
    comparison = verify(tmp_path / "a b.onnx", tmp_path / "b.onnx", save_repro=folder)
    assert comparison.divergence.sites == (site.name,)
    assert {file.name for file in folder.iterdir()} == {
        "README.md", "candidate.onnx", "input.npz", "part.npz", "reference.onnx",
    }  # fmt: skip
    with np.load(folder / "input.npz") as inputs:
        assert [inputs[name].shape[1:] for name in inputs] == [(3, 8, 8)]
    commands = re.findall(r"^    (.*)$", (folder / "README.md").read_text(), re.MULTILINE)
    assert shlex.split(commands[0])[:4] == ["bnfold", "verify", str(tmp_path / "a b.onnx"), str(tmp_path / "b.onnx")]
    assert shlex.split(commands[1])[2:] == ["reference.onnx", "candidate.onnx", "--inputs", "part.npz"]
    part = modelfile.load(folder / "reference.onnx")
    assert len(part.graph) < 6
    with np.load(folder / "part.npz") as inputs:
        assert set(inputs) == {value.name for value in part.graph.inputs}
    assert not verify(folder / "reference.onnx", folder / "candidate.onnx")


def test_the_commands_of_a_repro_have_the_limits_that_were_asked_for(tmp_path):
    reference = small_resnet()
    candidate = faulty_fold(reference, "unbiased variance", 2)[1]
    options = {"timeout": 90.5, "memory_limit": (1 << 30) + 1, "levels": ["all"], "jobs": 2}
    assert not verify(reference, candidate, save_repro=tmp_path / "repro", **options)
    whole, part = re.findall(r"^    (.*)$", (tmp_path / "repro" / "README.md").read_text(), re.MULTILINE)
    assert shlex.split(whole)[6:] == ["--level", "all", "--timeout", "90.5", "--memory-limit", "1025", "--jobs", "2"]
    assert shlex.split(part)[6:] == ["--timeout", "90.5", "--memory-limit", "1025"]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(BnfoldError, match="is not empty"):
        verify(small_resnet(), small_resnet(), save_repro=tmp_path)
    with pytest.raises(BnfoldError, match="is a file"):
        verify(small_resnet(), small_resnet(), save_repro=tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "kept"


def test_equivalent_models_leave_no_repro(tmp_path):
    reference = small_resnet()
    assert verify(reference, bnfold.fold(reference).model, save_repro=tmp_path / "repro")
    assert not (tmp_path / "repro").exists()


def test_a_search_that_takes_too_long_does_not_lose_the_verdict(monkeypatch):
    def late(*_, **__):
        raise bnfold.ExecutionError("b.onnx: did not finish within 1 s")

    monkeypatch.setattr(locating, "run_isolated", late)
    reference = small_resnet()
    comparison = verify(reference, faulty_fold(reference, "epsilon dropped", 0)[1], bisect=True)
    assert not comparison
    assert comparison.checks[-1].verdict is Verdict.NOTE
    assert comparison.checks[-1].message == "not found: b.onnx: did not finish within 1 s"
