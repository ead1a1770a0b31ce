"""``verify``, end to end and in child processes."""

import re
from importlib.metadata import version

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import bnfold
from bnfold import modelfile
from bnfold.errors import BnfoldError, ExecutionError, ModelError, ModelFileError
from bnfold.verifying import Verdict, inference_ops, running, verify
from tests.helpers.models import example, parse, set_constant
from tests.verifying.networks import random_network

CONV = "g (float[N, 2, 6, 6] x) => (float[N, 2, 6, 6] y) { y = Relu(x) }"


@pytest.fixture
def network():
    return random_network(5, operator="Conv", layers=2, widths=(4, 8), var=(0.1, 2.0), batch="N")


def checks_of(comparison, verdict):
    """Of the outputs: what the weights are like has tests of its own."""
    return [check for check in comparison.checks if check.verdict is verdict and "weight" not in check.name]


def scaled(factor, text="g (float[N, 3] x) => (float[N, 3] y) { c = Constant<value_float = 1.0>() y = Mul(x, c) }"):
    return parse(text.replace("1.0>", f"{factor}>"))


def test_a_correct_fold_is_equivalent_by_path_and_in_memory(network, tmp_path):
    modelfile.save(network.reference(), tmp_path / "a.onnx")
    comparison = bnfold.verify(tmp_path / "a.onnx", network.folded())
    assert comparison
    assert comparison.equivalent
    assert comparison.oracle == "float64"
    assert comparison.level == "disabled"
    assert comparison.reference == str(tmp_path / "a.onnx")
    assert comparison.candidate == "g (in memory)"
    assert [check.name for check in comparison.checks] == [
        "interface",
        "structure",
        "certificate",
        "likeness of 'y'",
        "tolerance of 'y'",
        "output 'y'",
    ]
    assert comparison.outputs[0].error_ratio <= 2
    assert 0 < comparison.needed_tolerance < 1e-5


def test_a_wrong_fold_is_not_and_the_report_says_where_it_shows_most(network):
    comparison = verify(network.reference(), network.folded("epsilon dropped"))
    assert not comparison
    (check,) = checks_of(comparison, Verdict.FAIL)
    assert check.name == "output 'y'"
    assert check.figure > check.limit == 2
    assert "largest on " in check.message


def test_the_models_are_left_as_they_were(network, tmp_path):
    reference, candidate = network.reference(), network.folded()
    before = [ir.to_proto(model).SerializeToString(deterministic=True) for model in (reference, candidate)]
    modelfile.save(reference, tmp_path / "a.onnx")
    stored = (tmp_path / "a.onnx").read_bytes()
    verify(tmp_path / "a.onnx", candidate)
    assert [ir.to_proto(model).SerializeToString(deterministic=True) for model in (reference, candidate)] == before
    assert (tmp_path / "a.onnx").read_bytes() == stored
    assert [file.name for file in tmp_path.iterdir()] == ["a.onnx"]


def test_every_output_is_judged():
    text = """g (float[N, 3] x) => (float[N, 3] a, float[N, 3] b) {
        c = Constant<value_float = 1.0>() a = Neg(x) b = Mul(x, c) }"""
    comparison = verify(scaled(1.0, text), scaled(1.001, text))
    assert [figures.name for figures in comparison.outputs] == ["a", "b"]
    assert [check.name for check in checks_of(comparison, Verdict.FAIL)] == ["output 'b'"]
    assert comparison.needed_tolerance == pytest.approx(1e-3, rel=0.01)


def test_several_inputs_and_integers_are_fed():
    text = """g (int64[N, 4] ids, bool[N, 4] mask, float[N, 4] x, float factor) => (float[N, 4] y, int64[N] best) {
        f = Cast<to = 1>(ids) g = Where(mask, f, x) y = Mul(g, factor) best = ArgMax<axis = 1, keepdims = 0>(y) }"""
    comparison = verify(parse(text), parse(text))
    assert comparison
    assert [figures.dtype for figures in comparison.outputs] == ["float32", "int64"]


