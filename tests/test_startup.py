"""What a command loads before it does anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MODEL = Path("models/digits_cnn/model.onnx")

USES_WHAT_WAITS = """
import sys
from bnfold.startup import postpone
postpone()
postpone()
import onnx_ir
assert "sympy.core" not in sys.modules
print(onnx_ir.SymbolicDim("N") + 1)
assert "sympy.core" in sys.modules
import sympy, sympy.core
assert sympy.Symbol("a") + 0 == sympy.Symbol("a")
assert sum(type(finder).__name__ == "_Postponing" for finder in sys.meta_path) == 1
"""


def test_a_fold_does_not_load_what_it_does_not_use(tmp_path) -> None:
    command = ["-m", "bnfold", "fold", str(MODEL), "-o", str(tmp_path / "folded.onnx"), "--no-verify"]
    done = subprocess.run([sys.executable, "-X", "importtime", *command], capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "onnx_ir" in loaded
    assert not loaded & {"sympy.core", "torch", "onnxruntime", "scipy"}


def test_what_waits_is_there_when_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-c", USES_WHAT_WAITS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "N + 1\n"), done.stderr
