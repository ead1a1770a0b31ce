"""Models for tests, written in ONNX text."""

from __future__ import annotations

import re
import zlib

import ml_dtypes
import numpy as np
import onnx_ir as ir

DTYPES = {"float": np.float32, "double": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def parse(text: str, *, opset: int = 20, ir_version: int = 10) -> ir.Model:
    """A model from the text of its graph, and of its functions if it has any."""
    domains = "".join(f', "{domain}": 1' for domain in sorted(set(re.findall(r'domain: "([^"]+)"', text))))
    return ir.from_onnx_text(f'<ir_version: {ir_version}, opset_import: ["": {opset}{domains}]>\n{text}')


def example(text: str, *, seed: int = 0, dtype: str = "double", opset: int = 20, ir_version: int = 10) -> ir.Model:
    """A model whose first input is the data and whose other inputs have become random constants.

    Names say what is wanted: ``var…`` is positive, ``positive…`` too, ``zero…`` is 0; everything else is of any sign.
    Integers are at most 100.
    """
    model = parse(text.replace("float[", f"{dtype}["), opset=opset, ir_version=ir_version)
    for value in list(model.graph.inputs)[1:]:
        if ir_version >= 4:
            model.graph.inputs.remove(value)
        kind = value.dtype.numpy() if value.dtype.is_integer() else DTYPES[dtype]
        shape = value.shape.numpy() if value.shape is not None else ()  # "float[] x" is a number
        set_constant(model, value, random_array(value.name, shape, kind, seed))
    return model


def set_constant(model: ir.Model, value: ir.Value, array: np.ndarray) -> None:
    value.const_value = ir.tensor(array, name=value.name)
    value.shape, value.dtype = ir.Shape(array.shape), value.const_value.dtype
    model.graph.register_initializer(value)


def random_array(name: str, shape: tuple[int, ...], dtype: type, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if name.startswith("zero"):
        return np.zeros(shape, dtype)
    if np.dtype(dtype).kind in "iu":
        return rng.integers(-100 if np.dtype(dtype).kind == "i" else 0, 101, shape).astype(dtype)
    if name.startswith(("var", "positive")):
        return rng.uniform(0.3, 2.0, shape).astype(dtype)
    return rng.normal(0.0, 1.0, shape).astype(dtype)


def affines(model: ir.Model) -> int:
    """How many BatchNormalizations there are, bodies and functions included."""
    graphs = [model.graph, *(function.graph for function in model.functions.values())]
    nodes = (node for graph in graphs for node in graph.all_nodes())
    return sum(node.op_type == "BatchNormalization" and node.domain == "" for node in nodes)


def serialised(model: ir.Model) -> bytes:
    return ir.to_proto(model).SerializeToString(deterministic=True)


def constant(model: ir.Model, name: str) -> np.ndarray:
    return model.graph.initializers[name].const_value.numpy()


def model_of(text: str, **options: object) -> ir.Model:
    """An ``example`` in which ``BN4)`` at the end of the head stands for the four parameters of four channels."""
    parameters = "float[{c}] scale, float[{c}] bias, float[{c}] mean, float[{c}] var)"
    return example(re.sub(r"BN(\d+)\)", lambda found: parameters.format(c=found[1]), text), **options)


def without_shift(text: str, scale: str = "scale") -> str:
    """A text with ``BN3)``, whose affine is a scale alone; ``positive_scale`` makes it positive."""
    head = f"float[3] {scale}, float[3] zero_bias, float[3] zero_mean, float[3] var)"
    return text.replace("BN3)", head).replace("scale, bias, mean", f"{scale}, zero_bias, zero_mean")
