"""Other tools that fold BatchNormalizations, as differential oracles."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir

from bnfold.errors import ExecutionError
from bnfold.runtime.isolation import run_isolated
from tests.helpers import oracle
from tests.helpers.models import set_constant

if TYPE_CHECKING:
    from collections.abc import Mapping

PEERS = ("onnxsim", "onnxslim", "onnxscript")

_TIMEOUT = 120.0  # seconds, for one peer and all models


def run_peer(peer: str, models: Mapping[str, ir.Model]) -> dict[str, ir.Model]:
    """What a peer makes of each model, by name; without those on which it raises or crashes.

    One child process for all of them, and a new one behind each model that takes it down.
    """
    with tempfile.TemporaryDirectory(prefix="bnfold-peers-") as name:
        folder = Path(name)
        for index, model in enumerate(models.values()):
            (folder / f"{index}.onnx").write_bytes(ir.to_proto(model).SerializeToString())
        arguments = {"peer": peer, "folder": folder}
        for _ in models:  # a child that crashes at one model is followed by one for those behind it
            if len(list(folder.glob("*.started"))) == len(models):
                break
            with suppress(ExecutionError):
                run_isolated("tests.helpers.peers:simplify_all", arguments, subject=peer, timeout=_TIMEOUT)
        results = {name: folder / f"{index}.result" for index, name in enumerate(models)}
        return {name: ir.from_proto(onnx.load(path)) for name, path in results.items() if path.exists()}


def simplify_all(peer: str, folder: Path) -> None:
    """In the child: each model that no earlier child has started with."""
    simplify = {"onnxsim": _onnxsim, "onnxslim": _onnxslim, "onnxscript": _onnxscript}[peer]
    for source in sorted(folder.glob("*.onnx")):
        started = source.with_suffix(".started")
        if started.exists():
            continue
        started.touch()
        try:
            content = simplify(onnx.load(source)).SerializeToString()
        except Exception:  # noqa: S112 - of any kind: the peer did not fold this one
            continue
        source.with_suffix(".part").write_bytes(content)
        source.with_suffix(".part").rename(source.with_suffix(".result"))


def _onnxsim(proto: onnx.ModelProto) -> onnx.ModelProto:
    import onnxsim

    return onnxsim.simplify(proto)[0]


def _onnxslim(proto: onnx.ModelProto) -> onnx.ModelProto:
    import onnxslim

    return onnxslim.slim(proto)


def _onnxscript(proto: onnx.ModelProto) -> onnx.ModelProto:
    from onnxscript import optimizer, rewriter
    from onnxscript.rewriter.rules import common

    # The rules that fold, beside those that run by default.
    rules = [
        common.affine_conv_fusion_rule,
        common.conv_affine_fusion_rule,
        common.fuse_batchnorm_into_conv_rule,
        common.fuse_batchnorm_into_conv_transpose_rule,
        common.fuse_batchnorm_into_gemm_rule,
    ]
    return rewriter.rewrite(rewriter.rewrite(optimizer.optimize(proto)), rules)


def with_float32_weights(model: ir.Model) -> ir.Model:
    """The same model of float64, with weights that float32 can hold: rounding is no difference between two tools."""
    model = model.clone()
    for value in list(model.graph.initializers.values()):
        array = value.const_value.numpy()
        if array.dtype == np.float64:
            set_constant(model, value, array.astype(np.float32).astype(np.float64))
    return model


def narrowed(model: ir.Model) -> ir.Model:
    """A model of float64 in float32, which is what most tools are made for."""
    proto = ir.to_proto(model)
    for tensor in proto.graph.initializer:
        _narrow(tensor)
    for info in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        if info.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE:
            info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _narrow(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.DOUBLE:
                attribute.i = onnx.TensorProto.FLOAT
    return ir.from_proto(proto)


def _narrow(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == onnx.TensorProto.DOUBLE:
        array = onnx.numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))


def is_right(exact: ir.Model, candidate: ir.Model, *, tolerance: float = 1e-4) -> bool:
    """Whether a model of float32 computes what one of float64 does."""
    feeds = oracle.feeds_for(exact)
    narrow = {name: array.astype(np.float32) if array.dtype == np.float64 else array for name, array in feeds.items()}
    wide = {name: array.astype(np.float64) if array.dtype == np.float32 else array for name, array in narrow.items()}
    try:
        got = oracle.run(candidate, narrow)
    except Exception:  # of any kind: a model that does not run is not right
        return False
    expected = oracle.run(exact, wide)
    return len(got) == len(expected) and all(
        np.shape(left) == np.shape(right) and _are_close(left, right, tolerance)
        for left, right in zip(got, expected, strict=True)
    )


def _are_close(got: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    return bool(np.allclose(got, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max(initial=0.0)))
