"""Random serialised models with every kind of tensor storage, and what differs between two of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import strategies as st
from onnx import TensorProto, helper

RAW = [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE, TensorProto.INT64,
       TensorProto.INT32, TensorProto.UINT8, TensorProto.BOOL, TensorProto.COMPLEX64, TensorProto.INT4,
       TensorProto.UINT2, TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT6E2M3, TensorProto.FLOAT6E3M2]  # fmt: skip
TYPED = {
    "float_data": [TensorProto.FLOAT, TensorProto.COMPLEX64],
    "int32_data": [TensorProto.INT32, TensorProto.INT8, TensorProto.FLOAT16, TensorProto.BOOL],
    "int64_data": [TensorProto.INT64],
    "double_data": [TensorProto.DOUBLE],
    "uint64_data": [TensorProto.UINT64, TensorProto.UINT32],
}
_UNKNOWN = [
    b"\xf2\xff\x07\x05later",  # a field of a number that no version uses
    b"\xf3\xff\x07\x08\x01\x1b\x12\x01x\x1c\xf4\xff\x07",  # the same as a group, with a group in it
]


class Maker:
    """Makes one random model; what it puts into external data it writes into a buffer."""

    def __init__(self, seed: int, *, external: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.data = bytearray()
        self._external = external
        self._count = 0

    def model(self) -> onnx.ModelProto:
        graph = self._graph(depth=0)
        function = helper.make_function(
            "local", "f", ["a"], ["b"], [self._constant("k"), helper.make_node("Add", ["a", "k"], ["b"])],
            [helper.make_opsetid("", 20)], (),
        )  # fmt: skip
        model = helper.make_model(
            graph,
            functions=[function],
            opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("local", 1)],
            ir_version=int(self.rng.choice([10, 11])),
        )
        for message in (model, function, model.opset_import[0]):
            self._maybe_unknown(message)
        if self.rng.random() < 0.3:
            info = model.training_info.add()
            info.algorithm.initializer.append(self.tensor("t"))
            self._maybe_unknown(info)
        return model

    def _graph(self, depth: int) -> onnx.GraphProto:
        names = [self._name("w") for _ in range(self.rng.integers(0, 4))]
        written = self._name("k")
        nodes = [self._constant(written), helper.make_node("Identity", [written], [self._name("y")])]
        if self.rng.random() < 0.5:
            nodes.append(helper.make_node("Odd", names, [self._name("y")], domain="local"))
            attribute = nodes[-1].attribute.add(name="many", type=onnx.AttributeProto.TENSORS)
            attribute.tensors.extend([self.tensor("a"), self.tensor("b")])
        if depth < 2 and self.rng.random() < 0.5:
            bodies = {name: self._graph(depth + 1) for name in ("then_branch", "else_branch")}
            condition = self._name("c")
            cell = helper.make_tensor(condition, TensorProto.BOOL, [], [True])
            nodes += [
                helper.make_node("Constant", [], [condition], value=cell),
                helper.make_node("If", [condition], [self._name("y")], **bodies),
            ]
        output = helper.make_tensor_value_info(nodes[1].output[0], TensorProto.FLOAT, None)
        graph = helper.make_graph(nodes, "g", [], [output], [self.tensor(name) for name in names])
        if self.rng.random() < 0.3:
            graph.sparse_initializer.append(self._sparse(self._name("s")))
        graph.value_info.append(helper.make_tensor_value_info(self._name("ghost"), TensorProto.FLOAT, [2, "N"]))
        rows = (graph.node, graph.output, graph.value_info, graph.initializer, graph.node[0].attribute)
        for message in (graph, *(message for row in rows for message in row)):
            self._maybe_unknown(message)
        return graph

    def _constant(self, name: str) -> onnx.NodeProto:
        return helper.make_node("Constant", [], [name], value=self.tensor(name))

    def tensor(self, name: str) -> onnx.TensorProto:
        rng = self.rng
        dims = [int(dim) for dim in rng.integers(0 if rng.random() < 0.1 else 1, 5, rng.integers(0, 4))]
        form = str(rng.choice(["raw", "raw", "typed", "string", "external"]))
        if form == "string":
            return helper.make_tensor(name, TensorProto.STRING, dims, [b"s"] * int(np.prod(dims)))
        if form == "typed":
            field = str(rng.choice(list(TYPED)))
            kind = int(rng.choice(TYPED[field]))
            tensor = onnx.TensorProto(name=name, dims=dims, data_type=kind)
            count = int(np.prod(dims)) * (2 if kind == TensorProto.COMPLEX64 else 1)
            getattr(tensor, field).extend([1] * count)
            if count == 0:
                tensor.raw_data = b""
            return tensor
        kind = int(rng.choice(RAW))
        tensor = onnx.TensorProto(name=name, dims=dims, data_type=kind)
        packed = {TensorProto.INT4: 4, TensorProto.UINT2: 2, TensorProto.FLOAT6E2M3: 6, TensorProto.FLOAT6E3M2: 6}
        bits = packed.get(kind) or helper.tensor_dtype_to_np_dtype(kind).itemsize * 8
        content = rng.integers(0, 2, -(-int(np.prod(dims)) * bits // 8), np.uint8).tobytes()
        if form == "external" and self._external and kind not in packed:
            onnx.external_data_helper.set_external_data(
                self._filled(tensor), "data.bin", offset=len(self.data), length=len(content)
            )
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            self.data += content
        else:
            tensor.raw_data = content
        return tensor

    def _filled(self, tensor: onnx.TensorProto) -> onnx.TensorProto:
        tensor.raw_data = b"x"  # onnx wants to see some
        return tensor

    def _sparse(self, name: str) -> onnx.SparseTensorProto:
        sparse = onnx.SparseTensorProto(dims=[3, 4])
        sparse.values.CopyFrom(helper.make_tensor(name, TensorProto.FLOAT, [2], [1.0, 2.0]))
        sparse.indices.CopyFrom(helper.make_tensor("", TensorProto.INT64, [2], [3, 7]))
        self._maybe_unknown(sparse)
        return sparse

    def _maybe_unknown(self, message: Any) -> None:
        if self.rng.random() < 0.2:
            message.MergeFromString(_UNKNOWN[self.rng.integers(2)])

    def _name(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"


def makers(*, external: bool) -> st.SearchStrategy[Maker]:
    return st.integers(0, 2**32).map(lambda seed: Maker(seed, external=external))


def recoded(message: Any, rng: np.random.Generator) -> bytes:
    """The same message, its fields in another order and its lengths longer than need be."""
    rows = []
    for descriptor, content in message.ListFields():
        part = type(message)()
        if descriptor.message_type is None:
            getattr(part, descriptor.name).extend(content) if descriptor.is_repeated else setattr(
                part, descriptor.name, content
            )
            rows.append([part.SerializeToString()])
        else:
            inner = content if descriptor.is_repeated else [content]
            tag = _varint(descriptor.number << 3 | 2)
            bodies = (recoded(one, rng) for one in inner)
            rows.append([tag + _varint(len(body), int(rng.integers(0, 3))) + body for body in bodies])
    known = type(message)()
    known.CopyFrom(message)
    for descriptor, _ in message.ListFields():
        known.ClearField(descriptor.name)
    rows.append([known.SerializeToString()])
    order = rng.permutation([index for index, row in enumerate(rows) for _ in row])
    return b"".join(rows[index].pop(0) for index in order)


def _varint(value: int, more: int = 0) -> bytes:
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F)
    digits += [0] * min(more, 5 - len(digits))
    return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])


def differences(before: Any, after: Any, path: str = "") -> list[str]:
    """What ``before`` has, and ``after`` has not, or has otherwise. onnx-ir sorts some rows: names tell who is who."""
    found = []
    if len(UnknownFieldSet(before)) > len(UnknownFieldSet(after)):
        found.append(f"{path}: unknown fields")
    there = {descriptor.name: content for descriptor, content in after.ListFields()}
    for descriptor, content in before.ListFields():
        name = f"{path}.{descriptor.name}"
        if descriptor.name not in there:
            found.append(name)
        elif descriptor.message_type is None:
            other = there[descriptor.name]
            same = list(content) == list(other) if descriptor.is_repeated else _equal(content, other)
            found += [] if same else [f"{name}: another value"]
        elif not descriptor.is_repeated:
            found += differences(content, there[descriptor.name], name)
        else:
            found += _row_differences(list(content), list(there[descriptor.name]), name)
    return found


def _equal(first: Any, second: Any) -> bool:
    return first == second or (first != first and second != second)


def _row_differences(before: list[Any], after: list[Any], path: str) -> list[str]:
    names = [_name_of(message) for message in before]
    if all(names) and len(set(names)) == len(names):
        others = {_name_of(message): message for message in after}
        pairs = [(message, others.get(name), name) for message, name in zip(before, names, strict=True)]
    else:
        pairs = [(message, after[i] if i < len(after) else None, str(i)) for i, message in enumerate(before)]
    found = []
    for message, other, name in pairs:
        found += [f"{path}[{name}]"] if other is None else differences(message, other, f"{path}[{name}]")
    return found


def _name_of(message: Any) -> str:
    if isinstance(message, onnx.NodeProto):
        return " ".join(message.output)
    if isinstance(message, onnx.SparseTensorProto):
        return str(message.values.name)
    return next((str(getattr(message, key)) for key in ("key", "tensor_name", "name") if getattr(message, key, "")), "")
