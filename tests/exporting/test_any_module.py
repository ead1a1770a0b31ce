"""Whole exports of modules: interfaces, modes, types, and what is told of them."""

import copy

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

import bnfold
from bnfold import modelfile
from bnfold.errors import BnfoldError, ExportError, ModelError, ModelFileError, VerificationError
from bnfold.exporting import pipeline, writing
from bnfold.exporting.conversion import Converted
from tests.exporting.networks import FrozenBatchNorm2d, TwoInTwoOut, conv_bn, randomised

SHAPES = ("image:batchx3xHxW", "tokens:batchxlength:int64", "scale:4")


def nodes_of(path):
    return [node.op_type for node in modelfile.load(path).graph]


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """A module of everything, in a mode of its own, and its export."""
    module = randomised(TwoInTwoOut()).train()
    module.bn.eval()
    state = copy.deepcopy(module.state_dict())
    modes = [part.training for part in module.modules()]
    path = tmp_path_factory.mktemp("rich") / "model.onnx"
    result = bnfold.export(module, output=path, input_shape=SHAPES)
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    return result


def test_has_the_inputs_and_the_outputs_of_the_module_under_their_names(rich):
    assert [(port.name, port.dtype, port.shape) for port in rich.inputs] == [
        ("image", "float32", ("batch", 3, "H", "W")),
        ("tokens", "int64", ("batch", "length")),
        ("scale", "float32", (4,)),
    ]
    assert [(port.name, port.dtype, port.shape) for port in rich.outputs] == [
        ("map", "float32", ("batch", 4, "H", "W")),
        ("logits_0", "float32", ("batch", 5)),
        ("words", "int64", ("batch",)),
    ]
    onnx.checker.check_model(rich.path, full_check=True)


def test_agrees_at_two_sizes_of_every_axis_and_in_a_batch_of_one(rich):
    shapes = [case.inputs.split(", ")[2:] for case in rich.agreement]

    images = [tuple(map(int, shape[0].split("×"))) for shape in shapes]
    assert all(len({image[axis] for image in images}) >= 2 for axis in (0, 2, 3))
    assert 1 in {image[0] for image in images}
    assert len({shape[1].split("×")[1] for shape in shapes}) >= 2
    assert [check.verdict for check in rich.checks if check.name.startswith("output")] == ["pass"] * 3


def test_accounts_for_every_parameter(rich):
    assert {entry.name: entry.reason for entry in rich.unused} == {
        "auxiliary.bias": "not read at inference",
        "auxiliary.weight": "not read at inference",
        "bn.num_batches_tracked": "counts batches for training",
        "head.parametrizations.weight.original0": "the graph holds what is computed with it",
    }


def test_tells_what_made_it_and_how_far_training_mode_is_from_it(rich):
    assert (rich.exporter, rich.fallback, rich.conversions) == ("dynamo", "", ())
    assert (rich.batch_norms, rich.nodes["BatchNormalization"], rich.fold) == (1, 1, None)
    assert rich.training_difference > 0.1


