"""Execution providers: what is asked for is there and runs the model, or is an error that says why and what to do.

OpenVINO is a real second provider, a plugin; Azure is one that onnxruntime has and that takes no node.
"""

from pathlib import Path

import numpy as np
import pytest

from bnfold import modelfile
from bnfold.errors import BnfoldError, ProviderError
from bnfold.runtime import repairs, sessions
from bnfold.runtime.isolation import run_isolated
from bnfold.runtime.providers import CPU, Provider, parse, probe, repair
from bnfold.runtime.sessions import Level
from tests.helpers.marks import needs_openvino
from tests.helpers.models import parse as model_of

MATMUL = "g (float[N, 3] x, float[3, 4] w) => (float[N, 4] y) { y = MatMul(x, w) }"
DET = "g (float[N, 3, 3] x, float[3, 3] w) => (float[N] d, float[N, 3, 3] y) { d = Det(x) y = MatMul(x, w) }"
BODY = """g (float[N, 3, 3] x, float[3, 3] w, bool t) => (float[N] y) { y = If(t)<
    then_branch = p () => (float[N] p) { a = MatMul(x, w) p = Det(a) },
    else_branch = q () => (float[N] q) { q = Det(x) }> }"""


@pytest.fixture
def saved(tmp_path):
    def save(text):
        modelfile.save(model_of(text), tmp_path / "model.onnx")
        return str(tmp_path / "model.onnx")

    return save


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("cuda", "CUDAExecutionProvider", ()),
        ("CUDA:device_id=1", "CUDAExecutionProvider", (("device_id", "1"),)),
        ("tensorrt:a=1,b=2", "TensorrtExecutionProvider", (("a", "1"), ("b", "2"))),
        ("openvino", "OpenVINOExecutionProvider", ()),
        ("coreml", "CoreMLExecutionProvider", ()),
        ("QNNExecutionProvider", "QNNExecutionProvider", ()),
        ("Brandnew", "BrandnewExecutionProvider", ()),
        (
            'openvino:load_config={"CPU": {"A": "x"}, "GPU": {"B": "y"}},device=GPU',
            "OpenVINOExecutionProvider",
            (("load_config", '{"CPU": {"A": "x"}, "GPU": {"B": "y"}}'), ("device", "GPU")),
        ),
        ("onnx:url=a=b", "onnxExecutionProvider", (("url", "a=b"),)),
    ],
)
def test_names_and_options_are_read(text, name, options):
    assert parse(text) == Provider(text, name, options)


@pytest.mark.parametrize("text", ["", " ", ":a=b", "cuda:", "cuda:device_id", "cuda:=1", "cuda:a=1,", "cuda:a="])
def test_what_cannot_be_read_is_said(text):
    with pytest.raises(BnfoldError, match="give NAME or NAME:key=value,key=value") as caught:
        parse(text)
    assert caught.value.exit_code == 2


def test_the_cpu_is_the_cpu():
    assert parse("cpu") == CPU
    assert parse("CPUExecutionProvider").is_cpu
    assert not parse("cpu:arena=0").is_cpu


@pytest.mark.parametrize(
    ("name", "distributions", "words"),
    [
        ("CUDA", [], "pip install 'onnxruntime-gpu[cuda,cudnn]'"),
        ("CUDA", ["onnxruntime"], "pip uninstall -y onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]'"),
        ("CUDA", ["onnxruntime-gpu"], "pip install 'onnxruntime-gpu[cuda,cudnn]'"),
        (
            "CUDA",
            ["onnxruntime", "onnxruntime-gpu"],
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxruntime-gpu[cuda,cudnn]'",
        ),
        ("Tensorrt", ["onnxruntime-gpu"], "pip install 'onnxruntime-gpu[cuda,cudnn]' tensorrt"),
        ("OpenVINO", ["onnxruntime"], "pip install onnxruntime-ep-openvino"),
        ("Brandnew", ["onnxruntime"], ""),
    ],
)
def test_the_repair_is_a_command(name, distributions, words):
    assert repair(f"{name}ExecutionProvider", distributions) == words


@pytest.mark.skipif("onnxruntime-gpu" in repairs.installed(), reason="with a GPU's onnxruntime it is not missing")
@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_there_is_an_error_with_its_repair(name, saved):
    words = rf"^provider {name}: missing: .* only .*CPU.*; pip .*onnxruntime-gpu\["
    for ask in (lambda: probe(parse(name)), lambda: sessions.run(saved(MATMUL), Level.ALL, [], parse(name))):
        with pytest.raises(ProviderError, match=words):
            ask()


def test_a_provider_that_nobody_knows_is_missing():
    with pytest.raises(ProviderError, match=r"^provider brandnew: missing: this onnxruntime \S+ has none such"):
        probe(parse("brandnew"))