def test_an_integer_that_differs_is_a_failure_with_its_place():
    text = "g (float[N, 4] x) => (int64[N] best) { best = ArgMAX<axis = 1, keepdims = 0>(x) }"
    comparison = verify(parse(text.replace("MAX", "Max")), parse(text.replace("MAX", "Min")))
    (check,) = checks_of(comparison, Verdict.FAIL)
    assert "values differ on normal, seed 0" in check.message
    assert "instead of" in check.message


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        ("g (float[N, 2, 6, 6] x) => (float[N, 2, 6, 6] z) { z = Relu(x) }", "output 'y': the candidate calls it 'z'"),
        ("g (float[M, 2, 6, 6] x) => (float[N, 2, 6, 6] y) { y = Relu(x) }", "input 'x': shape [M, 2, 6, 6] instead"),
        ("g (double[N, 2, 6, 6] x) => (float[N, 2, 6, 6] y) { y = Cast<to = 1>(x) }", "input 'x': DOUBLE instead of"),
    ],
)
def test_models_of_different_interfaces_are_not_equivalent_and_not_run(candidate, words):
    comparison = verify(parse(CONV), parse(candidate))
    assert not comparison
    assert comparison.checks[0].message.startswith(words)
    assert comparison.checks[-1].message == "not compared: the interfaces differ"
    assert comparison.outputs == ()


STRINGS = """g (string[N, 4] s, float[N, 4] x) => (string[N, 4] t, float[N, 4] y) {
    a = Constant<value_string = "LEFT">() b = Constant<value_string = "cat">() e = Equal(s, a) t = Where(e, b, s)
    f = Cast<to = 1>(e) y = Add(x, f) }"""


def test_strings_are_fed_and_compared():
    reference = parse(STRINGS.replace("LEFT", "dog"))
    assert verify(reference, reference)
    swapped = STRINGS.replace("Where(e, b, s)", "Where(e, a, s)").replace("LEFT", "dog")
    comparison = verify(reference, parse(swapped))
    assert not comparison
    (check,) = checks_of(comparison, Verdict.FAIL)
    assert check.name == "output 't'"
    assert "dog instead of cat" in check.message
    assert comparison.needed_tolerance == np.inf
    left, right = (parse(STRINGS.replace("LEFT", word)) for word in ("Maus", "mouse"))
    assert verify(left, right)  # no input says either, so nothing tells them apart
    words = {"s": np.array([["Maus", "dog", "", "b"]]), "x": np.zeros((1, 4), np.float32)}
    assert not verify(left, right, inputs=words)


def test_inputs_that_are_given_are_the_only_ones(network, tmp_path):
    feed = {"x": np.random.default_rng(0).normal(size=(3, *map(int, network.reference().graph.inputs[0].shape[1:])))}
    feed["x"] = feed["x"].astype(np.float32)
    np.savez(tmp_path / "data.npz", **feed)
    comparison = verify(network.reference(), network.folded(), inputs=[tmp_path / "data.npz", feed])
    assert comparison
    assert [text.split(",")[0] for text in comparison.inputs] == [str(tmp_path / "data.npz"), "inputs 1"]
    assert comparison.seeds == ()
    assert not verify(network.reference(), network.folded("one bias lost"), inputs=tmp_path / "data.npz")


def test_inputs_that_are_not_for_the_model_are_said_before_it_runs(network, tmp_path):
    with pytest.raises(ModelError, match=r"inputs 0: 'x' is float64 \[3\], and the model takes FLOAT \["):
        verify(network.reference(), network.folded(), inputs={"x": np.zeros(3)})


def test_nan_in_the_candidate_alone_is_a_failure():
    text = "g (float[N, 3] x) => (float[N, 3] y) { a = Abs(x) y = Sqrt(OF) }"
    comparison = verify(parse(text.replace("OF", "a")), parse(text.replace("OF", "x")))
    assert "output 'y'" not in [check.name for check in checks_of(comparison, Verdict.FAIL)]
    (check,) = checks_of(comparison, Verdict.FAIL)
    assert check.name == "NaN and Inf of 'y'"
    assert "in one of the two only" in check.message
    assert comparison.outputs[0].nonfinite_mismatches > 0


