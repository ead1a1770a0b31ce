"""Whether the limits of ``verify`` are where they belong: run ``python -m benchmarks.calibrating``.

Folds of small networks, trained and random, in float32 and float16, each without optimisations and with all of them:

    digits   models/digits_cnn, trained; all weights but those of the first seed are moved by 1 %
    resnet   ResNet-50 with few channels, on images of 32²
    mobile   depthwise separable convolutions
    dense    Gemm → BatchNormalization → Relu

and every other network of models/, trained likewise, by its folder: fewer seeds of each.

First correct ones: how many are refused (there should be none), and the largest ratio. Then folds with one fault in one
of their sites, by how many are refused and by which check.

A ratio is the error of the fold against float64 over that of the reference, or over the worst of the reference and its
neighbours where the reference alone would not do: ``bnfold/verifying/judging.py``. The models are known to be harmless,
and run in this process, not in children.
"""

from __future__ import annotations

import argparse
import importlib
import math
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, numpy_helper

import bnfold
from benchmarks.verifying import Builder, resnet50
from bnfold.verifying import running

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bnfold.folding.result import Folded

MODELS = Path(__file__).parents[1] / "models"
LEVELS = ("disabled", "all")


def trained(path: Path, seed: int) -> onnx.ModelProto:
    """A trained network; from the second seed on with its weights moved."""
    model = onnx.load(path)
    rng = np.random.default_rng(seed)
    for tensor in model.graph.initializer if seed else ():
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            moved = array * (1 + 0.01 * rng.uniform(-1, 1, array.shape))
            tensor.CopyFrom(numpy_helper.from_array(moved.astype(np.float32), tensor.name))
    return model


def mobile(seed: int) -> onnx.ModelProto:
    """Five pairs of a depthwise and a pointwise convolution."""
    net = Builder(seed)
    value, channels = net.node("Relu", net.conv("x", 3, 8, 3, 2)), 8
    for out in (12, 16, 16, 24, 24):
        value = net.node("Relu", net.conv(value, channels, channels, 3, 1, group=channels))
        value, channels = net.node("Relu", net.conv(value, channels, out, 1, 1)), out
    return net.model(net.node("Flatten", net.node("GlobalAveragePool", value)), [3, 16, 16], [channels])


def dense(seed: int) -> onnx.ModelProto:
    """Three layers of 16 to 32."""
    net = Builder(seed)
    value, width = "x", 16
    for out in (32, 32, 16):
        weight, bias = net.rng.normal(size=(out, width)) / math.sqrt(width), net.rng.normal(size=out)
        value = net.node("Gemm", value, net.constant(weight), net.constant(bias), transB=1)
        value, width = net.node("BatchNormalization", value, *map(net.constant, net.statistics(out))), out
        if out != 16:
            value = net.node("Relu", value)
    return net.model(value, [16], [16])


NETWORKS: dict[str, Callable[[int], onnx.ModelProto]] = {
    "digits": partial(trained, MODELS / "digits_cnn" / "model.onnx"),
    "resnet": lambda seed: resnet50(32, (8, 8, 16, 16), seed),
    "mobile": mobile,
    "dense": dense,
}
TRAINED: dict[str, Callable[[int], onnx.ModelProto]] = {
    f"models/{path.parent.name}": partial(trained, path)
    for path in sorted(MODELS.glob("*/model.onnx"))
    if path.parent.name != "digits_cnn"
}
ALL = {**NETWORKS, **TRAINED}
WIDTH = max(map(len, ALL)) + 1
_SCALES = {"Resize": 2, "Upsample": 1}  # inputs that are float32 whatever the data are


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with all of its floats in float16."""
    half = onnx.ModelProto.FromString(model.SerializeToString())
    nodes = half.graph.node
    kept = {name for node in nodes for name in node.input[_SCALES.get(node.op_type, len(node.input)) :][:1]}
    constants = {node.output[0]: one.t for node in nodes if node.op_type == "Constant" for one in node.attribute}
    for name, tensor in (*((tensor.name, tensor) for tensor in half.graph.initializer), *constants.items()):
        if tensor.data_type == TensorProto.FLOAT and name not in kept:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for attribute in (one for node in nodes if node.op_type == "Cast" for one in node.attribute):
        attribute.i = TensorProto.FLOAT16 if attribute.i == TensorProto.FLOAT else attribute.i
    del half.graph.value_info[:]
    for value in (*half.graph.input, *half.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return half


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The fold."""
    return ir.to_proto(bnfold.fold(ir.from_proto(model)).model)


def _change(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(change(array.astype(np.float64)).astype(array.dtype), name))


