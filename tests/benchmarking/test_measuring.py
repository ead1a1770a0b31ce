"""In what order sessions and processes are timed, and how long."""

import statistics
from functools import partial

import numpy as np
import pytest

from bnfold import modelfile
from bnfold.benchmarking import cells, measuring, processes, turns
from bnfold.benchmarking.grid import Place, grid
from bnfold.runtime import providers
from bnfold.runtime.alone import Alone
from bnfold.runtime.binding import Device
from tests.helpers.models import parse


def pair(first, second):  # made, warmed up, A B B A
    return [f"made {first}", f"made {second}", first, second, first, second, second, first]


def test_the_order_alternates_and_every_third_pair_has_a_control(monkeypatch):
    events = []
    monkeypatch.setattr(measuring, "reopen_session", lambda path, *place: events.append(f"made {path}") or path)
    monkeypatch.setattr(measuring, "_inference", lambda path, feed, device: path)
    monkeypatch.setattr(measuring, "_block", lambda path, count: events.append(path) or [0.02] * count)
    monkeypatch.setattr(measuring, "_try", lambda paths, place, prepare: (2, {}))
    measured = measuring.measure(("A", "B"), Place(), {}, pairs=4)
    same = pair("A", "A")
    assert events == [*pair("A", "B"), *same, *pair("B", "A"), *pair("A", "B"), *pair("B", "A"), *same]
    assert measured.iterations == 2
    assert measured.pairs == [measuring.Pair((0.02, 0.02), (0.02, 0.02))] * 4
    assert measured.control == measured.pairs[:2]


@pytest.mark.parametrize(("iterations", "order"), [(0, ["AB", "AA", "BA"]), (5, ["ABBA", "AAAA", "BAAB"])])
def test_processes_take_turns_and_are_told_how_much_to_run(monkeypatch, iterations, order):
    calls = []

    def run(function, arguments, *, subject, timeout):
        assert (function, timeout) == ("bnfold.runtime.alone:time_alone", 9)
        assert (arguments["threads"], arguments["warmup"], arguments["iterations"]) == (2, 3, iterations)
        calls.append(arguments["path"])
        count = len(calls)
        return Alone(load=count, first=10 * count, memory=None, times=[100.0 * count] * iterations)

    monkeypatch.setattr(processes, "run_isolated", run)
    found, control = processes.measure_processes(
        ("A", "B"), Place(threads=2), {}, pairs=2, seconds=0, timeout=9, warmup=3, iterations=iterations
    )
    assert "".join(calls) == "".join(order)
    assert (len(found), len(control)) == (2, 1)
    size = len(order[0])
    last = range(2 * size + 1, 3 * size + 1)
    reference, candidate = (
        statistics.median(count for count, path in zip(last, order[2], strict=True) if path == which) for which in "AB"
    )
    assert (found[1].load, found[1].first) == ((reference, candidate), (10 * reference, 10 * candidate))
    if iterations:
        assert found[1].latency.median == (100 * reference, 100 * candidate)


