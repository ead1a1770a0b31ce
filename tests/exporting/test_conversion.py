"""torch's exporter and what is tidied behind it, on networks smaller than the zoo's."""

import pytest
import torch
from onnx_ir.passes import Sequential
from onnx_ir.passes.common import CheckerPass, NameFixPass, RemoveUnusedNodesPass, ShapeInferencePass
from torch import nn

import bnfold
from bnfold import zoo
from bnfold.errors import ExportError
from bnfold.exporting.conversion import Request, convert_any
from bnfold.exporting.naming import _path_in_name
from bnfold.exporting.tidying import tidy
from bnfold.exporting.weights import load_weights
from tests.helpers.exports import to_onnx


def tidied(module):
    """The module's graph, and its nodes by name."""
    model = to_onnx(module, torch.zeros(2, 3, 8, 8), input_name="image", output_name="logits")
    tidy(model, module.state_dict().keys())
    return model.graph, {node.name: node for node in model.graph}


def test_leaves_the_mode_of_every_part_as_it_was():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).train()
    module[1].eval()

    to_onnx(module, torch.zeros(2, 3, 8, 8), input_name="image", output_name="logits")

    assert [part.training for part in module.modules()] == [True, True, False, True]


def test_restores_the_mode_when_the_export_fails():
    class Branching(nn.Module):
        def forward(self, image):
            return image if image.sum() > 0 else -image

    module = Branching().train()

    with pytest.raises(ExportError, match="torch cannot export the network: Could not guard") as caught:
        to_onnx(module, torch.zeros(2, 3), input_name="image", output_name="logits")

    assert module.training
    assert "\n" not in str(caught.value)


def test_says_nothing_on_stdout_and_stderr(capfd):
    tidied(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))

    assert capfd.readouterr() == ("", "")


def test_drops_the_bias_that_the_exporter_makes_up():
    _, nodes = tidied(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)))

    assert [value.name for value in nodes["0"].inputs] == ["image", "0.weight"]


def test_keeps_a_bias_of_zeros_that_the_module_has():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    nn.init.zeros_(module[0].bias)

    _, nodes = tidied(module)

    assert [value.name for value in nodes["0"].inputs] == ["image", "0.weight", "0.bias"]


def test_names_nodes_after_modules_and_tells_several_of_one_module_apart():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Linear(8, 8), nn.ReLU())

        def forward(self, image):
            return self.block(self.block(image)).relu().relu()

    _, nodes = tidied(Twice())

    assert len(set(nodes)) == 8
    assert {"block.0/MatMul", "block.0/MatMul_2", "block.0/Add", "block.1/Relu", "Relu", "Relu_2"} <= set(nodes)


def test_keeps_a_reshape_with_two_unknown_sizes_as_it_is():
    class Rows(nn.Module):
        def forward(self, image):
            return image.reshape(image.shape[0], -1).reshape(image.shape[0] * 2, -1)

    graph, _ = tidied(Rows())

    assert str(graph.outputs[0].shape) == "[2*batch,96]"
    assert all(node.op_type != "Identity" for node in graph)


def test_clears_all_metadata():
    graph, _ = tidied(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout()))
    values = [*graph.inputs, *graph.outputs, *graph.initializers.values()]

    assert not any(item.metadata_props for item in [graph, *graph, *values])


def test_what_torch_exports_in_memory_folds_as_it_is(shipped):
    """``torch.onnx.export(…).model``, with all that the exporter leaves around the parameters, goes straight in."""
    module = zoo.find("digits_cnn").build()
    load_weights(module, shipped / "weights.safetensors")
    model = to_onnx(module, torch.zeros(2, 1, 8, 8), input_name="image", output_name="logits")

    result = bnfold.fold(model)

    assert (len(result.folded), result.kept) == (4, ())
    assert bnfold.verify(model, result.model)


def test_what_torch_exports_folds_in_place_beside_other_passes(shipped):
    module = zoo.find("digits_cnn").build()
    load_weights(module, shipped / "weights.safetensors")
    model = to_onnx(module, torch.zeros(2, 1, 8, 8), input_name="image", output_name="logits")
    original, weights = model.clone(), {name: weight.clone() for name, weight in module.state_dict().items()}
    folding = bnfold.FoldPass()

    result = Sequential(ShapeInferencePass(), folding, RemoveUnusedNodesPass(), NameFixPass(), CheckerPass())(model)

    assert (result.model is model, result.modified) == (True, True)
    assert (len(folding.result.folded), folding.result.kept) == (4, ())
    assert bnfold.verify(original, model)
    assert all(torch.equal(weight, weights[name]) for name, weight in module.state_dict().items())


class Branching(nn.Module):
    """What the modern exporter does not take."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, image):
        image = self.body(image)
        return image if image.sum() > 0 else -image


def requested(module, **options):
    return Request(module, (torch.ones(2, 3, 8, 8),), {}, ["image"], [{0: "batch"}], ["y"], **options)


def test_the_older_exporter_is_asked_second_and_folds_nothing(capfd):
    module = Branching().train()

    converted = convert_any(requested(module))
    tidy(converted.model, module.state_dict().keys())

    assert converted.exporter == "torchscript"
    assert "data-dependent" in converted.reason
    assert [node.name for node in converted.model.graph][:2] == ["body.0", "body.1"]
    assert all(part.training for part in module.modules())
    assert capfd.readouterr() == ("", "")


def test_where_neither_exporter_does_both_reasons_are_told_in_one_line():
    class Hopeless(nn.Module):
        def forward(self, image):
            if torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting():
                raise RuntimeError("not\nhere")
            return image

    module = Hopeless().train()
    with pytest.raises(ExportError, match=r"torch cannot export the network: not; nor can its older exporter: not$"):
        convert_any(requested(module))

    assert module.training


class Several(nn.Module):
    def forward(self, first, *others):
        return first + sum(others)


@pytest.mark.parametrize("module", [Several(), nn.DataParallel(Several())])
def test_the_modern_exporter_takes_any_number_of_inputs_with_free_axes(module):
    given = tuple(torch.randn(3, 4) for _ in range(3))

    converted = convert_any(Request(module, given, {}, ["a", "b", "c"], [{0: "batch"}] * 3, ["sum"]))

    assert converted.exporter == "dynamo", converted.reason
    assert [str(value.shape) for value in converted.model.graph.inputs] == ["[batch,4]"] * 3


def test_an_axis_with_a_least_size_stays_free():
    module = nn.Conv2d(3, 4, 3)
    request = Request(module, (torch.ones(2, 3, 8, 8),), {}, ["image"], [{0: "batch", 2: "H", 3: "W"}], ["y"])

    converted = convert_any(request)

    assert converted.exporter == "dynamo"
    assert str(converted.model.graph.inputs[0].shape) == "[batch,3,H,W]"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/conv/Conv", "conv"),
        ("/features/features.0/Conv", "features.0"),
        ("/layer1/layer1.0/layer1.0.0/body/body.0/body.0.0/Conv", "layer1.0.0.body.0.0"),
        ("/layer1/layer1.0/heads.0/Conv", "layer1.0.heads.0"),
        ("/Relu", ""),
        ("Relu", ""),
    ],
)
def test_reads_the_path_of_a_module_off_the_names_of_the_older_exporter(name, path):
    assert _path_in_name(name) == path
