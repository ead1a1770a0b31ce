"""Inputs on which rounding decides."""

import numpy as np
import pytest

from bnfold import modelfile
from bnfold.runtime.inputs import InputSet, default_inputs
from bnfold.verifying.edges import edges
from bnfold.verifying.judging import OutputRuns
from bnfold.verifying.outputs import Witnesses, judge_outputs
from bnfold.verifying.running import Runner
from tests.verifying.networks import random_network
from tests.verifying.test_judging import EXACT, off_by, wide

NEAR, FAR = wide(off_by(8))[0], wide(off_by(800))[0]


def found(candidate=(NEAR, FAR), *, own=EXACT, neighbours=(FAR, NEAR, FAR, NEAR), of_reference=NEAR, exact=True):
    oracle = [EXACT] * len(candidate) if exact else None
    near = [[of_reference]] * len(candidate)
    runs = OutputRuns("y", ["a", "b"][: len(candidate)], [NEAR] * len(candidate), candidate, oracle, lambda: near)
    return edges(runs, lambda index: own, lambda index: neighbours)


def test_an_equal_function_whose_neighbours_are_sound_stands_on_an_edge():
    assert found() == [1]
    assert found((FAR, NEAR)) == [0]


@pytest.mark.parametrize("doubt", [
    {"own": FAR},  # another function
    {"own": None},
    {"neighbours": (FAR,) * 8},  # badly conditioned: all of them err
    {"neighbours": (NEAR, *(FAR,) * 7)},
    {"candidate": (FAR, FAR)},  # nothing would be left to judge by
    {"candidate": (NEAR, np.concatenate([NEAR, NEAR]))},
    {"candidate": (NEAR, NEAR)},
    {"of_reference": FAR},  # the neighbours of the reference fall too: the ratio knows
    {"exact": False},
])  # fmt: skip
def test_anything_less_is_no_edge(doubt):
    assert found(**doubt) == []


def test_integers_have_no_edges():
    runs = OutputRuns("y", ["a", "b"], [np.arange(3)] * 2, [np.arange(3)] * 2, [np.arange(3)] * 2, list)
    assert edges(runs, lambda index: np.arange(3), lambda index: []) == []


@pytest.mark.parametrize(("own", "verdicts"), [(EXACT, ["warn", "pass"]), (FAR, ["fail"]), (None, ["fail"])])
def test_a_set_on_an_edge_is_left_out_and_named(own, verdicts):
    sets = [InputSet("normal", 0, None, {}), InputSet("large", 3, None, {})]
    asked = []

    def exactly(inputs):
        asked.append([str(one) for one in inputs])
        return [None if own is None else {"y": own}]

    witnesses = Witnesses(lambda inputs: [[{"y": NEAR}]] * 2, lambda inputs: [[{"y": NEAR}, {"y": NEAR}]], exactly)
    of_two = ([{"y": NEAR}] * 2, [{"y": NEAR}, {"y": FAR}], [{"y": EXACT}] * 2)
    checks, (figures,) = judge_outputs(sets, *of_two, witnesses, {})
    assert [check.verdict for check in checks if check.verdict != "note"] == verdicts
    assert asked == [[str(sets[1])]]
    assert figures.needed_tolerance > 1e-6
    if verdicts == ["warn", "pass"]:
        assert checks[0].message.endswith(f"the two models equal: {sets[1]}")


def test_the_witnesses_of_a_network_are_itself_and_its_neighbours_in_float64_and_in_float32(tmp_path):
    network = random_network(5, operator="Gemm", layers=2, widths=(4, 8))
    paths = [str(tmp_path / name) for name in ("a.onnx", "b.onnx")]
    modelfile.save(network.reference(), paths[0])
    modelfile.save(network.folded(), paths[1])
    inputs = default_inputs(network.reference())[:1]
    witnesses = Runner(60).witnesses(*paths)
    (exact,) = witnesses.exactly(inputs)
    assert {array.dtype for array in exact.values()} == {np.dtype(np.float64)}
    near, of_reference = witnesses.of_candidate(inputs), witnesses.of_reference(inputs)
    assert [len(one) for one in (*near, *of_reference)] == [8, 8]
