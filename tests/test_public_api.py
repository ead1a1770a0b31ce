"""The names that others build on, and what importing them costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import bnfold
from bnfold import errors

PUBLIC = [
    "Benchmark",
    "BnfoldError",
    "CheckResult",
    "Comparison",
    "Environment",
    "ExecutionError",
    "ExportError",
    "ExportResult",
    "Finding",
    "FoldPass",
    "FoldResult",
    "MissingDependencyError",
    "ModelError",
    "ModelFileError",
    "ProviderError",
    "StudyResult",
    "TrainingResult",
    "VerificationError",
    "benchmark",
    "check",
    "doctor",
    "export",
    "fold",
    "inspect",
    "lint",
    "study",
    "train",
    "verify",
]


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after some code."""
    script = f"import json, sys\n{code}\njson.dump(sorted(sys.modules), sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr, done
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_public_names_are_pinned_and_sorted() -> None:
    assert bnfold.__all__ == PUBLIC == sorted(PUBLIC)


def test_every_public_name_is_there() -> None:
    for name in PUBLIC:
        assert getattr(bnfold, name).__name__ == name
    assert set(PUBLIC) <= set(dir(bnfold))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        bnfold.nonsense  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import bnfold",
        "import bnfold.cli\nsys.argv = ['bnfold', '--help']\ntry: bnfold.cli.main()\nexcept SystemExit: pass",
    ],
)
def test_starts_without_torch_and_onnxruntime_and_onnx(code) -> None:
    assert not loaded_after(code) & {"torch", "onnxruntime", "onnx", "onnx_ir", "sklearn"}


def test_folding_loads_neither_torch_nor_onnxruntime(tmp_path) -> None:
    assert not loaded_after("import bnfold; bnfold.fold") & {"torch", "onnxruntime", "sklearn"}


def test_inspecting_loads_neither_torch_nor_onnxruntime() -> None:
    model = Path(__file__).parents[1] / "models" / "digits_cnn" / "model.onnx"
    command = f"sys.argv = ['bnfold', 'inspect', {str(model)!r}]\ntry: bnfold.cli.main()\nexcept SystemExit: pass"
    loaded = loaded_after(f"import bnfold.cli\n{command}")
    assert "bnfold.reporting.fold" in loaded
    assert not loaded & {"torch", "onnxruntime", "sklearn"}


def test_the_tree_of_exceptions_is_the_one_that_is_drawn() -> None:
    def drawn(parent: type, depth: int = 0) -> list[tuple[int, str]]:
        children = [entry for child in parent.__subclasses__() for entry in drawn(child, depth + 1)]
        return [(depth, parent.__name__), *children]

    lines = [line for line in errors.__doc__.splitlines() if "Error" in line and (line.strip()[0] in "B├└│")]
    names = [line.split("── ")[-1].split()[0].split("(")[0] for line in lines]
    assert sorted(names) == sorted(name for _, name in drawn(errors.BnfoldError))
    assert issubclass(errors.ModelError, ValueError)
    assert issubclass(errors.MissingDependencyError, ImportError)
