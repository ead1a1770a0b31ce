"""Exported programs: trusted, in inference mode, with their own shapes."""

import pytest
import torch
from torch import nn

import bnfold
from bnfold.errors import BnfoldError, ModelError, ModelFileError
from tests.exporting.networks import conv_bn


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "net.pt2"
    free = torch.export.Dim.DYNAMIC
    image = torch.randn(2, 3, 8, 8)
    exported = torch.export.export(conv_bn().eval(), (image,), dynamic_shapes=({0: free, 2: free},))
    torch.export.save(exported, path)
    return path


def test_exports_and_folds_with_its_own_shapes(program, tmp_path):
    result = bnfold.export(str(program), output=tmp_path / "m.onnx", trust=True, fold=True)

    ((name, (batch, *sizes)),) = ((port.name, port.shape) for port in result.inputs)
    assert (name, sizes[0], sizes[2]) == ("input", 3, 8)
    assert isinstance(batch, str)
    assert isinstance(sizes[1], str)
    assert (result.batch_norms, len(result.fold.folded), bool(result.comparison)) == (1, 1, True)


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, pair, *, scale):
        return {"norm": self.norm(pair["a"]) * scale, "rest": [None, pair["b"]]}


def test_may_take_keywords_and_dictionaries(tmp_path):
    pair = {"a": torch.randn(3, 4), "b": torch.randn(2)}
    exported = torch.export.export(Nested().eval(), (pair,), {"scale": torch.randn(3, 4)})
    torch.export.save(exported, tmp_path / "net.pt2")

    result = bnfold.export(str(tmp_path / "net.pt2"), output=tmp_path / "m.onnx", trust=True)

    assert [port.name for port in result.inputs] == ["pair_a", "pair_b", "scale"]
    assert [port.name for port in result.outputs] == ["norm", "rest_1"]


def test_is_not_loaded_without_trust(program, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.export, "load", lambda *_: pytest.fail("it was loaded"))

    with pytest.raises(BnfoldError, match="can run code: give --trust") as caught:
        bnfold.export(str(program), output=tmp_path / "m.onnx")

    assert caught.value.exit_code == 2


def test_has_its_weights_types_and_shapes(program, tmp_path):
    (tmp_path / "w.pt").write_bytes(b"")
    options = {"output": tmp_path / "m.onnx", "trust": True}

    with pytest.raises(BnfoldError, match="a program has its weights and its type"):
        bnfold.export(str(program), weights=tmp_path / "w.pt", **options)
    with pytest.raises(BnfoldError, match="a program has its weights and its type"):
        bnfold.export(str(program), dtype="float16", **options)
    with pytest.raises(BnfoldError, match="a program has its shapes"):
        bnfold.export(str(program), input_shape="1x3x8x8", **options)


def test_one_in_training_mode_is_refused(tmp_path):
    torch.export.save(torch.export.export(conv_bn().train(), (torch.randn(2, 3, 8, 8),)), tmp_path / "net.pt2")

    with pytest.raises(ModelError, match=r"in training mode \(batch_norm\): export it again after module.eval"):
        bnfold.export(str(tmp_path / "net.pt2"), output=tmp_path / "m.onnx", trust=True)


def test_what_is_no_program_is_told_quietly(tmp_path, capfd):
    (tmp_path / "net.pt2").write_bytes(b"no zip")

    with pytest.raises(ModelFileError, match="is no exported program of this torch") as caught:
        bnfold.export(str(tmp_path / "net.pt2"), output=tmp_path / "m.onnx", trust=True)
    with pytest.raises(ModelFileError, match=r"none\.pt2: no such file"):
        bnfold.export(str(tmp_path / "none.pt2"), output=tmp_path / "m.onnx", trust=True)

    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