def test_folds_and_verifies_at_once(tmp_path):
    result = bnfold.export(conv_bn(), output=tmp_path / "m.onnx", input_shape="batchx3x8x8", fold=True)

    assert nodes_of(result.path) == ["Conv", "Relu"]
    assert [entry.node for entry in result.fold.folded] == ["1"]
    assert result.comparison
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.slow
def test_a_fold_is_verified_at_sizes_that_the_network_takes(tmp_path):
    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = conv_bn()

        def forward(self, image):
            x = self.body(image)
            return x.reshape(x.shape[0], 4, x.shape[2] // 7, 7, x.shape[3]).amax(3)

    result = bnfold.export(Windows(), output=tmp_path / "m.onnx", input_shape="batchx3xH=30x8", fold=True)

    assert result.comparison
    heights = {words.split("×")[2] for words in result.comparison.inputs}
    assert heights == {case.inputs.split("×")[2] for case in result.agreement}
    assert len(result.fold.folded) == 1


@pytest.mark.slow
def test_a_fold_that_is_not_equivalent_leaves_no_file(tmp_path, monkeypatch):
    real = writing.folding.fold

    def wrong(model):
        result = real(model)
        weight = result.model.graph.initializers["0.weight"]
        weight.const_value = ir.tensor(weight.const_value.numpy() * 1.01, name="0.weight")
        return result

    monkeypatch.setattr(writing.folding, "fold", wrong)

    with pytest.raises(VerificationError, match="the fold is not equivalent") as caught:
        bnfold.export(conv_bn(), output=tmp_path / "m.onnx", input_shape="batchx3x8x8", fold=True)

    assert not caught.value.comparison
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_simplifies_and_keeps_every_batch_norm(tmp_path):
    class Shuffled(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = conv_bn()

        def forward(self, x):
            x = self.body(x)
            return x.reshape(x.shape[0], 2, 2, x.shape[2], x.shape[3]).transpose(1, 2).flatten(1)

    plain = bnfold.export(Shuffled(), output=tmp_path / "p.onnx", input_shape="1x3x8x8")
    simple = bnfold.export(Shuffled(), output=tmp_path / "m.onnx", input_shape="1x3x8x8", simplify=True)

    assert simple.nodes["BatchNormalization"] == simple.nodes["Conv"] == 1
    assert sum(simple.nodes.values()) <= sum(plain.nodes.values())


def test_converts_frozen_norms_in_a_copy(tmp_path):
    module = conv_bn(FrozenBatchNorm2d)

    result = bnfold.export(module, output=tmp_path / "m.onnx", input_shape="batchx3x8x8")

    assert [(entry.module, entry.kind) for entry in result.conversions] == [("1", "FrozenBatchNorm2d")]
    assert nodes_of(result.path) == ["Conv", "BatchNormalization", "Relu"]
    assert type(module[1]) is FrozenBatchNorm2d


@pytest.mark.slow
def test_exports_in_float16_and_leaves_the_module_in_float32(tmp_path):
    module = conv_bn()

    result = bnfold.export(module, output=tmp_path / "m.onnx", input_shape="batchx3x8x8", dtype="float16")

    assert [port.dtype for port in (*result.inputs, *result.outputs)] == ["float16", "float16"]
    assert module[0].weight.dtype == torch.float32


def test_refuses_a_weight_that_float16_does_not_hold(tmp_path):
    module = conv_bn()
    module[1].running_var[2] = 1e6

    with pytest.raises(ModelError, match=r"1\.running_var holds 1e\+06, which float16 does not"):
        bnfold.export(module, output=tmp_path / "m.onnx", input_shape="batchx3x8x8", dtype="float16")


def test_takes_an_example_instead_of_a_shape(tmp_path):
    result = bnfold.export(conv_bn(), output=tmp_path / "m.onnx", example=torch.randn(2, 3, 8, 8), output_names=["y"])

    assert [(port.name, port.shape) for port in (*result.inputs, *result.outputs)] == [
        ("input", (2, 3, 8, 8)),
        ("y", (2, 4, 6, 6)),
    ]
    assert result.agreement[0].inputs == "example, 2×3×8×8"


def test_takes_an_example_by_name_beside_shapes(tmp_path):
    module = nn.Bilinear(2, 3, 4)
    example = {"input1": torch.randn(1, 2), "input2": torch.randn(1, 3)}

    result = bnfold.export(
        module, output=tmp_path / "m.onnx", example=example, input_shape=["input1:batchx2", "input2:batchx3"]
    )

    assert [port.shape for port in result.inputs] == [("batch", 2), ("batch", 3)]
    assert result.agreement[0].inputs == "example, 1×2, 1×3"
    with pytest.raises(BnfoldError, match="the example is 1×2, 1×3, and the input shape batch×2, batch×4"):
        bnfold.export(module, output="m.onnx", example=example, input_shape=["input1:batchx2", "input2:batchx4"])


def test_compares_on_the_inputs_that_are_given_too(tmp_path):
    np.savez(tmp_path / "data.npz", input=np.full((3, 3, 8, 8), 2, np.float32))

    result = bnfold.export(
        conv_bn(), output=tmp_path / "m.onnx", input_shape="batchx3x8x8", inputs=tmp_path / "data.npz"
    )

    assert result.agreement[-1].inputs.endswith("data.npz, 3×3×8×8")


def test_an_output_that_is_an_input_gets_a_name_of_its_own(tmp_path):
    class Both(nn.Module):
        def forward(self, image):
            return {"image": image, "twice": image * 2, "again": image}

    result = bnfold.export(Both(), output=tmp_path / "m.onnx", input_shape="batchx8")

    assert [port.name for port in result.outputs] == ["image_out", "twice", "again"]


def test_the_modern_exporter_failing_is_told_with_the_reason(tmp_path):
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = conv_bn()

        def forward(self, x):
            x = self.body(x)
            return x if x.sum() > -1e9 else -x

    result = bnfold.export(Branching(), output=tmp_path / "m.onnx", input_shape="batchx3x8x8")

    assert result.exporter == "torchscript"
    assert result.fallback.startswith("Could not guard on data-dependent expression")
    assert result.nodes["BatchNormalization"] == 1
    assert [node.name for node in modelfile.load(result.path).graph][:2] == ["body.0", "body.1"]
    (warning,) = result.warnings
    assert warning.startswith("test_any_module.py, line ")
    assert warning.endswith("a branch depends on numbers; exported as it was taken")


def test_a_branch_that_was_taken_and_is_wrong_elsewhere_is_no_export(tmp_path):
    class Branching(nn.Module):
        def forward(self, x):
            return x + 1 if x.sum() > 0 else x - 1

    why = r"onnxruntime and PyTorch disagree: output 'output'.*, line \d+: a branch depends on numbers; exported as it"
    with pytest.raises(ExportError, match=why):
        bnfold.export(Branching(), output=tmp_path / "m.onnx", input_shape="batchx8")

    assert list(tmp_path.iterdir()) == []


def test_an_older_opset_comes_from_the_older_exporter(tmp_path):
    result = bnfold.export(conv_bn(), output=tmp_path / "m.onnx", input_shape="batchx3x8x8", opset=13)

    assert (result.opset, result.exporter) == (13, "torchscript")
    assert "could not be converted to opset 13" in result.fallback
    assert result.nodes == {"BatchNormalization": 1, "Conv": 1, "Relu": 1}


def test_weights_go_beside_the_model_above_a_size(tmp_path):
    result = bnfold.export(conv_bn(), output=tmp_path / "m.onnx", input_shape="batchx3x8x8", external_data_above=100)

    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert result.external == tmp_path / "m.onnx.data"
    assert result.size == sum(file.stat().st_size for file in tmp_path.iterdir())


class Switch(nn.Module):
    """Another function in training mode."""

    def forward(self, x):
        return x * 2 if self.training else x * 3


@pytest.mark.slow
def test_what_equals_the_module_in_training_mode_alone_is_named(tmp_path, monkeypatch):
    right = pipeline._to_onnx

    def in_training(prepared, met, loaded, opset):
        monkeypatch.setattr(Switch, "forward", lambda self, x: x * 2)
        try:
            return right(prepared, met, loaded, opset)
        finally:
            monkeypatch.undo()

    monkeypatch.setattr(pipeline, "_to_onnx", in_training)

    with pytest.raises(ExportError, match="it computes what the module computes in training mode, not at inference"):
        bnfold.export(Switch(), output=tmp_path / "m.onnx", input_shape="batchx8")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_size_that_was_baked_in_is_no_export(tmp_path, monkeypatch):
    text = """<ir_version: 8, opset_import: ["" : 17]>
      g (float[batch, L] input) => (float[batch, M] output)
      <int64[2] shape = {-1, 96}> { output = Reshape(input, shape) }"""
    monkeypatch.setattr(pipeline, "_to_onnx", lambda *_: Converted(ir.from_onnx_text(text), "dynamo"))

    with pytest.raises(ExportError, match=r"output 'output': PyTorch gives|does not take what PyTorch takes"):
        bnfold.export(nn.Identity(), output=tmp_path / "m.onnx", input_shape="batchxL")


@pytest.mark.slow
def test_sums_in_another_order_are_settled_in_float64(tmp_path, monkeypatch):
    """onnxruntime adds up a constant image one by one, PyTorch pairwise."""

    class Mean(nn.Module):
        def forward(self, image):
            return image.mean((2, 3))

    feeds = {"image": np.full((2, 3, 64, 96), 0.7, np.float32)}
    result = bnfold.export(Mean(), output=tmp_path / "m.onnx", input_shape="batchx3x64x96", inputs=feeds)

    assert result.settled == ("output",)
    (check,) = (check for check in result.checks if check.name == "output 'output'")
    assert "which is rounding alone" in check.message


class Remembers(nn.Module):
    """Counts, and draws a number for nothing; more of either is for subclasses."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        torch.rand(1)
        return self.norm(x)


def test_a_run_changes_neither_buffers_nor_random_numbers(tmp_path):
    module, random = Remembers(), torch.get_rng_state()

    bnfold.export(module, output=tmp_path / "m.onnx", input_shape="batchx4")

    assert module.calls == 0
    assert torch.equal(torch.get_rng_state(), random)


def test_a_module_that_cannot_be_copied_is_exported_all_the_same(tmp_path):
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    module.kept = module[0].weight * 2  # as weight_norm keeps it; torch copies nothing that is computed

    assert bnfold.export(module, output=tmp_path / "m.onnx", input_shape="2x4").batch_norms == 1


class Noisy(Remembers):
    def forward(self, x):
        return super().forward(x) + torch.randn_like(x)


class Counting(Remembers):
    def forward(self, x):
        return super().forward(x) + self.calls


@pytest.mark.parametrize("kind", [Noisy, Counting])
def test_what_gives_other_numbers_each_time_cannot_be_checked(kind, tmp_path):
    with pytest.raises(ModelError, match="other outputs for the same inputs each time"):
        bnfold.export(kind(), output=tmp_path / "m.onnx", input_shape="2x4")

    assert not list(tmp_path.iterdir())


class Names(nn.Module):
    """Everything that it gives is called like something else."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        return {"weight": self.norm(x) * self.weight, "a_b": x + 1, "a": {"b": x + 2}, "x": x * 2, "w": self.weight}

    def get_extra_state(self):
        return {"version": 1}

    def set_extra_state(self, state):
        pass


def test_each_output_has_a_name_of_its_own_and_a_parameter_may_be_one(tmp_path):
    module = Names()
    torch.save({name: tensor for name, tensor in module.state_dict().items() if name[0] != "_"}, tmp_path / "w.pt")

    result = bnfold.export(
        module, output=tmp_path / "m.onnx", input_shape="batchx4", weights=tmp_path / "w.pt", fold=True
    )

    assert [port.name for port in result.outputs] == ["weight_out", "a_b", "a_b_out", "x_out", "w"]


def test_an_input_that_is_called_like_a_parameter_is_refused(tmp_path):
    class Net(Names):
        def forward(self, weight):
            return self.norm(weight) * self.weight

    with pytest.raises(ModelError, match="input 'weight' is called like a parameter"):
        bnfold.export(Net(), output=tmp_path / "m.onnx", input_shape="batchx4")
    bnfold.export(Net(), output=tmp_path / "m.onnx", input_shape="x:batchx4")


def test_an_example_is_of_numbers_that_can_be_compared(tmp_path):
    with pytest.raises(ModelError, match=r"a tensor \(strided bfloat16\) whose numbers cannot be compared"):
        bnfold.export(conv_bn(), output=tmp_path / "m.onnx", example=torch.ones(2, 3, 8, 8).bfloat16())


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (conv_bn().bfloat16(), "computes in bfloat16, which nothing here compares: give --dtype float32"),
        (conv_bn().to("meta"), "has no weights"),
    ],
)
def test_what_has_no_weights_that_can_be_compared_is_told(module, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        bnfold.export(module, output=tmp_path / "m.onnx", input_shape="2x3x8x8")


def test_nothing_but_nan_shows_nothing(tmp_path):
    module = conv_bn()
    module[0].bias.data.fill_(float("nan"))

    with pytest.raises(ModelError, match="nothing can be checked"):
        bnfold.export(module, output=tmp_path / "m.onnx", input_shape="batchx3x8x8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": None}, "where to write it"),
        ({"input_shape": ()}, r"Sequential: what does it take\? Give --input-shape 1x3x224x224"),
        ({"dtype": "int8"}, "--dtype int8: is none of float32, float16, float64"),
        ({"opset": 3}, "--opset 3: torch exports opsets 9 to"),
        ({"arguments": {"width": 3}}, "a module takes no arguments"),
        ({"output_names": ["a", "b"]}, "the network has 1 output, and 2 names were given"),
        ({"output_names": ["input"]}, "must all differ"),
        ({"weights": "none.pt"}, r"none\.pt: no such file$"),
    ],
)
def test_what_cannot_be_done_is_told_before_a_file_is_there(options, message, tmp_path):
    asked = {"output": tmp_path / "m.onnx", "input_shape": "batchx3x8x8"} | options

    with pytest.raises(BnfoldError, match=message) as caught:
        bnfold.export(conv_bn(), **asked)

    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_made_up_integers_that_are_no_indices_are_replaced(tmp_path):
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(3, 4))

        def forward(self, index):
            return torch.stack([self.table, self.table * 2]).flatten(0, 1)[index]

    result = bnfold.export(Rows(), output=tmp_path / "m.onnx", input_shape="8:int64")

    assert {case.inputs.split(",")[0] for case in result.agreement} == {"uniform", "zeros"}


def test_a_folder_is_no_output(tmp_path):
    with pytest.raises(ModelFileError, match="is a folder"):
        bnfold.export(conv_bn(), output=tmp_path, input_shape="batchx3x8x8")
