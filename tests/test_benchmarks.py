"""The benchmarks run, on tiny sizes, and what they claim besides seconds holds."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

import bnfold
from benchmarks import architectures, calibrating, fold, gpu, inference, networks, search, verifying

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("benchmark") / "search.json"
    search.main(["--sizes", "4", "14", "--repeats", "1", "--output", str(path)])
    return json.loads(path.read_text())


def test_the_search_benchmark_measures_every_graph_in_every_size(written) -> None:
    assert written["schema_version"] == 1
    assert {"bnfold", "cpu", "numpy", "onnx", "onnx-ir", "python"} <= set(written["environment"])
    assert written["repeats"] == 1
    assert {row["graph"] for row in written["rows"]} == set(written["growth"]) == set(search.GRAPHS)
    for row in written["rows"]:
        assert row["affines"] in (4, 14)
        assert row["nodes"] > row["affines"]
        assert min(row["open_s"], row["fold_s"], row["nothing_s"], row["nothing_ratio"]) > 0


def test_the_folds_of_the_search_benchmark_are_exact(written) -> None:
    assert all(row["error"] < 1e-11 for row in written["rows"])


def test_the_search_benchmark_folds_what_can_be_folded(written) -> None:
    """All but those behind a Concat of which several read the same segment, and scales below 0 in front of a Relu."""
    for row in written["rows"]:
        if row["graph"] == "dense":
            assert row["affines"] // 2 <= row["folded"] < row["affines"]
        elif row["graph"] == "kept":
            assert row["folded"] == row["affines"] // 2
        else:
            assert row["folded"] == row["affines"]


def test_a_twin_has_nothing_to_fold() -> None:
    for make in search.GRAPHS.values():
        twin = make(6, search.Builder(with_affines=False))
        assert "BatchNormalization" not in {node.op_type for node in twin.graph}


def test_a_result_that_is_not_exact_ends_the_benchmark(monkeypatch) -> None:
    monkeypatch.setattr(search, "_error", lambda reference, candidate: float("nan"))
    with pytest.raises(SystemExit, match="not exact: chain of 2"):
        search.main(["--sizes", "2", "--repeats", "1", "--graphs", "chain"])


def row(model: str, tool: str, *seconds: float, **changes) -> fold.Row:
    """A row of a file of 3 MiB that was folded in 1 MiB."""
    usual = fold.Row(model, 3 * 2**20, 5, tool, "1.0", "ok", seconds, (1.0,), nodes_left=7, batch_norms_left=0)
    return replace(usual, **changes)


def verdicts(*rows: fold.Row) -> list[bool | None]:
    return [goal.met for goal in fold.goals(rows)]


@pytest.fixture(scope="module")
def folded(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("benchmark") / "fold.csv"
    fold.main(["--models", "startup", "--tools", "cp", "bnfold", "--repeats", "1", "--output", str(path)])
    return path


def test_the_fold_benchmark_measures_processes_and_verifies_the_result(folded) -> None:
    environment, (copy, own) = fold.load(folded)
    assert {"cpu", "cpus", "python", "system", "file_system", "onnx", "bnfold", "onnxsim", "cp"} <= set(environment)
    assert (copy.tool, copy.status, copy.batch_norms_left) == ("cp", "ok", copy.batch_norms)
    assert (own.tool, own.status, own.batch_norms_left, own.equivalent) == ("bnfold", "ok", 0, "yes")
    assert 40_000 < own.file_bytes < 60_000
    assert 0 < copy.median < own.median
    assert 0 < copy.peak < 8 < own.peak  # not the size of this process


def test_a_saved_result_is_read_as_it_was(folded, tmp_path) -> None:
    environment, rows = fold.load(folded)
    failed = row("startup", "onnxsim", status='exit 1: "no", it said', peaks=(), nodes_left=None)
    rows.append(replace(failed, batch_norms_left=None))
    fold.save(tmp_path / "again.csv", environment, rows)
    assert fold.load(tmp_path / "again.csv") == (environment, rows)


def test_a_tool_that_fails_is_shown_with_the_reason(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(fold._PEERS, "onnxsim", "\nraise ValueError('cannot read ' + source)")
    monkeypatch.setitem(fold._PEERS, "onnxslim", "\nimport time; time.sleep(60)")
    monkeypatch.setitem(fold._PEERS, "onnxscript", "")
    rows = fold.measure("startup", ["onnxsim", "onnxslim", "onnxscript"], fold.Workplace(tmp_path, 1), 1)
    assert [row.status for row in rows] == [
        "exit 1: ValueError: cannot read startup/model.onnx",
        "took more than 1 s",
        "wrote no file",
    ]
    assert all(math.isnan(row.median) and math.isnan(row.peak) for row in rows)
    assert "failed: took more than 1 s" in fold._cell(rows[1], rows)


def test_a_median_is_of_all_runs() -> None:
    assert row("startup", "bnfold", 3.0, 1.0, 9.0).median == 3
    assert row("startup", "bnfold", peaks=(3.0, 1.0, 9.0)).peak == 3


def test_ratios_are_those_of_one_network() -> None:
    rows = [row("startup", "cp", 2), row("startup", "bnfold", 3), row("affines", "bnfold", 5)]
    assert fold.ratio_to("cp", rows[1], rows) == 1.5
    assert math.isnan(fold.ratio_to("cp", rows[2], rows))


def test_every_turn_has_another_first() -> None:
    assert ["".join(fold.rotated("abc", turn)) for turn in range(4)] == ["abc", "bca", "cab", "abc"]


@pytest.mark.parametrize(
    ("seconds", "peak", "peer", "expected"),
    [
        (0.875, 1.0, 2.625, [True, True, True]),
        (0.95, 1.0, 2.9, [False, True, True]),
        (0.875, 1.0, 2.6, [True, False, True]),
        (0.875, 1.1, 2.7, [True, True, False]),
    ],
)
def test_the_goals_of_vgg_hold_up_to_their_limits(seconds, peak, peer, expected) -> None:
    own = row("vgg16_bn", "bnfold", seconds, peaks=(peak,))
    slow = row("vgg16_bn", "onnxsim", 100)
    assert verdicts(row("vgg16_bn", "cp", 0.1), own, slow, row("vgg16_bn", "onnxruntime", peer)) == expected


def test_who_leaves_all_or_fails_is_not_beaten_and_does_not_win() -> None:
    own, copy = row("vgg16_bn", "bnfold", 0.1), row("vgg16_bn", "cp", 0.1)
    lazy = row("vgg16_bn", "onnxsim", 0.1, batch_norms_left=5)
    broken = row("vgg16_bn", "onnxslim", 0.1, status="exit 1: no", batch_norms_left=None)
    assert verdicts(copy, own, lazy, broken)[1] is None
    assert verdicts(copy, own, lazy, row("vgg16_bn", "onnxscript", 9))[1] is None
    assert verdicts(copy, own, lazy, row("vgg16_bn", "onnxscript", 0.2))[1] is False


def test_a_resnet_must_be_folded_faster_than_four_tools() -> None:
    own = row("resnet50", "bnfold", 0.9)
    rivals = [row("resnet50", tool, 1) for tool in ("onnxsim", "onnxslim", "onnxoptimizer", "onnxscript")]
    assert verdicts(own, *rivals) == [True, True]
    assert verdicts(own, *rivals, row("resnet50", "onnxruntime", 0.1)) == [True, True]
    assert verdicts(own, *rivals[1:]) == [True, None]
    assert verdicts(own, *rivals[1:], row("resnet50", "onnxsim", 0.9)) == [True, False]
    assert verdicts(row("resnet50", "bnfold", 0.91), *rivals) == [False, True]


@pytest.mark.parametrize(("model", "limit"), [("affines", 3), ("startup", 0.7)])
def test_the_goals_in_seconds(model, limit) -> None:
    assert verdicts(row(model, "bnfold", limit)) == [True]
    assert verdicts(row(model, "bnfold", limit + 0.01)) == [False]
    assert verdicts(row(model, "bnfold", limit, status="exit 70: no")) == [None]


def test_the_goal_of_external_data_is_one_of_memory() -> None:
    assert verdicts(row("external", "bnfold", 9, peaks=(500.0,))) == [True]
    assert verdicts(row("external", "bnfold", 9, peaks=(501.0,))) == [False]


def test_a_result_that_is_not_equivalent_makes_the_benchmark_fail() -> None:
    rows = [row("startup", "bnfold", 1, equivalent="no"), row("affines", "bnfold", 1, status="exit 70: no")]
    assert fold.wrong(rows) == ["startup: not equivalent", "affines: exit 70: no"]
    assert not fold.wrong([row("startup", "bnfold", 1, equivalent="yes"), row("startup", "cp", 1, status="exit 1: no")])


def test_the_file_of_results_is_named_after_the_environment() -> None:
    assert fold.file_name("Intel(R) Xeon(R) CPU @ 2.20GHz", "Linux") == "fold-intel-xeon-cpu-linux.csv"


def test_nodes_in_bodies_count() -> None:
    inner = onnx.helper.make_graph([onnx.helper.make_node("BatchNormalization", list("abcde"), ["f"])], "inner", [], [])
    outer = onnx.helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    assert [node.op_type for node in fold._nodes([outer])] == ["If", "BatchNormalization", "BatchNormalization"]


def test_the_readme_shows_the_results_that_are_kept() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    name = re.search(r"python benchmarks/fold.py --markdown (\S+\.csv)", readme)[1]
    shown = re.search(r"<!-- output of benchmarks/fold.py -->\n(.*?)<!-- end -->", readme, re.DOTALL)[1]
    assert shown == fold.markdown(*fold.load(ROOT / name))


def test_every_network_of_the_fold_benchmark_can_be_built() -> None:
    assert {*networks.INLINE, fold.EXTERNAL} == {*fold.MODELS, fold.EXTERNAL} == set(fold._TITLES)


def outputs(path: Path, size: int, channels: int) -> np.ndarray:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = {"image": np.random.default_rng(0).normal(0, 1, (1, channels, size, size)).astype(np.float32)}
    return session.run(None, feeds)[0]


def is_alive(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all() and array.std() > 1e-3)


def parameters(path: Path) -> int:
    """How many numbers a network learns, as PyTorch counts: without the statistics."""
    model = onnx.load(path)
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    return sum(sizes.values()) - sum(sizes[name] for node in norms for name in node.input[3:])


def test_a_small_network_runs(tmp_path) -> None:
    networks.write("startup", tmp_path / "model.onnx")
    assert is_alive(outputs(tmp_path / "model.onnx", 16, 3))


def test_a_network_of_3000_nodes_runs(tmp_path) -> None:
    networks.write("affines", tmp_path / "model.onnx")
    assert fold.count(tmp_path / "model.onnx") == (3000, 1000)
    assert is_alive(outputs(tmp_path / "model.onnx", 8, 8))


def test_resnet50_has_its_real_shapes_and_runs(tmp_path) -> None:
    networks.write("resnet50", tmp_path / "model.onnx")
    assert fold.count(tmp_path / "model.onnx")[1] == 53
    assert parameters(tmp_path / "model.onnx") == 25_557_032  # torchvision's own count
    assert is_alive(outputs(tmp_path / "model.onnx", 224, 3))


@pytest.mark.slow
def test_vgg16_bn_has_its_real_shapes_and_runs(tmp_path) -> None:
    networks.write("vgg16_bn", tmp_path / "model.onnx")
    assert fold.count(tmp_path / "model.onnx")[1] == 13
    assert parameters(tmp_path / "model.onnx") == 138_365_992  # torchvision's own count
    assert is_alive(outputs(tmp_path / "model.onnx", 224, 3))


def test_the_network_with_external_data_runs_and_folds(tmp_path) -> None:
    path = tmp_path / "model.onnx"
    networks.external(path, width=96, layers=2)
    onnx.checker.check_model(path, full_check=True)
    assert path.with_name("model.onnx.data").stat().st_size % 4096 == 0
    assert is_alive(outputs(path, 16, 3))
    result = bnfold.fold(path)
    assert (len(result.folded), len(result.kept)) == (2, 0)
    result.save(tmp_path / "folded.onnx")
    assert bnfold.verify(path, tmp_path / "folded.onnx")


def test_the_holes_of_external_data_need_no_disk(tmp_path) -> None:
    networks.write("external", tmp_path / "model.onnx")
    data = (tmp_path / "model.onnx.data").stat()
    assert data.st_size > 6 * 2**30 > 50 * 512 * data.st_blocks


def test_the_verifying_benchmark_verifies_a_fold_of_resnet_50(capsys) -> None:
    assert verifying.main(["--size", "32", "--widths", "4", "4", "8", "8"])
    assert capsys.readouterr().out.startswith("53 folded; equivalent; ")


def test_the_calibration_prints_correct_folds_and_wrong_ones(capsys) -> None:
    assert calibrating.main(["--seeds", "1", "--fault-seeds", "1", "--networks", "dense"]) == 0
    correct, wrong = capsys.readouterr().out.split("\n\n")
    assert re.findall(r"dense +(float\d+) +1 +(\w+) +0 ", correct) == [
        ("float32", "disabled"), ("float32", "all"), ("float16", "disabled"), ("float16", "all"),
    ]  # fmt: skip
    assert len(re.findall(r"3 of 3 +3 of 3", wrong)) == len(calibrating.FAULTS)


@pytest.mark.parametrize("name", [name for name in architectures.ARCHITECTURES if name != "resnet50"])
def test_every_affine_of_the_architectures_but_one_folds(name) -> None:
    model = architectures.ARCHITECTURES[name]()
    onnx.checker.check_model(model)
    kept = [entry for entry in bnfold.fold(ir.from_proto(model)).kept if entry.is_batch_norm]
    assert len(kept) == (name == "iresnet18")  # between PRelu and a Conv that pads with zeros


def test_inference_is_timed_against_the_unfolded_network_and_other_tools(tmp_path, capsys) -> None:
    output = tmp_path / "inference.csv"
    options = ["--networks", "bn_mlp", "--tools", "onnxruntime", "--levels", "disabled", "--pairs", "2"]
    inference.main([*options, "--output", str(output)])
    lines = [line for line in output.read_text().splitlines() if not line.startswith("#")]
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    assert [(row["against"], row["batch_norms_left"], row["own_left"], row["status"]) for row in rows] == [
        ("unfolded", "4", "0", "ok"),
        ("onnxruntime", "4", "0", "ok"),
    ]
    for row in rows:
        assert float(row["low"]) <= float(row["speedup"]) <= float(row["high"])
        assert float(row["speedup"]) > 0
    out = capsys.readouterr().out
    assert ("never slower" in out) is all(row["change"] != "slower" for row in rows)
    inference.main(["--markdown", str(output)])
    environment, _, heads, _, line = capsys.readouterr().out.splitlines()
    assert ", cpu, 2 pairs" in environment
    assert heads.endswith("| unfolded, disabled | the others, disabled |")
    assert line.startswith("| bn_mlp | 4 | 0 | 4 | ")
    assert line.count("×") == 2


def test_the_table_of_inference_says_what_is_faster_and_what_is_slower() -> None:
    def row(against, change, speedup, *, left=0, status="ok", level="all"):
        nothing = float("nan")
        return inference.Row(
            "net", 4, against, left, 0, status, "cpu", 1, level, 1.0, speedup, 0, 9, 1, change, nothing
        )

    rows = [
        row("unfolded", "inconclusive", 1.04, left=4),
        row("repairs", "faster", 1.9),
        row("onnxsim", "slower", 0.8, left=3),
        row("onnxslim", "faster", 1.2, left=1),
        row("onnxscript", "", 9.0, left=4, status="it crashed"),
    ]
    table = inference.markdown({"cpu": "a cpu", "cpus": "2", "onnxruntime": "1", "pairs": "7"}, rows)
    assert table.splitlines()[-1] == "| net | 4 | 0 | 1 to 3 | 1.04× | 0.80× slower to **1.20×** |"
    assert inference.slower(rows) == ["net, cpu, batch 1, all: 0.80× by onnxsim (0.00 to 9.00)"]


def tiny_gpu(output: Path, *options: str) -> None:
    grid = ["--networks", "models/digits_cnn", "--batches", "1", "3", "--levels", "all", "--pairs", "2"]
    gpu.main(["--provider", "cpu", *grid, "--output", str(output), *options])


def test_what_a_gpu_is_asked_can_be_asked_of_the_cpu(tmp_path, capsys) -> None:
    """All but the memory of a device, which ``test_measuring.py`` has."""
    output = tmp_path / "gpu.csv"
    tiny_gpu(output)
    surroundings, rows = inference.load(output, gpu.Row)
    assert surroundings.keys() >= {"cpu", "onnxruntime", "pairs", "provider"}
    assert [(row.batch, row.level, row.what) for row in rows] == [
        (1, "all", "latency"), (3, "all", "latency"), (1, "all", "load"), (1, "all", "first run"),
    ]  # fmt: skip
    for row in rows:
        assert (row.network, row.batch_norms, row.left, row.provider) == ("models/digits_cnn", 4, 0, "cpu")
        assert (row.equivalent, row.status) == ("yes", "ok")
        assert 0 < row.error_ratio < 2
        assert row.low <= row.speedup <= row.high
        assert row.speedup > 0
    table = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split(" | ")[5] for line in table] == ["1", "3"]
    assert [line.count("×") for line in table] == [3, 1]
    gpu.main(["--markdown", str(output)])
    assert capsys.readouterr().out.splitlines()[-2:] == table


def test_a_gpu_that_is_not_there_is_told_in_the_file_beside_what_it_had(tmp_path, capsys) -> None:
    output = tmp_path / "gpu.csv"
    arguments = ["--provider", "brandnew", "--batches", "1", "--pairs", "2", "--output", str(output)]
    known = gpu.environment(gpu.parse(arguments))
    kept = gpu.Row("levit", 20, 0, "yes", 1.0, what="latency", provider="brandnew", batch=1, level="all", speedup=1.0)
    inference.save(output, known, [kept], gpu.Row)
    with pytest.raises(SystemExit, match="models/digits_cnn: provider brandnew: missing"):
        gpu.main([*arguments, "--networks", "models/digits_cnn"])
    assert "| levit | 20 | 0 | yes | brandnew | 1 | 1.00× |" in capsys.readouterr().out
    first, *rest = inference.load(output, gpu.Row)[1]
    assert first.network == "levit"
    assert {(row.network, row.equivalent, row.what) for row in rest} == {("models/digits_cnn", "not checked", "")}
    inference.save(output, known | {"onnxruntime": "0"}, [kept], gpu.Row)
    with pytest.raises(SystemExit):
        gpu.main([*arguments, "--networks", "models/digits_cnn"])
    assert all(row.network == "models/digits_cnn" for row in inference.load(output, gpu.Row)[1])


def test_what_is_not_equivalent_on_the_gpu_fails_and_is_timed_all_the_same(tmp_path, monkeypatch) -> None:
    fold_it = bnfold.fold

    def wrongly(source):
        result = fold_it(source)
        weight = result.model.graph.initializers["conv1.weight"]
        weight.const_value = ir.tensor(weight.const_value.numpy() * 1.01, name=weight.name)
        return result

    monkeypatch.setattr(bnfold, "fold", wrongly)
    with pytest.raises(SystemExit, match="models/digits_cnn: not equivalent: "):
        tiny_gpu(tmp_path / "gpu.csv", "--batches", "1", "--no-loads")
    wrong, timed = inference.load(tmp_path / "gpu.csv", gpu.Row)[1]
    assert (wrong.equivalent, timed.equivalent, timed.status, timed.what) == ("no", "no", "ok", "latency")


def test_a_file_of_a_gpu_is_named_after_it() -> None:
    surroundings = {"gpu": "NVIDIA H200", "cpu": "Xeon(R)", "provider": "cuda:device_id=1"}
    assert re.fullmatch(r"gpu-nvidia-h200-cuda-device-id-1-\w+\.csv", gpu.file_name(surroundings))
    del surroundings["gpu"]
    assert gpu.file_name(surroundings).startswith("gpu-xeon-cuda")


def test_all_networks_that_a_gpu_is_to_run_are_there() -> None:
    generated = {"resnet50", "mobilenet_v2", "levit", "dcgan", "pointnet"}
    trained = {f"models/{file.parent.name}" for file in ROOT.glob("models/*/model.onnx")}
    assert {*inference.NETWORKS} > {*gpu.NETWORKS} == generated | trained