def test_nan_in_both_is_a_warning():
    model = parse("g (float[N, 3] x) => (float[N, 3] y) { y = Log(x) }")
    comparison = verify(model, model)
    assert comparison
    assert [check.name for check in checks_of(comparison, Verdict.WARN)] == ["NaN and Inf of 'y'"]


def test_a_reference_that_overflows_where_the_candidate_does_not_is_a_warning():
    text = """g (float[N, 3] x) => (float[N, 3] y) {
        up = Constant<value_float = 8192.0>() down = Constant<value_float = 0.0001220703125>()
        big = Mul(x, up) small = Cast<to = 10>(big) back = Cast<to = 1>(small) y = LAST }"""
    comparison = verify(parse(text.replace("LAST", "Mul(back, down)")), parse(text.replace("LAST", "Identity(x)")))
    assert comparison
    (check,) = checks_of(comparison, Verdict.WARN)
    assert check.name == "NaN and Inf of 'y'"
    assert "values are NaN or Inf in the reference only" in check.message


def weighted(text, shape):
    """A reference, and candidates with weights as good as its own and not."""
    models = [parse(text) for _ in range(3)]
    weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for model, factor in zip(models, (1.0, 1 + 1e-7, 1 + 1e-3), strict=True):
        set_constant(model, model.graph.inputs.pop(), (weight * factor).astype(np.float32))
    return models


def test_a_grouped_transposed_convolution_has_an_oracle():
    text = (
        "g (float[N, 4, 5, 5] x, float[4, 2, 3, 3] w) => (float[N, 4, 7, 7] y) { y = ConvTranspose<group = 2>(x, w) }"
    )
    reference, candidate, wrong = weighted(text, (4, 2, 3, 3))
    comparison = verify(reference, candidate)
    assert comparison
    assert comparison.oracle == "float64"
    assert not verify(reference, wrong)


FOREIGN = "g (float[N, 4] x, float[4, 4] w) => (float[N, 4] y) { m = MatMul(x, w) y = com.microsoft.QuickGelu(m) }"


def test_an_operator_of_another_domain_is_judged_by_a_tolerance_and_the_report_says_so():
    reference, candidate, wrong = weighted(FOREIGN, (4, 4))
    comparison = verify(reference, candidate)
    assert comparison
    assert comparison.oracle == "tolerance"
    (check,) = checks_of(comparison, Verdict.WARN)
    assert check.name == "float64 oracle"
    assert "a tolerance decides" in check.message
    assert comparison.checks[-1].limit == pytest.approx(1e-5)
    assert not verify(reference, wrong)


def test_an_oracle_that_is_demanded_and_cannot_be_had_is_an_error():
    reference, candidate, _ = weighted(FOREIGN, (4, 4))
    with pytest.raises(ExecutionError, match=r"there is no float64 oracle: .*QuickGelu"):
        verify(reference, candidate, oracle="always")
    with pytest.raises(BnfoldError, match="oracle: sometimes is none of auto, always, never"):
        verify(reference, candidate, oracle="sometimes")


def test_without_an_oracle_a_tolerance_decides_and_nothing_warns(network):
    comparison = verify(network.reference(), network.folded(), oracle="never")
    assert comparison
    assert comparison.oracle == "tolerance"
    assert checks_of(comparison, Verdict.WARN) == []
    assert comparison.outputs[0].error_ratio is None


def test_what_is_not_affordable_is_judged_by_a_tolerance_input_by_input(network, monkeypatch):
    monkeypatch.setattr(running, "BUDGET", 100_000.0)
    reference = network.reference()
    comparison = verify(reference, network.folded())
    assert comparison
    assert comparison.oracle == "float64"
    (note,) = [check for check in comparison.checks if check.name == "float64 oracle"]
    assert re.match(r"took \d of 6 inputs, a tolerance decides on the others: all of them would take", note.message)
    names = [check.name for check in comparison.checks if check.verdict is Verdict.PASS]
    assert "output 'y'" in names
    assert re.fullmatch(r"output 'y' on \d further inputs", names[-1])
    assert not verify(reference, network.folded("one bias lost"))
    assert verify(reference, network.folded(), oracle="always").checks[1].name != "float64 oracle"
    monkeypatch.setattr(running, "BUDGET", 1.0)
    comparison = verify(reference, network.folded())
    assert comparison
    assert comparison.oracle == "tolerance"
    assert "there is none: all of them would take" in checks_of(comparison, Verdict.WARN)[0].message