def test_a_plugin_whose_library_does_not_load_says_so(tmp_path, monkeypatch):
    (tmp_path / "broken.so").write_text("no library")
    (tmp_path / "onnxruntime_ep_brokenone.py").write_text(
        f"def get_library_path():\n    return {str(tmp_path / 'broken.so')!r}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ProviderError, match=r"^provider brokenone: does not load: .*broken\.so") as caught:
        probe(parse("brokenone"))
    assert "\n" not in str(caught.value)


def test_a_plugin_without_a_device_says_so_each_time_and_installs_nothing(tmp_path, monkeypatch):
    """OpenVINO's own library, which finds no device for a provider of another name, on no machine."""
    plugin = pytest.importorskip("onnxruntime_ep_openvino")
    (tmp_path / "onnxruntime_ep_lonely.py").write_text(
        f"def get_library_path():\n    return {plugin.get_library_path()!r}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    first, again = run_isolated("victims:probe_twice", {"text": "lonely"}, subject="lonely")
    words = "its plugin onnxruntime_ep_lonely finds no device on this machine that it takes"
    assert first == f"provider lonely: missing: {words}"
    assert again == first


def test_a_provider_that_takes_nothing_is_found_out(saved):
    """The session of Azure's provider opens, and everything runs on the CPU: nobody would notice."""
    probe(parse("azure"))
    words = r"azure did not run it: 1 of 1 heavy operators ran elsewhere: MatMul \(CPUExecutionProvider\)$"
    with pytest.raises(ProviderError, match=words):
        sessions.run(saved(MATMUL), Level.DISABLED, [], parse("azure"))
    with pytest.raises(ProviderError, match=r"azure did not run it: none of 1 operators ran there$"):
        sessions.run(saved("g (float[2] x) => (float[2] y) { y = Relu(x) }"), Level.DISABLED, [], parse("azure"))


@needs_openvino
@pytest.mark.parametrize("level", Level)
def test_openvino_runs_a_model(saved, level):
    feed = {"x": np.ones((2, 3), np.float32), "w": np.ones((3, 4), np.float32)}
    (outputs,), others = sessions.run_there(saved(MATMUL), level, [feed], parse("openvino"))
    np.testing.assert_array_equal(outputs["y"], np.full((2, 4), 3.0))
    assert others == ""


@needs_openvino
def test_openvino_computes_in_the_type_of_the_model(saved):
    """On a CPU that has bfloat16 it would compute in that, and the verdict would be about bfloat16."""
    rng = np.random.default_rng(0)
    feed = {"x": rng.normal(size=(64, 3)).astype(np.float32), "w": rng.normal(size=(3, 4)).astype(np.float32)}
    (outputs,) = sessions.run(saved(MATMUL), Level.DISABLED, [feed], parse("openvino"))
    np.testing.assert_allclose(outputs["y"], feed["x"].astype(float) @ feed["w"].astype(float), atol=1e-5)


@needs_openvino
def test_light_operators_may_run_elsewhere_and_are_named(saved):
    feed = {"x": np.ones((2, 3, 3), np.float32), "w": np.ones((3, 3), np.float32)}
    (outputs,), others = sessions.run_there(saved(DET), Level.DISABLED, [feed], parse("openvino"))
    assert set(outputs) == {"d", "y"}
    assert others == "Det (CPUExecutionProvider)"


@needs_openvino
def test_a_heavy_operator_elsewhere_is_an_error_even_inside_a_branch(saved):
    words = r"openvino did not run it: 1 of 1 heavy operators ran elsewhere: MatMul \(CPUExecutionProvider\)$"
    with pytest.raises(ProviderError, match=words):
        sessions.run(saved(BODY), Level.DISABLED, [], parse("openvino"))


@needs_openvino
def test_a_model_that_the_provider_refuses_is_an_error_of_one_line(saved):
    path = saved("g (float[1,1,3,3,3,3] x, float[1,1,1,1,1,1] w) => (float[1,1,3,3,3,3] y) { y = Conv(x, w) }")
    with pytest.raises(ProviderError, match=r"model\.onnx: openvino refuses the model: .*Conv") as caught:
        sessions.run(path, Level.DISABLED, [], parse("openvino"))
    assert "\n" not in str(caught.value)


@needs_openvino
@pytest.mark.parametrize("option", ["NOPE=1", "device_type=GPU", "INFERENCE_PRECISION_HINT=bf16", "num_of_threads=1"])
def test_an_option_that_a_plugin_would_ignore_is_a_demand_that_is_not_met(option):
    with pytest.raises(ProviderError, match=rf"would ignore {option.partition('=')[0]}: it takes .*load_config="):
        probe(parse(f"openvino:{option}"))
    probe(parse('openvino:load_config={"CPU":{"INFERENCE_NUM_THREADS":"1"}}'))


@needs_openvino
def test_the_device_of_a_plugin_can_be_chosen():
    probe(parse("openvino:device=cpu"))
    with pytest.raises(ProviderError, match=r"has no device TPU, only .*CPU"):
        probe(parse("openvino:device=TPU"))


def test_nothing_that_the_runtime_says_reaches_stderr(saved, capfd):
    with pytest.raises(ProviderError):
        sessions.run(saved(MATMUL), Level.DISABLED, [], parse("azure"))
    assert capfd.readouterr() == ("", "")