def _swap(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    rows = np.moveaxis(array, next((axis for axis, size in enumerate(array.shape) if size > 1), 0), 0)
    rows[[0, 1]] = rows[[1, 0]]  # a view: a recurrent layer of one direction has its rows behind that
    return array


def _off(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flat[np.argmax(np.abs(array))] += 1e-3
    return array


def _lost(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flat[np.argmax(np.abs(array))] = 0
    return array


# Of the table in the document on verifying: what goes wrong in the statistics before the fold, or in the weights after.
BEFORE: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "epsilon outside the root": lambda var, epsilon: (np.sqrt(var) + epsilon) ** 2 - epsilon,
    "epsilon dropped": lambda var, epsilon: var - epsilon,
    "unbiased variance": lambda var, epsilon: var * 256 / 255,
}
AFTER: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    "one weight off by 1e-3": (0, _off),
    "weights rounded to float16": (0, lambda array: array.astype(np.float16)),
    "two channels swapped": (0, _swap),
    "bias of one channel lost": (1, _lost),
}
FAULTS = (*BEFORE, *AFTER)


def sites(model: onnx.ModelProto) -> list[Folded]:
    """The BatchNormalizations that a fold takes into other nodes, in the order of the graph."""
    return [entry for entry in bnfold.fold(ir.from_proto(model)).folded if entry.is_batch_norm and entry.into]


def faulty(model: onnx.ModelProto, fault: str, site: int) -> onnx.ModelProto | None:
    """The fold of a model with one fault at its site number ``site``; None where what took it in has no such weight."""
    entry = sites(model)[site]
    if fault in BEFORE:
        wrong = onnx.ModelProto.FromString(model.SerializeToString())
        norm = _called(wrong, entry.node)
        epsilon = next((attribute.f for attribute in norm.attribute if attribute.name == "epsilon"), 1e-5)
        _change(wrong, norm.input[4], lambda var: BEFORE[fault](var, epsilon))
        return folded(wrong)
    position, change = AFTER[fault]
    wrong = folded(model)
    floats = {tensor.name for tensor in wrong.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    constants = [
        name for name in entry.into[0].constants if name in floats
    ]  # the weights, and the bias if there is one
    if len(constants) <= position:
        return None
    _change(wrong, constants[position], change)
    return wrong


def _called(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if name in {node.name, node.output[0]})


def compare(
    reference: onnx.ModelProto, candidate: onnx.ModelProto, levels: Sequence[str], providers: Sequence[str] = ()
) -> bnfold.Comparison:
    """As ``bnfold verify`` does."""
    return bnfold.verify(ir.from_proto(reference), ir.from_proto(candidate), levels=levels, providers=providers)


def _here(function: str, kwargs: dict[str, Any], **_: object) -> object:
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)(**kwargs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables; the number of correct folds that were refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=25)
    parser.add_argument("--fault-seeds", type=int, default=3)
    parser.add_argument("--trained-seeds", type=int, default=3, help="of the other networks of models/; one for faults")
    parser.add_argument("--networks", nargs="+", choices=ALL, default=[*ALL], metavar="NAME")
    options = parser.parse_args(arguments)
    few = dict.fromkeys(TRAINED, options.trained_seeds)
    with mock.patch.object(running, "run_isolated", _here), np.errstate(all="ignore"):
        refused = _correct({name: few.get(name, options.seeds) for name in options.networks})
        _wrong({name: 1 if name in TRAINED else options.fault_seeds for name in options.networks})
    return refused


def _correct(networks: Mapping[str, int]) -> int:
    print(f"{'correct folds':{WIDTH}}             folds  level     refused  warned  median  largest ratio")
    total = 0
    for name, seeds in networks.items():
        for dtype, convert in (("float32", lambda model: model), ("float16", to_float16)):
            results = []
            try:
                for seed in range(seeds):
                    model = convert(ALL[name](seed))
                    results.append(compare(model, folded(model), LEVELS))
            except bnfold.ExecutionError as error:
                print(f"{name:{WIDTH}} {dtype:12}not compared: {error}")
                continue
            for level in LEVELS:
                ratios = [one.error_ratio for result in results for one in result.outputs if one.level == level]
                refused, warned = (_at_level(results, level, verdict) for verdict in ("fail", "warn"))
                total += refused
                figures = f"{np.median(ratios):8.2f}{max(ratios):15.2f}"
                print(f"{name:{WIDTH}} {dtype:12}{len(results):5}  {level:10}{refused:7}{warned:8}{figures}")
    return total


def _at_level(results: Sequence[bnfold.Comparison], level: str, verdict: str) -> int:
    """In how many results a check of one level came out so; the names of those at others end in where they ran."""
    return sum(
        any(check.verdict == verdict and check.name.endswith(")") == (level != "disabled") for check in result.checks)
        for result in results
    )


def _wrong(networks: Mapping[str, int]) -> None:
    print(f"\n{'faults':28}{'network':{WIDTH}}   refused  by the ratio  smallest  median ratio")
    for fault in FAULTS:
        for name, seeds in networks.items():
            ratios, found = [], Counter[str]()
            for seed in range(seeds):
                model = ALL[name](seed)
                count = len(sites(model))
                for site in sorted({0, count // 2, count - 1}) if count else ():
                    candidate = faulty(model, fault, site)
                    if candidate is None:
                        continue
                    result = compare(model, candidate, ())
                    ratios += [max(figure.error_ratio or 0.0 for figure in result.outputs)]
                    found["refused"] += not result
                    found["by ratio"] += any(
                        check.verdict == "fail" and check.name.startswith("output ") for check in result.checks
                    )
            if ratios:
                refused, by_ratio = (f"{found[key]} of {len(ratios)}" for key in ("refused", "by ratio"))
                figures = f"{min(ratios):10.3g}{np.median(ratios):14.3g}"
                print(f"{fault:28}{name:{WIDTH}}{refused:>10}{by_ratio:>14}{figures}")


if __name__ == "__main__":
    sys.exit(main() > 0)
