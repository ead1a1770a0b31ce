"""The benchmarks run, on tiny sizes, and what they claim besides seconds holds."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks import calibrating, search, verifying


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
    """All but those behind a Concat of which several affines read the same segment."""
    for row in written["rows"]:
        if row["graph"] == "dense":
            assert row["affines"] // 2 <= row["folded"] < row["affines"]
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