@pytest.mark.parametrize(
    ("tolerances", "equivalent"), [(1e-2, True), ({"y": 1e-2}, True), ({"y": 1e-5, "": 1.0}, False)]
)
def test_a_tolerance_that_is_given_decides_and_the_ratio_is_shown(tolerances, equivalent):
    reference, _, wrong = weighted("g (float[N, 4] x, float[4, 4] w) => (float[N, 4] y) { y = MatMul(x, w) }", (4, 4))
    assert not verify(reference, wrong)
    comparison = verify(reference, wrong, tolerances=tolerances)
    assert bool(comparison) == equivalent
    assert comparison.checks[-1].figure == comparison.needed_tolerance == pytest.approx(1e-3, rel=0.01)
    (ratio,) = [check for check in comparison.checks if check.name == "ratio of 'y'"]
    assert ratio.verdict is Verdict.NOTE
    assert ratio.figure > 2


@pytest.mark.parametrize(
    ("tolerances", "words"), [({"z": 1.0}, "has no output 'z', only y"), (-1.0, "less than nothing")]
)
def test_a_tolerance_that_makes_no_sense_is_said(network, tolerances, words):
    with pytest.raises(BnfoldError, match=words):
        verify(network.reference(), network.folded(), tolerances=tolerances)


@pytest.mark.usefixtures("in_this_process")
def test_an_evaluator_that_disagrees_with_onnxruntime_is_no_oracle(monkeypatch):
    """onnx's own BatchNormalization of opset 9 takes inference for training, and nearly any candidate passes by it."""
    text = """g (float[N, 2, 3] x, float[2] scale, float[2] bias, float[2] mean, float[2] var) => (float[N, 2, 3] y) {
        y = BatchNormalization(x, scale, bias, mean, var) }"""
    reference, wrong = (example(text, dtype="float", opset=9, ir_version=8) for _ in range(2))
    bias = wrong.graph.initializers["bias"]
    bias.const_value = ir.tensor(bias.const_value.numpy() * np.float32(1.01), name="bias")

    class BatchNormalization(inference_ops.BatchNormalization):
        def _run(self, x, scale, bias, mean, var, **attributes):
            return super()._run(x, scale, bias, x.mean((0, 2)), x.var((0, 2)), **attributes)

    monkeypatch.setattr(inference_ops, "BatchNormalization", BatchNormalization)
    comparison = verify(reference, wrong)
    assert not comparison
    assert comparison.oracle == "tolerance"
    assert "disagrees with onnxruntime about what 'y' is" in checks_of(comparison, Verdict.WARN)[0].message


def test_an_input_that_the_reference_refuses_is_left_out_with_a_note():
    text = "g (int64[N] ids, float[10, 2] t) => (float[N, 2] y) { i = Neg(ids) j = Neg(i) y = Gather(t, j) }"
    model = parse(text)
    set_constant(model, model.graph.inputs.pop(), np.arange(20, dtype=np.float32).reshape(10, 2))
    comparison = verify(model, model)
    assert comparison
    note, *_ = checks_of(comparison, Verdict.NOTE)
    assert "left out 1 of 6: the reference refuses large, seed 3" in note.message
    assert len(comparison.inputs) == 5


def test_a_model_that_only_takes_single_samples_gets_them():
    text = "g (float[N, 2, 3] x) => (float[1, 6] y) { s = Constant<value_ints = [1, 6]>() y = Reshape(x, s) }"
    comparison = verify(parse(text), parse(text))
    assert comparison
    assert all("1×2×3" in inputs for inputs in comparison.inputs)


