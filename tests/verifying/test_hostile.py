"""Models that never end or take all there is: each is an error of one line, in the time and memory that were allowed.

A model that is random, and one that crashes the runtime, are in ``test_verify.py``.
"""

import sys
import time

import numpy as np
import pytest

from bnfold.errors import ExecutionError
from bnfold.runtime.sessions import Level
from bnfold.verifying import Verdict, running, verify
from tests.helpers.models import example, parse

FINE = "g (float[N, 2] x) => (float[N, 2] y) { y = Identity(x) }"
LOOP = """g (float[N, 2] x) => (float[N, 2] y) {
    n = Constant<value_int = 9223372036854775807>() t = Constant<value = bool {1}>()
    y = Loop(n, t, x)<body = b (int64 i, bool c, float[N, 2] a) => (bool d, float[N, 2] s) {
        d = Identity(c) s = Identity(a) }> }"""
HUNGRY = """g (float[N, 2] x) => (float[N, 2] y) {
    n = Constant<value_int = 9223372036854775807>() t = Constant<value = bool {1}>()
    first = Constant<value_floats = [1.0]>()
    z = Loop(n, t, first)<body = b (int64 i, bool c, float[M] a) => (bool d, float[K] s) {
        d = Identity(c) s = Concat<axis = 0>(a, a) }>
    m = ReduceMax<keepdims = 0>(z) y = Mul(x, m) }"""


@pytest.mark.parametrize("role", ["reference", "candidate"])
def test_a_model_that_never_ends_is_an_error(role):
    models = [parse(LOOP if role == name else FINE) for name in ("reference", "candidate")]
    begin = time.monotonic()
    with pytest.raises(ExecutionError, match=rf"^{role}: .*: did not finish within 3 s$") as caught:
        verify(*models, timeout=3)
    assert time.monotonic() - begin < 60
    assert caught.value.exit_code == 3


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read in /proc")
def test_a_model_that_takes_all_memory_is_an_error():
    with pytest.raises(ExecutionError, match=r"^reference: .*: took more than 600 MiB of memory$"):
        verify(parse(HUNGRY), parse(FINE), memory_limit=600 << 20)


def test_one_that_never_ends_at_one_level_ends_the_others_with_it(monkeypatch):
    original = running.Runner.run_there

    def run_there(self, path, inputs):
        if self.level is Level.BASIC:
            raise ExecutionError("as if it had crashed")
        return original(self, path, inputs)

    monkeypatch.setattr(running.Runner, "run_there", run_there)
    with pytest.raises(ExecutionError, match="as if it had crashed"):
        verify(parse(FINE), parse(FINE), levels=["basic", "all"], jobs=3)


def test_an_oracle_that_takes_too_long_leaves_the_tolerance(monkeypatch):
    original = running.run_isolated

    def run_isolated(function, arguments, *, timeout, **limits):
        timeout = 0.01 if "oracle" in function else timeout
        return original(function, arguments, timeout=timeout, **limits)

    monkeypatch.setattr(running, "run_isolated", run_isolated)
    comparison = verify(parse(FINE), parse(FINE))
    assert comparison
    assert comparison.oracle == "tolerance"
    (warning,) = [check for check in comparison.checks if check.verdict is Verdict.WARN]
    assert "did not finish within 0.01 s" in warning.message
    assert np.isfinite(comparison.needed_tolerance)


@pytest.mark.parametrize(
    ("reference", "candidate"),
    [
        ("y = Conv(x, w)", "y = Conv<group = 0>(x, w)"),
        ("n = BatchNormalization(x, b, b, b, var) r = ReduceMean(n, axes) y = Conv(r, w)",
         "r = ReduceMean(x, axes) y = Conv(r, w)"),
    ],
)  # fmt: skip
def test_a_graph_that_makes_no_sense_is_told_by_the_runtime_that_refuses_it(reference, candidate):
    text = """g (float[N, 4, 6, 6] x, float[4, 4, 1, 1] w, float[4] b, float[4] var, int64[1, 2] axes)
        => (float[N, 4, P, Q] y) <float[N, 4, 6, 6] n> {{ {} }}"""
    with pytest.raises(ExecutionError, match="refuses"):
        verify(*(example(text.format(nodes), dtype="float") for nodes in (reference, candidate)))
