"""Models compared on other execution providers and at other levels, beside the CPU without optimisations."""

import threading
import time

import numpy as np
import pytest

from bnfold.errors import BnfoldError, ProviderError
from bnfold.verifying import Verdict, running, verify
from bnfold.verifying.settings import Setting, further_settings, side_by_side
from tests.helpers.marks import needs_openvino
from tests.helpers.models import parse, set_constant
from tests.verifying.networks import random_network


@pytest.fixture
def network():
    return random_network(5, operator="Conv", layers=2, widths=(4, 8), var=(0.1, 2.0), batch="N")


def verdicts(comparison):
    return {check.name: check.verdict for check in comparison.checks}


def test_the_cpu_without_optimisations_is_always_there_and_counted_once():
    assert further_settings([], []) == []
    assert further_settings(["cpu"], ["disabled"]) == []
    assert list(map(str, further_settings(["cuda", "cpu", "cuda"], ["all", "all"]))) == [
        "cpu, all",
        "cuda, disabled",
        "cuda, all",
    ]
    assert str(Setting()) == "cpu, disabled"


def test_a_level_that_does_not_exist_is_said():
    with pytest.raises(BnfoldError, match="'most' is not a valid Level; the levels are disabled, basic"):
        further_settings([], ["most"])


@needs_openvino
def test_a_correct_fold_is_equivalent_on_a_second_provider_and_a_wrong_one_is_not(network):
    arguments = {"providers": ["openvino"], "levels": ["all"]}
    comparison = verify(network.reference(), network.folded(), **arguments)
    assert comparison
    assert comparison.settings == ("cpu, disabled", "cpu, all", "openvino, disabled", "openvino, all")
    assert [(one.provider, one.level) for one in comparison.outputs] == [
        tuple(setting.split(", ")) for setting in comparison.settings
    ]
    assert all(one.error_ratio <= 2 for one in comparison.outputs)
    assert verdicts(comparison)["provider (openvino, all)"] is Verdict.PASS
    wrong = verify(network.reference(), network.folded("epsilon dropped"), **arguments)
    assert not wrong
    assert verdicts(wrong)["output 'y' (openvino, disabled)"] is Verdict.FAIL


@needs_openvino
def test_what_a_provider_leaves_to_the_cpu_is_listed():
    text = "g (float[N, 3, 3] x, float[3, 3] w) => (float[N] d) { y = MatMul(x, w) d = Det(y) }"
    model = parse(text)
    set_constant(model, model.graph.inputs.pop(), np.eye(3, dtype=np.float32))
    (check,) = [c for c in verify(model, model, providers=["openvino"]).checks if c.name.startswith("provider")]
    assert "elsewhere, of the reference: Det (CPUExecutionProvider)" in check.message


def test_a_provider_that_is_not_there_is_said_before_any_work(network, monkeypatch):
    monkeypatch.setattr(running.Runner, "run_reference", None)
    with pytest.raises(ProviderError, match="provider brandnew: missing"):
        verify(network.reference(), network.folded(), providers=["brandnew"])


def test_a_provider_that_left_the_work_to_the_cpu_is_no_verdict(network):
    with pytest.raises(ProviderError, match=r"reference: .*azure did not run it: 4 of 4 heavy operators") as caught:
        verify(network.reference(), network.folded(), providers=["azure"])
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("fault", ["", "one bias lost"])
def test_side_by_side_gives_the_same_verdict(network, fault):
    models = network.reference(), network.folded(fault)
    arguments = {"levels": ["basic", "extended", "all"]}
    alone, together = (verify(*models, **arguments, jobs=jobs) for jobs in (1, 3))
    assert together == alone
    assert bool(alone) == (not fault)


def test_the_first_task_that_fails_is_raised_and_ends_the_others():
    stop = threading.Event()

    def fail_late():
        time.sleep(0.1)
        raise ValueError("first in order")

    def fail_early():
        raise ValueError("second in order")

    def wait():
        assert stop.wait(20)

    with pytest.raises(ValueError, match="first in order"):
        side_by_side(3, [fail_late, fail_early, wait], stop)
    assert side_by_side(2, [lambda: 1, lambda: 2, lambda: 3], threading.Event()) == [1, 2, 3]


@pytest.mark.usefixtures("in_this_process")
def test_a_candidate_that_only_fails_with_optimisations_is_not_equivalent(network, monkeypatch):
    """Stands for a fault of onnxruntime's own: the results at one level are made wrong."""
    original = running.Runner.run_there

    def run_there(self, path, inputs):
        results, others = original(self, path, inputs)
        wrong = "candidate" in path
        return [{name: array * np.float32(1 + wrong * 1e-4) for name, array in one.items()} for one in results], others

    monkeypatch.setattr(running.Runner, "run_there", run_there)
    comparison = verify(network.reference(), network.folded(), levels=["all"])
    assert not comparison
    assert verdicts(comparison)["output 'y'"] is Verdict.PASS
    assert verdicts(comparison)["output 'y' (cpu, all)"] is Verdict.FAIL


def test_a_candidate_that_refuses_an_input_at_one_level_fails_there(network, monkeypatch):
    from bnfold.runtime.sessions import Refusal

    original = running.Runner.run_there

    def run_there(self, path, inputs):
        results, others = original(self, path, inputs)
        return ([Refusal("not today"), *results[1:]] if "candidate" in path else results), others

    monkeypatch.setattr(running.Runner, "run_there", run_there)
    comparison = verify(network.reference(), network.folded(), levels=["all"])
    assert not comparison
    (check,) = [check for check in comparison.checks if check.verdict is Verdict.FAIL]
    assert check.message.startswith("the candidate refuses normal, seed 0")
    assert check.message.endswith(": not today")