def test_a_candidate_with_a_size_baked_in_is_not_equivalent():
    text = "g (float[N, 2, 3] x) => (float[N, 6] y) { s = Constant<value_ints = [ROWS, 6]>() y = Reshape(x, s) }"
    comparison = verify(parse(text.replace("ROWS", "-1")), parse(text.replace("ROWS", "16")))
    assert not comparison
    assert "the candidate refuses normal, seed 1, 9×2×3" in checks_of(comparison, Verdict.FAIL)[0].message


def test_a_candidate_that_is_wrong_for_single_samples_is_not_equivalent():
    text = """g (float[N, 3] x) => (float[N, 3] y) { zero = Constant<value_int = 0>() two = Constant<value_int = 2>()
        all = Shape(x) n = Gather(all, zero) e = Less(n, two) f = Cast<to = 1>(e) y = LAST }"""
    assert not verify(parse(text.replace("LAST", "Identity(x)")), parse(text.replace("LAST", "Add(x, f)")))


def test_a_candidate_with_other_rows_in_a_table_is_not_equivalent():
    text = "g (int64[N, 8] ids, float[1000, 2] t) => (float[N, 8, 2] y) { y = Gather(t, ids) }"
    reference, candidate = parse(text), parse(text)
    rows = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)
    set_constant(reference, reference.graph.inputs.pop(), rows)
    rows = rows.copy()
    rows[100:] *= 2
    set_constant(candidate, candidate.graph.inputs.pop(), rows)
    assert not verify(reference, candidate)


def test_a_candidate_that_ignores_what_may_be_overridden_is_not_equivalent():
    text = "g (float[N, 3] x, float[3] w) => (float[N, 3] y) <float[3] w = {2, 3, 4}, float[3] v = {2, 3, 4}> "
    reference, candidate = (parse(text + f"{{ y = Mul(x, {name}) }}", ir_version=8) for name in "wv")
    assert verify(reference, reference)
    comparison = verify(reference, candidate)
    assert not comparison
    assert "largest on overridden" in comparison.checks[-1].message


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ("u = RandomUniformLike(x) y = Add(x, u)", "; it holds RandomUniformLike"),
        (
            "r = Constant<value_float = 0.5>() t = Constant<value = bool {1}>() y = Dropout(x, r, t)",
            "; it holds Dropout",
        ),
    ],
)
def test_a_random_reference_cannot_be_checked(nodes, words):
    model = parse(f"g (float[N, 3] x) => (float[N, 3] y) {{ {nodes} }}", ir_version=8)
    with pytest.raises(ExecutionError, match=rf"^reference: .*: non-deterministic: two runs on .* differ{words}$"):
        verify(model, model)


def test_outputs_of_nothing_but_nan_cannot_be_checked():
    text = "g (float[N, 3] x) => (float[N, 3] y) { k = Constant<value_float = VALUE>() n = Log(k) y = Add(x, n) }"
    model = parse(text.replace("VALUE", "-1.0"))
    with pytest.raises(
        ExecutionError, match="could not be checked: its outputs hold no number, or nothing but NaN and Inf"
    ):
        verify(model, model)
    assert not verify(model, parse(text.replace("VALUE", "0.0"))), "NaN is not -Inf"


POISONS = {
    "an index": (
        "at = Constant<value = float[1] {4.0}>() half = Constant<value = float[1] {0.5}>() i = Mul(at, half) "
        "j = Floor(i) k = Cast<to = 7>(j) g = Gather<axis = 1>(n, k) y = Add(g, n)"
    ),
    "a size": (
        "f = Constant<value = float[2] {0.5, 0.5}>() a = Shape<start = 2>(n) b = Cast<to = 1>(a) c = Mul(b, f) "
        "d = Floor(c) e = Cast<to = 7>(d) nc = Shape<end = 2>(n) s = Concat<axis = 0>(nc, e) r = Resize(n, , , s) "
        "hw = Constant<value_ints = [2, 3]>() y = ReduceSum(r, hw)"
    ),
}


@pytest.mark.parametrize("tail", POISONS.values(), ids=POISONS)
@pytest.mark.parametrize("fault", ["", "epsilon dropped"])
@pytest.mark.usefixtures("in_this_process")
def test_neighbours_of_another_shape_or_index_excuse_nothing(tail, fault):
    network = random_network(5, operator="Conv", layers=1, widths=(8, 8), var=(0.1, 2.0), batch="N")
    comparison = verify(*(with_tail(model, tail) for model in (network.reference(), network.folded(fault))))
    assert comparison.equivalent == (not fault)


