"""``inspect`` is ``fold``, for looking."""

from __future__ import annotations

import dataclasses
import inspect

import onnx_ir as ir

import bnfold
from bnfold.folding import fold_in_place
from tests.helpers.models import model_of, serialised

KEPT_AND_FOLDED = """
    g (float[N,2,6] x, float[3,2,3] w, BN3) => (float[N,3,4] y, float[N,3,4] z) {
        h = Conv (x, w)
        y = BatchNormalization (h, scale, bias, mean, var)
        t = Tanh (y)
        z = BatchNormalization (t, scale, bias, mean, var)
    }
"""


def account(result: bnfold.FoldResult) -> dict[str, object]:
    return {name: value for name, value in vars(result).items() if name != "model"}


def test_leaves_the_model_alone_and_gives_the_account_of_fold(tmp_path) -> None:
    model = model_of(KEPT_AND_FOLDED)
    before = serialised(model)
    inspected = bnfold.inspect(model)
    assert serialised(model) == before
    assert account(inspected) == account(bnfold.fold(model))
    assert ([entry.node for entry in inspected.folded], [entry.node for entry in inspected.kept]) == (["y"], ["z"])

    ir.save(model, tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    from_path = bnfold.inspect(tmp_path / "model.onnx")
    assert dataclasses.replace(from_path, model=model, sources=frozenset()) == dataclasses.replace(
        inspected, model=model
    )
    assert (tmp_path / "model.onnx").read_bytes() == content


def test_takes_the_options_of_fold() -> None:
    """So does the pass: an option that is new in one place is new in all."""
    assert [kept.reason for kept in bnfold.inspect(model_of(KEPT_AND_FOLDED), keep=["[yz]"]).kept] == [
        "asked to stay",
        "asked to stay",
    ]
    acts = (bnfold.fold, bnfold.inspect, fold_in_place, bnfold.FoldPass)
    options = [
        {name: p.default for name, p in inspect.signature(act).parameters.items() if p.kind is p.KEYWORD_ONLY}
        for act in acts
    ]
    assert options[0]
    assert all(given == options[0] for given in options)
