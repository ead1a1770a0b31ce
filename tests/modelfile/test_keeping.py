"""What onnx-ir drops of a model comes back, and the fold leaves alone what it must."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

import bnfold
from bnfold import modelfile
from bnfold.errors import ModelFileError
from tests.helpers.protos import differences

UNKNOWN = b"\xf2\xff\x07\x05later"
FLOAT = helper.make_tensor_type_proto(TensorProto.FLOAT, [2, "K"])


def marked(message):
    message.MergeFromString(UNKNOWN)
    return message


def tensor(name: str) -> onnx.TensorProto:
    made = marked(helper.make_tensor(name, TensorProto.FLOAT, [4], [1, 2, 3, 4]))
    made.doc_string = "doc"
    made.metadata_props.add(key="b", value="1")
    return made


def strings(name: str) -> onnx.TensorProto:
    return marked(helper.make_tensor(name, TensorProto.STRING, [2], [b"a", b"b"]))


def sparse(name: str, dims: list[int], index: list[int], values: np.ndarray) -> onnx.SparseTensorProto:
    made = marked(onnx.SparseTensorProto(dims=dims))
    made.values.CopyFrom(numpy_helper.from_array(values, name))
    made.indices.CopyFrom(numpy_helper.from_array(np.array(index, np.int64)))
    return made


def info(name: str) -> onnx.ValueInfoProto:
    made = marked(helper.make_value_info(name, FLOAT))
    made.doc_string = "doc"
    made.type.denotation = "IMAGE"
    made.type.tensor_type.shape.dim[0].denotation = "BATCH"
    marked(made.metadata_props.add(key="k", value="v"))
    for inner in (made.type, made.type.tensor_type, made.type.tensor_type.shape, made.type.tensor_type.shape.dim[1]):
        marked(inner)
    return made


def body() -> onnx.GraphProto:
    node = marked(helper.make_node("Relu", ["x"], ["by"]))
    return marked(helper.make_graph([node], "body", [], [info("by")], [tensor("bw")], value_info=[info("bw")]))


def map_type() -> onnx.TypeProto:
    made = onnx.TypeProto()
    made.map_type.key_type = TensorProto.INT64
    made.map_type.value_type.CopyFrom(FLOAT)
    return made


def types() -> dict[str, onnx.TypeProto]:
    opaque = onnx.TypeProto(opaque_type=onnx.TypeProto.Opaque(domain="d", name="n"), denotation="D")
    shape_alone = onnx.TypeProto()
    shape_alone.tensor_type.shape.dim.add(dim_value=3)
    return {
        "map": map_type(),
        "opaque": opaque,
        "sequence": helper.make_sequence_type_proto(helper.make_optional_type_proto(FLOAT)),
        "sequence_of_maps": helper.make_sequence_type_proto(map_type()),
        "sparse": helper.make_sparse_tensor_type_proto(TensorProto.FLOAT, [2]),
        "shape_alone": shape_alone,
        "denotation_alone": onnx.TypeProto(denotation="D"),
    }


def odd_node() -> onnx.NodeProto:
    """An attribute of every kind, some with more than their kind allows."""
    node = helper.make_node("Odd", ["r"], ["z"], domain="local")
    contents = {
        "FLOAT": {"f": 1.5, "i": 3},
        "INT": {"i": 2, "ints": [3]},
        "STRING": {"s": b"text"},
        "STRINGS": {"strings": [b"\xff", b"a"]},
        "FLOATS": {"floats": [1.0, 2.0]},
        "INTS": {"ints": [1]},
        "TENSOR": {"t": tensor("t")},
        "TENSORS": {"tensors": [tensor("t1"), strings("t2"), tensor("t3")]},
        "SPARSE_TENSOR": {"sparse_tensor": sparse("s", [5], [1, 3], np.ones(2, np.float32))},
        "SPARSE_TENSORS": {"sparse_tensors": [sparse("s", [5], [1, 3], np.ones(2, np.float32))]},
        "TYPE_PROTO": {"tp": map_type()},
        "TYPE_PROTOS": {"type_protos": [FLOAT, map_type()]},
        "GRAPHS": {"graphs": [body(), body()]},
    }
    for kind, fields in contents.items():
        part = AttributeProto(name=kind, type=getattr(AttributeProto, kind), doc_string="doc", **fields)
        node.attribute.append(marked(part))
    node.attribute.add(name="of_strings", type=AttributeProto.TENSOR).t.CopyFrom(strings("s"))
    node.attribute.add(name="type", type=AttributeProto.TYPE_PROTO).tp.CopyFrom(FLOAT)
    return node


def everything(ir_version: int) -> onnx.ModelProto:
    """A model with every field of onnx.proto."""
    relu = marked(helper.make_node("Relu", ["x"], ["r"], name="relu", doc_string="doc"))
    for key in ("z", "y"):
        marked(relu.metadata_props.add(key=key, value="1"))
    branches = helper.make_node("If", ["c"], ["i"], then_branch=body(), else_branch=body())
    inputs = [info("x"), helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    inputs += [helper.make_value_info(name, proto) for name, proto in types().items()]
    stated = [info(name) for name in ("r", "ghost", "z", "x")]
    graph = helper.make_graph(
        [relu, branches, odd_node()], "g", inputs, [info("z"), info("i")], [tensor("w"), strings("texts")],
        doc_string="doc", value_info=stated,
    )  # fmt: skip
    graph.sparse_initializer.append(sparse("sparse_w", [5], [1, 3], np.ones(2, np.float32)))
    graph.metadata_props.add(key="k", value="1")
    for name in ("r", "ghost"):
        graph.quantization_annotation.add(tensor_name=name).quant_parameter_tensor_names.add(key="SCALE", value="s")
    inner = helper.make_node("Relu", ["a"], ["b"], name="inner")
    function = helper.make_function(
        "local", "f", ["a"], ["b"], [inner], [helper.make_opsetid("", 20)], ["free"], [helper.make_attribute("set", 3)]
    )
    function.doc_string = "doc"
    function.metadata_props.add(key="f", value="1")
    function.value_info.extend([info("b"), info("ghost")])
    model = helper.make_model(
        graph, functions=[marked(function)], ir_version=ir_version, producer_name="p", producer_version="1",
        domain="d", doc_string="doc", model_version=7,
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("local", 1)],
    )  # fmt: skip
    for key in ("b", "a"):
        marked(model.metadata_props.add(key=key, value="1"))
    training = marked(model.training_info.add())
    training.algorithm.CopyFrom(body())
    training.update_binding.add(key="w", value="q")
    marked(model.configuration.add(name="devices", num_devices=2, device=["a"]))
    placed = model.graph.node[0].device_configurations.add(configuration_id="devices", pipeline_stage=1)
    spec = marked(placed.sharding_spec.add(tensor_name="x", device=[0]))
    spec.sharded_dim.add(axis=1).simple_sharding.add(dim_value=2, num_shards=2)
    for message in (model, model.graph, model.opset_import[1], model.graph.quantization_annotation[0]):
        marked(message)
    return model


def saved(proto: onnx.ModelProto, folder, change=lambda model: model) -> onnx.ModelProto:
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    modelfile.save(change(modelfile.load(folder / "model.onnx")), folder / "copy.onnx")
    return onnx.load(folder / "copy.onnx")


@pytest.mark.parametrize("ir_version", [10, 11])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("change", ["as it is", "cloned", "cloned deeply"])
def test_every_field_of_every_message_comes_back(tmp_path, monkeypatch, ir_version, large, change) -> None:
    if large:
        monkeypatch.setattr("bnfold.modelfile.limits.THRESHOLD", 1)
    changes = {
        "as it is": lambda model: model,
        "cloned": lambda model: model.clone(),
        "cloned deeply": lambda model: model.clone(deep_copy=True),
    }
    proto = everything(ir_version)
    found = saved(proto, tmp_path, changes[change])
    lost = [line for line in differences(proto, found) if not (change != "as it is" and "[GRAPHS]: unknown" in line)]
    assert lost == []  # onnx-ir makes a new attribute of a graph when it clones
    gained = [line for line in differences(found, proto) if "value_info" not in line]
    assert gained == []


def test_an_attribute_of_the_first_ir_version_says_no_type(tmp_path) -> None:
    proto = everything(10)
    proto.graph.node[0].attribute.add(name="alpha", f=0.5)
    proto.graph.node[0].attribute.add(name="unclear")
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    model = modelfile.load(tmp_path / "model.onnx")
    assert model.graph[0].attributes["alpha"].as_float() == 0.5
    with pytest.raises(ModelFileError, match="onnx-ir cannot write the model"):
        modelfile.save(model, tmp_path / "copy.onnx")


def test_what_is_kept_of_a_node_goes_with_it(tmp_path) -> None:
    def drop(model):
        model.graph[2].replace_input_with(0, model.graph.inputs[0])
        relu = model.graph[0]
        relu.replace_input_with(0, None)
        model.graph.remove(relu)
        return model

    found = saved(everything(11), tmp_path, drop)
    assert [node.op_type for node in found.graph.node] == ["If", "Odd"]
    assert differences(everything(11).graph.node[1], found.graph.node[0]) == []


def convolution(weight: np.ndarray | None, **rest: list) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    initializers = [
        numpy_helper.from_array(rng.uniform(0.5, 1.5, 4).astype(np.float32), name)
        for name in ("scale", "bias", "mean", "var")
    ]
    initializers += [numpy_helper.from_array(weight, "w")] if weight is not None else []
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], name="conv"),
        helper.make_node("BatchNormalization", ["h", "scale", "bias", "mean", "var"], ["y"], name="bn"),
    ]
    shapes = {"x": ["N", 3, 8, 8], "y": ["N", 4, 6, 6]}
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    graph = helper.make_graph(nodes, "g", [x], [y], initializers, **rest)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def weight() -> np.ndarray:
    dense = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)
    return np.where(np.abs(dense) > 1, dense, np.float32(0))


@pytest.mark.parametrize("is_flat", [True, False])
def test_a_sparse_weight_folds_as_a_dense_one(tmp_path, weight, is_flat) -> None:
    index = np.flatnonzero(weight) if is_flat else np.argwhere(weight)
    proto = convolution(None, sparse_initializer=[sparse("w", [4, 3, 3, 3], index.tolist(), weight[weight != 0])])
    (tmp_path / "sparse.onnx").write_bytes(proto.SerializeToString())
    (tmp_path / "dense.onnx").write_bytes(convolution(weight).SerializeToString())
    kept = bnfold.fold(tmp_path / "sparse.onnx", keep=["bn"])
    kept.save(tmp_path / "kept.onnx")
    assert differences(proto, onnx.load(tmp_path / "kept.onnx")) == []
    results = [bnfold.fold(tmp_path / name) for name in ("sparse.onnx", "dense.onnx")]
    arrays = [result.model.graph.initializers["w"].const_value.numpy() for result in results]
    np.testing.assert_array_equal(*arrays)
    results[0].save(tmp_path / "folded.onnx")
    assert bnfold.verify(tmp_path / "sparse.onnx", tmp_path / "folded.onnx")


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.ClearField("values"),
        lambda made: made.indices.ClearField("raw_data"),
        lambda made: made.dims.__setitem__(0, 1),
        lambda made: made.dims.__setitem__(0, -5),
        lambda made: made.values.ClearField("name"),
        lambda made: made.values.dims.__setitem__(0, 3),
    ],
)
def test_refuses_a_sparse_weight_that_is_not_all_there(tmp_path, change) -> None:
    made = sparse("w", [5], [1, 3], np.ones(2, np.float32))
    change(made)
    (tmp_path / "m.onnx").write_bytes(convolution(None, sparse_initializer=[made]).SerializeToString())
    with pytest.raises(ModelFileError):
        modelfile.load(tmp_path / "m.onnx")


@pytest.mark.parametrize("named_by", ["binding", "algorithm", "body"])
def test_the_fold_leaves_alone_what_is_to_be_trained(tmp_path, weight, named_by) -> None:
    proto = convolution(weight)
    training = proto.training_info.add()
    if named_by == "binding":
        training.update_binding.add(key="w", value="w_new")
    elif named_by == "algorithm":
        training.algorithm.node.append(helper.make_node("Identity", ["w"], ["w_new"]))
    else:
        inner = helper.make_graph([helper.make_node("Identity", ["w"], ["b"])], "b", [], [])
        training.algorithm.node.append(helper.make_node("If", ["c"], ["w_new"], then_branch=inner, else_branch=inner))
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    result = bnfold.fold(tmp_path / "model.onnx")
    assert "'w', which is a parameter that the model's training information names" in result.kept[0].reason
    result.save(tmp_path / "copy.onnx")
    assert differences(proto, onnx.load(tmp_path / "copy.onnx")) == []


def test_a_constant_that_is_a_sparse_tensor_is_left_alone(tmp_path, weight) -> None:
    proto = convolution(None)
    constant = onnx.NodeProto(op_type="Constant", output=["w"])
    found = sparse("w", [4, 3, 3, 3], np.flatnonzero(weight).tolist(), weight[weight != 0])
    constant.attribute.add(name="sparse_value", type=AttributeProto.SPARSE_TENSOR).sparse_tensor.CopyFrom(found)
    nodes = [constant, *proto.graph.node]
    proto.graph.ClearField("node")
    proto.graph.node.extend(nodes)
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    result = bnfold.fold(tmp_path / "model.onnx")
    assert [entry.node for entry in result.kept] == ["bn"]
    result.save(tmp_path / "copy.onnx")
    assert differences(proto, onnx.load(tmp_path / "copy.onnx")) == []