def with_tail(model, nodes):
    """A model of one image with a few nodes behind it; they read ``n`` and give ``y``."""
    proto = ir.to_proto(model)
    proto.graph.node[-1].output[0] = "n"
    behind = ir.to_proto(parse(f"g (float[N, 8, 6, 6] n) => (float[N, 8, A, B] y) {{ {nodes} }}"))
    proto.graph.node.extend(behind.graph.node)
    proto.graph.output[0].CopyFrom(behind.graph.output[0])
    return ir.from_proto(proto)


def test_a_reference_that_takes_nothing_cannot_be_checked():
    model = parse("g (float[N, 3] x) => (float[2, 6] y) { s = Constant<value_ints = [7, 7]>() y = Reshape(x, s) }")
    with pytest.raises(ExecutionError, match=r"^reference: .*refuses every input that was tried"):
        verify(model, model)


@pytest.mark.skipif(
    not version("onnxruntime").startswith("1.32."), reason="a fault of onnxruntime 1.32 that others may not have"
)
def test_a_crash_of_the_runtime_is_an_error_that_names_the_model(tmp_path):
    """onnxruntime 1.32 without optimisations, on a BatchNormalization of opset 9 with four empty outputs."""
    text = "g (float[N, 1, 2, 2] x, float[1] s) => (float[N, 1, 2, 2] y) { y = BatchNormalization(x, s, s, s, s) }"
    model = parse(text, opset=9, ir_version=8)
    set_constant(model, model.graph.inputs.pop(), np.ones(1, np.float32))
    modelfile.save(model, tmp_path / "fine.onnx")
    proto = onnx.load(tmp_path / "fine.onnx")
    proto.graph.node[0].output.extend([""] * 4)
    onnx.save(proto, tmp_path / "crash.onnx")
    with pytest.raises(ExecutionError, match=r"^candidate: .*crash\.onnx: the runtime crashed with SIG[A-Z]+$"):
        verify(tmp_path / "fine.onnx", tmp_path / "crash.onnx")


def test_a_model_that_onnxruntime_refuses_is_named_with_its_role(tmp_path):
    fine = "g (float[2] x) => (float[2] y) { y = Relu(x) }"
    with pytest.raises(ExecutionError, match=r"^candidate: .*onnxruntime refuses the model"):
        verify(parse(fine), parse(fine.replace("Relu", "Unheard")))
    with pytest.raises(ExecutionError, match=r"^reference: .*onnxruntime refuses the model"):
        verify(parse(fine.replace("Relu", "Unheard")), parse(fine))


def test_a_run_that_takes_too_long_is_an_error():
    model = parse(CONV)
    with pytest.raises(ExecutionError, match=r"did not finish within 0\.01 s"):
        verify(model, model, timeout=0.01)


def test_models_that_cannot_be_used_are_refused_at_once(tmp_path):
    with pytest.raises(ModelFileError, match="no such file"):
        verify(tmp_path / "none.onnx", parse(CONV))
    with pytest.raises(ModelError, match="only tensors of numbers or strings"):
        verify(*[parse("g (seq(float[2]) x) => (int64 y) { y = SequenceLength(x) }")] * 2)


def test_weights_in_a_file_of_their_own_are_read(tmp_path, network):
    reference = network.reference()
    ir.save(reference, tmp_path / "a.onnx", external_data="a.data", size_threshold_bytes=1)
    assert verify(tmp_path / "a.onnx", network.folded())
    assert not verify(tmp_path / "a.onnx", network.folded("one bias lost"))


def test_outputs_without_a_number_cannot_be_checked():
    model = parse("g (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }")
    other = parse("g (float[N, 3] x) => (float[N, 3] y) { y = Neg(x) }")
    with pytest.raises(ExecutionError, match="could not be checked: its outputs hold no number"):
        verify(model, other, inputs={"x": np.zeros((0, 3), np.float32)})