def test_pairs_go_on_until_the_time_is_over(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(turns.time, "perf_counter", lambda: next(clock))
    found, control = turns.in_turns(("A", "B"), lambda models, order: models, 2, 10)
    assert found == [("A", "B")] * 11  # from the third on, each looks at the clock
    assert control == [("A", "A")] * 4


@pytest.mark.parametrize(("pairs", "controls"), [(2, 1), (7, 3), (21, 7), (61, 21)])
def test_the_control_has_a_quarter(pairs, controls):
    found, control = turns.in_turns(("A", "B"), lambda models, order: None, pairs, 0)
    assert (len(found), len(control)) == (pairs, controls)


@pytest.mark.parametrize(("seconds", "iterations"), [(0.001, 30), (5.0, 1), (1e-9, 1000)])
def test_blocks_are_some_tens_of_milliseconds_of_at_least_one_inference(monkeypatch, seconds, iterations):
    monkeypatch.setattr(measuring, "open_session", lambda *place: None)
    monkeypatch.setattr(measuring, "_block", lambda run, count: [seconds] * count)
    assert measuring._try(("a", "b"), Place(), lambda session: lambda: None) == (iterations, {})


@pytest.mark.parametrize(
    ("provider", "warmup", "untimed"), [("cpu", 5, 5), ("cpu", 0, 0), ("cuda", 5, 5), ("cuda", 0, 1)]
)
def test_the_warm_up_is_not_timed_and_never_the_first_on_a_gpu(monkeypatch, provider, warmup, untimed):
    blocks = []
    monkeypatch.setattr(measuring, "reopen_session", lambda *place: None)
    monkeypatch.setattr(measuring, "_block", lambda run, count: blocks.append(count) or [len(blocks)] * count)
    place = Place(providers.parse(provider))
    take = partial(measuring._pair, ("A", "B"), (0, 1), place=place, prepare=lambda session: None)
    assert take(warmup=warmup, iterations=2).median == (4.5, 4.5)  # of the third to the sixth: A B B A
    assert blocks == [untimed, untimed, 2, 2, 2, 2]


def test_a_gpu_is_timed_from_host_to_host_and_on_the_device_and_says_how_it_convolves(monkeypatch):
    asked = []

    def run(function, arguments, **_):
        asked.append((function.rpartition(":")[2], arguments.get("device"), str(arguments["place"])))
        host = arguments["device"] is None
        one = measuring.Pair((2.0, 1.0) if host else (1.0, 1.0), (2.0, 1.0))
        return measuring.Measured([one] * 2, [one], 5, {"cudnn_conv_algo_search": "EXHAUSTIVE"})

    monkeypatch.setattr(cells, "run_isolated", run)
    monkeypatch.setattr(processes, "run_isolated", lambda *_, **__: Alone(load=3.0, first=2.0, memory=None, times=[]))
    timer = cells.Timer(("a", "b"), "a", pairs=2, warmup=3, loads=True, processes=False, timeout=9)
    place = Place(providers.parse("cuda:device_id=1"))
    cell = timer.cell(place, {}, seconds=0)
    assert asked == [("measure", None, str(place)), ("measure", Device("cuda", 1), str(place))]
    assert (cell.latency.speedup, cell.on_device.speedup) == (2, 1)
    assert (cell.load.reference.median, cell.first.reference.median) == (3, 2)
    assert cell.settings == {"cudnn_conv_algo_search": "EXHAUSTIVE"}


def test_inferences_from_device_to_device_are_timed_like_any(tmp_path):
    """The memory of the CPU stands for that of a GPU, which onnxruntime binds by the same calls."""
    relu = str(tmp_path / "relu.onnx")
    modelfile.save(parse("g (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }"), relu)
    feed = {"x": np.ones((2, 3), np.float32)}
    measured = measuring.measure((relu, relu), Place(), feed, pairs=2, device=Device("cpu"))
    assert (len(measured.pairs), len(measured.control)) == (2, 1)
    assert all(0 < time < 0.1 for pair in measured.pairs for time in pair.median)
    assert measured.settings == {}


def test_cuda_is_timed_as_it_is_and_without_its_shorter_products():
    places = grid(["cuda", "cuda:device_id=1", "cuda:use_tf32=1", "openvino"], [1], [1], ["all"])
    assert [str(place.provider) for place in places] == [
        "cuda", "cuda:use_tf32=0", "cuda:device_id=1", "cuda:device_id=1,use_tf32=0", "cuda:use_tf32=1", "openvino",
    ]  # fmt: skip
    given = [dict(providers._wanted(place.provider)) for place in places]
    assert given == [
        {}, {"use_tf32": "0"}, {"device_id": "1"}, {"device_id": "1", "use_tf32": "0"}, {"use_tf32": "1"}, {},
    ]  # fmt: skip
    assert providers._wanted(providers.parse("cuda"))["use_tf32"] == "0"  # for a verdict
